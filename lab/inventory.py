"""Write the inventory of the lab that is up, and its overlay of the catalog."""

import json
import subprocess

import yaml

from lab import keys, network, settings
from lab.build import dockerapt, imagebase, images, toolkit, verlgit
from lab.topology import Host

HEADER = "# Written by `python -m lab up`; removed by `python -m lab down`.\n"
SHARED = ("tensordict", "transformers", "transfer_queue")  # the same in all stand-ins, whatever the real ones have
SSH = "-o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no -o IdentitiesOnly=yes -o LogLevel=ERROR"


def _overlay() -> dict:
    """Give the lab's overlay of the catalog: what its stand-ins are."""
    packages = json.loads((imagebase.make() / "packages.json").read_text())
    versions = {package["name"].lower(): package["version"] for package in packages}
    inside = {"python": "3.11"} | {key: versions[key.replace("_", "")] for key in SHARED}
    # Its repository has verl's trees and commits of its own.
    repository = verlgit.make() / "verl.git"
    releases = []
    for release in settings.VERL_RELEASES:
        command = ["git", "--git-dir", str(repository), "rev-parse", f"v{release}^{{commit}}"]
        commit = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
        releases.append({"version": release, "git_commit": commit})
    return {
        "releases": releases,
        "images": [line | inside for line in json.loads((images.make() / "overlay.json").read_text())],
    }


def write(hosts: list[Host]) -> None:
    """Write inventories/lab/hosts.yml of these hosts, and the catalog's overlay that it names."""
    web = f"http://{network.web_address()}"
    groups: dict[str, dict] = {}
    for host in hosts:
        groups.setdefault("lab_gpu" if host.machine else "lab_cpu", {"hosts": {}})["hosts"][host.name] = {
            "ansible_host": network.address(host.address),
            "ansible_user": host.user,
        }
    variables = {
        "ansible_ssh_private_key_file": str(keys.private_key()),
        "ansible_ssh_common_args": SSH,
        "verl_probe_root": "/opt/lab/probe",
        "verl_mirror_registry": network.registry(),
        "verl_mirror_git": f"{web}/verl.git",
        "verl_mirror_toolkit": f"{web}/libnvidia-container",
        "verl_mirror_torch": f"{web}/whl",
        "verl_mirror_apt": f"{web}/docker",
        "docker_engine_key_fingerprint": dockerapt.fingerprint(),
        "nvidia_container_toolkit_key_fingerprint": toolkit.fingerprint(),
        "verl_verify_level": "devices",
        "verl_catalog_extra": str(settings.OVERLAY),
    }
    settings.INVENTORY.mkdir(parents=True, exist_ok=True)
    document = {"all": {"vars": variables, "children": groups}}
    (settings.INVENTORY / "hosts.yml").write_text(HEADER + yaml.safe_dump(document, sort_keys=False, width=200))
    settings.OVERLAY.parent.mkdir(parents=True, exist_ok=True)
    overlay = yaml.safe_dump(_overlay(), sort_keys=False, width=200)
    settings.OVERLAY.write_text(f"{HEADER}# What the lab's stand-in images are.\n{overlay}")


def remove() -> None:
    """Remove what `write` wrote."""
    for path in (settings.INVENTORY / "hosts.yml", settings.OVERLAY):
        path.unlink(missing_ok=True)
        if path.parent.exists() and not any(path.parent.iterdir()):
            path.parent.rmdir()
