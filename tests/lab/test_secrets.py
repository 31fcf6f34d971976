"""A whole run with canaries for secrets: they are in the documented places, and nowhere else."""

import base64
import os
import secrets
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret

from lab import hosts, network
from tests.lab.fleet import REPORTS, play, report, states
from tests.lab.ways import locked_registry, proxy

pytestmark = [pytest.mark.lab, pytest.mark.slow]

HOSTS = ("gpu-580", "cpu")
MARK = "cnry" + secrets.token_hex(6)
CANARY = {name: f"{MARK}{name}" for name in ("registry", "proxy", "token", "token2", "wandb")}
# As a password looks inside a header or Docker's configuration.
CODED = [base64.b64encode(f"{name}-user:{CANARY[name]}".encode()).decode() for name in ("registry", "proxy")]
FORMS = [MARK, *CODED]
HOMES = {"gpu-580": "/home/ops", "cpu": "/home/alice"}
# The documented places (docs/secrets.md).
KEPT = {
    "gpu-580": {"/home/ops/verl/secrets/huggingface_token", "/etc/verl-provision/docker-proxy.env"},
    "cpu": {"/home/alice/verl/secrets/huggingface_token"},
}
# Docker's and containerd's own records, root's alone: they have what a container is asked to hold in its environment,
# and the daemon's own environment, the proxy in it.
ENGINE = ("/var/lib/docker/containers/", "/var/lib/containerd/", "/run/containerd/")
ENGINE_KNOWS = ("wandb", "proxy")


class Sampler(threading.Thread):
    """Reads every command line of this machine, its lab hosts included, for as long as it runs."""

    def __init__(self):
        super().__init__(daemon=True)
        self.found: set[str] = set()
        self.looked = 0
        self.seen: Counter = Counter()
        self.stopped = threading.Event()

    def run(self):
        while not self.stopped.wait(0.05):
            running = {entry.name for entry in os.scandir("/proc") if entry.name.isdigit()}
            for pid in running:
                if self.seen[pid] < 5:  # a process may become another program shortly after its start
                    self.seen[pid] += 1
                    self._look(pid)
            for pid in self.seen.keys() - running:
                del self.seen[pid]

    def _look(self, pid):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return
        self.looked += 1
        if any(form in line for form in FORMS):
            self.found.add(line[:500])


@pytest.fixture(scope="module")
def ways():
    """A proxy and a registry that ask for a login."""
    with (
        proxy("proxy-user", CANARY["proxy"]) as forward,
        locked_registry("registry-user", CANARY["registry"]) as registry,
    ):
        yield forward, registry


@pytest.fixture(scope="module")
def inventory(ways, tmp_path_factory):
    """As docs/secrets.md shows it: the registry's login in a vault, the others from the environment."""
    forward, registry = ways
    folder = tmp_path_factory.mktemp("inventory")
    vault = VaultLib([("default", VaultSecret(b"lab"))])
    (folder / "vault-password").write_text("lab")
    variables = {
        "docker_engine_insecure_registries": [registry],
        "verl_mirror_registry": registry,
        "verl_proxy": forward.url,
        "verl_no_proxy": [network.web_address()],
        "verl_huggingface_token": "{{ lookup('ansible.builtin.env', 'CANARY_TOKEN') }}",
        "verl_proxy_login": {
            "username": "proxy-user",
            "password": "{{ lookup('ansible.builtin.env', 'CANARY_PROXY') }}",
        },
        "training_container_secret_env": {"WANDB_API_KEY": "{{ lookup('ansible.builtin.env', 'CANARY_WANDB') }}"},
    }
    text = yaml.safe_dump({"all": {"vars": variables}}, width=1000)
    sealed = vault.encrypt(CANARY["registry"]).decode().strip().replace("\n", "\n            ")
    text += (
        f'    verl_registry_logins:\n      "{registry}":\n        username: registry-user\n'
        f"        password: !vault |\n            {sealed}\n"
    )
    (folder / "secrets.yml").write_text(text)
    return folder


def run(inventory, *arguments, token="token"):
    """The main job on both hosts, as verbose as anyone makes it."""
    os.environ |= {
        "CANARY_TOKEN": CANARY[token],
        "CANARY_PROXY": CANARY["proxy"],
        "CANARY_WANDB": CANARY["wandb"],
    }
    try:
        vault = ("--vault-password-file", str(inventory / "vault-password"))
        given = ("-i", str(inventory / "secrets.yml"), *vault, "--limit", ",".join(HOSTS))
        return play("site.yml", *given, "--diff", *arguments)
    finally:
        for name in ("CANARY_TOKEN", "CANARY_PROXY", "CANARY_WANDB"):
            del os.environ[name]


def lines_with_canary(text):
    return [line[:300] for line in text.splitlines() if any(form in line for form in FORMS)]


def files_with_canary(name):
    """Files of a host that hold a canary, without the stores of images and of containers' own file systems.

    /run/whole-proc is the lab's: a proc for rootless engines, without an end to read.
    """
    forms = " ".join(f"-e {form}" for form in FORMS)
    found = hosts.exec(
        name,
        "find / -xdev \\( -path /proc -o -path /sys -o -path /var/lib/docker -o -path /var/cache/lab-pip \\) -prune -o "
        f"-type f -print0 | xargs -0 grep -laF {forms} 2>/dev/null; "
        f"grep -rlaF --exclude-dir=whole-proc {forms} /run /tmp /dev/shm /var/lib/docker/containers /etc 2>/dev/null; "
        "true",
    ).out
    return set(found.split())


def environments_with_canary(name):
    """Names of a host's processes that have a canary in their environment."""
    forms = " ".join(f"-e {form}" for form in FORMS)
    pids = hosts.exec(name, f"grep -laF {forms} /proc/[0-9]*/environ 2>/dev/null; true").out.split()
    said = (hosts.exec(name, f"cat {Path(pid).parent}/comm", check=False).out.strip() for pid in pids)
    return {comm for comm in said if not comm.startswith("cat:")}


@pytest.fixture(scope="module")
def first(inventory):
    """The first run, with what all command lines were during it."""
    for name in HOSTS:
        hosts.reset(name)
    sampler = Sampler()
    sampler.start()
    done = run(inventory, "-vvv")
    sampler.stopped.set()
    sampler.join()
    return done, sampler


def test_every_host_ends_verified(first):
    assert first[0].returncode == 0, first[0].stdout[-6000:]
    assert states() == dict.fromkeys(HOSTS, "verified")


def test_no_output_has_a_secret(first):
    assert lines_with_canary(first[0].stdout) == []
    assert "the output has been hidden" in first[0].stdout


def test_no_command_line_had_a_secret(first):
    assert first[1].looked > 1000
    assert first[1].found == set()


def test_no_report_plan_or_file_of_the_controller_has_a_secret(first):
    found = [path for path in REPORTS.rglob("*") if path.is_file() and lines_with_canary(path.read_text())]
    assert found == []
    recent = time.time() - 3600
    for folder in (Path("~/.ansible").expanduser(), Path("/tmp").glob("ansible*")):
        for root in [folder] if isinstance(folder, Path) else folder:
            for path in root.rglob("*"):
                if path.is_file() and path.stat().st_mtime > recent:
                    assert lines_with_canary(path.read_text(errors="replace")) == [], path


@pytest.mark.parametrize("name", HOSTS)
def test_no_other_file_of_the_host_has_a_secret(first, name):
    found = files_with_canary(name)
    assert {path for path in found if not path.startswith(ENGINE)} == KEPT[name]
    others = " ".join(f"-e {form}" for form in [*(CANARY[one] for one in CANARY if one not in ENGINE_KNOWS), *CODED])
    for path in found - KEPT[name]:
        assert hosts.exec(name, f"cat {path}", user="nobody", check=False).rc != 0, path
        assert hosts.exec(name, f"grep -caF {others} {path}", check=False).out.strip() == "0", path
    for path in KEPT[name]:
        assert hosts.exec(name, f"stat -c %a {path}").out.strip() == "600"


@pytest.mark.parametrize("name", HOSTS)
def test_logs_and_facts_have_none(first, name):
    assert lines_with_canary(hosts.exec(name, "journalctl -a --no-pager").out) == []
    ansible = play("playbooks/plan.yml", "-vvv", "--limit", name)  # its output has the facts
    assert lines_with_canary(ansible.stdout) == []


def test_the_engine_knows_only_what_the_container_was_given(first):
    said = hosts.exec("gpu-580", "docker inspect verl; docker info; docker history --no-trunc verl 2>&1; true").out
    assert all(CANARY["wandb"] in line for line in lines_with_canary(said))
    assert CANARY["token"] not in said
    assert (
        hosts.exec("gpu-580", "ls -A /root/.docker /home/ops/.docker 2>&1 | grep -v 'No such'; true").out.strip() == ""
    )


def test_only_the_daemon_and_the_container_have_one_in_their_environment(first):
    # dockerd has the proxy's, which only root can read there; the container has the variable it was asked to hold.
    assert environments_with_canary("gpu-580") <= {"dockerd", "containerd", "containerd-shim", "sleep"}
    assert environments_with_canary("cpu") == set()


def test_verl_finds_the_token(first):
    program = "import os; print(open(os.environ['HF_TOKEN_PATH']).read())"
    inside = hosts.exec("gpu-580", f'docker exec verl python3 -c "{program}"').out
    assert inside.strip() == CANARY["token"]
    said = hosts.exec("cpu", f'~/.local/bin/verl-shell python -c "{program}"', user="alice").out
    assert said.strip() == CANARY["token"]


def test_everything_went_through_the_proxy_but_what_shall_not(first, ways):
    forward, registry = ways
    assert forward.counts[registry.split(":")[0]] > 3  # preflight, and the daemon
    assert len(forward.counts) >= 3  # apt's mirror and the package index besides
    assert forward.counts[network.web_address()] == 0


def test_again_nothing_is_done(first, inventory):
    assert run(inventory).returncode == 0
    assert {name: list(host["plan"]["steps"]) for name, host in report()["hosts"].items()} == {
        name: [] for name in HOSTS
    }


def test_another_token_takes_the_place_of_the_first_under_a_running_container(first, inventory):
    pid = hosts.exec("gpu-580", "docker inspect --format '{{.State.Pid}}' verl").out
    done = run(inventory, "-vvv", token="token2")
    assert done.returncode == 0, done.stdout[-4000:]
    assert lines_with_canary(done.stdout) == []
    steps = {name: list(host["plan"]["steps"]) for name, host in report()["hosts"].items()}
    assert steps == {name: ["huggingface_token"] for name in HOSTS}
    assert hosts.exec("gpu-580", "docker inspect --format '{{.State.Pid}}' verl").out == pid
    said = hosts.exec("gpu-580", "docker exec verl cat /run/verl-secrets/huggingface_token").out
    assert said.strip() == CANARY["token2"]


def test_a_wrong_password_is_said_and_not_repeated(inventory):
    text = (inventory / "secrets.yml").read_text()
    (inventory / "wrong.yml").write_text(text.replace("username: registry-user", "username: somebody-else"))
    hosts.reset("gpu-580")
    done = run(inventory, "-i", str(inventory / "wrong.yml"), "--limit", "gpu-580", "-vvv")
    assert done.returncode != 0
    assert states() == {"gpu-580": "refused"}
    assert "verl_registry_logins" in report()["hosts"]["gpu-580"]["reason"]
    assert lines_with_canary(done.stdout) == []
