"""No machine of the corpus is told to do what its own facts show can't work."""

import re

import pytest

from tests.unit.decide.machines import RECORDED, plan, recorded
from tests.unit.hosts import corpus

# A command's first word -> what the facts must say for it. Words in prose (`apt is in use`) aren't commands.
FAMILIES = {
    r"\b(?:apt|apt-get|apt-mark|dpkg|ubuntu-drivers|update-initramfs)\b [a-z-]": "debian",
    r"\b(?:dnf|yum|rpm)\b [a-z-]": "redhat",
    r"\bzypper\b [a-z-]": "suse",
    r"\bpacman\b -": "arch",
}


def impossible(told: str, found: dict, secure_boot: bool) -> list[str]:
    """What of an advice can't work on this host."""
    os, engines, user = found["os"], found["engines"], found["user"]
    docker, wrong = engines["docker"], []
    for pattern, family in FAMILIES.items():
        if re.search(pattern, told) and os["family"] != family:
            wrong.append(f"a command of {family} on {os['family']}")
    if re.search(r"systemctl (?!--user)", told) and not os["systemd"]:
        wrong.append("systemctl without systemd")
    if re.search(r"\bdocker (?:system|image|context|rm|exec|info)\b", told) and not docker["installed"]:
        wrong.append("docker without Docker")
    if re.search(r"\bpodman (?:system|image|rm)\b", told) and not engines["podman"]["installed"]:
        wrong.append("podman without Podman")
    if "/etc/docker/daemon.json" in told and docker.get("snap"):
        wrong.append("a file that the snap's daemon doesn't read")
    inside = os.get("container") or (found.get("nvidia") or {}).get("wsl")
    if inside and re.search(r"modprobe|\breboot\b|dkms|mokutil", told) and "Windows" not in told:
        wrong.append("the kernel's modules from inside a container or WSL")
    if secure_boot and re.match(r"sudo modprobe", told):
        wrong.append("an unsigned module with Secure Boot")
    if re.search(r"\bsudo ", told) and not user["root"] and user["sudo"] == "none" and "administrator" not in told:
        wrong.append("sudo for a user without it")
    for names in re.findall(r"verl_gpus: \[([^\]]+)\]", told):
        models = {gpu["name"] for gpu in found["nvidia"]["gpus"]}
        wrong += [f"a GPU that isn't here: {name}" for name in names.split(", ") if name not in models]
    return wrong


def advice(decided: dict) -> list[str]:
    """Every fix and next command of a plan."""
    kinds = ("errors", "warnings", "deferred", "unlocks", "rejected")
    notes = [note for kind in kinds for note in decided[kind]]
    return [str(note.get("fix") or note.get("how") or "") for note in notes]


@pytest.mark.parametrize("name", corpus.NAMES)
def test_what_a_machine_is_told_can_be_done_there(name, tmp_path):
    about = corpus.document(name)
    found = corpus.facts(about, tmp_path)
    secure_boot = "Secure Boot" in str(found["nvidia"]["reason"])
    decided = corpus.planned(about, found)
    wrong = {told: odd for told in advice(decided) if (odd := impossible(told, found, secure_boot))}
    assert wrong == {}


@pytest.mark.parametrize("name", sorted(path.stem for path in RECORDED.glob("*.json")))
def test_what_a_recorded_host_is_told_can_be_done_there(name):
    found = recorded(name)
    secure_boot = "Secure Boot" in str(found["nvidia"]["reason"])
    assert {told: odd for told in advice(plan(found)) if (odd := impossible(told, found, secure_boot))} == {}


@pytest.mark.parametrize(
    ("told", "odd"),
    [
        ("sudo dnf install -y docker", "a command of redhat on debian"),
        ("docker system df; docker image prune", "docker without Docker"),
        ("sudo modprobe nvidia", "an unsigned module with Secure Boot"),
        ("Leave it out: verl_gpus: [NVIDIA A100].", "a GPU that isn't here: NVIDIA A100"),
    ],
)
def test_the_check_sees_what_cannot_work(told, odd, tmp_path):
    found = corpus.facts({"like": "h100x8_580", "gone": ["docker"]}, tmp_path)
    assert odd in impossible(told, found, True)
