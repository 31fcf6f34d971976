"""pyinfra: the same items as role/tasks/main.yml, in its own idiom (one fact a look, operations only where needed)."""

import json
from pathlib import Path

from pyinfra import host
from pyinfra.facts.server import Command
from pyinfra.operations import apt, files, server, systemd

want = json.loads((Path(__file__).resolve().parents[2] / "build/bench/want.json").read_text())["want"]
source = want["files"]


def look(command: str) -> str:
    """What a command prints; nothing where it fails."""
    return host.get_fact(Command, command=f"{command} 2>/dev/null || true") or ""


apt.packages(name="Install Docker", packages=["docker.io"], _sudo=True)
files.put(
    name="Put the toolkit's repository key in place",
    src=f"{source}/nvidia-container-toolkit-keyring.gpg",
    dest="/usr/share/keyrings/nvidia-container-toolkit-keyring.gpg",
    mode="644",
    _sudo=True,
)
files.put(
    name="Add the toolkit's repository",
    src=f"{source}/nvidia-container-toolkit.list",
    dest="/etc/apt/sources.list.d/nvidia-container-toolkit.list",
    mode="644",
    _sudo=True,
)
toolkit = ["nvidia-container-toolkit", "nvidia-container-toolkit-base"]
apt.packages(name="Install the toolkit", packages=[f"{name}={want['toolkit']}" for name in toolkit], _sudo=True)
configured = files.put(
    name="Configure Docker", src=f"{source}/daemon.json", dest="/etc/docker/daemon.json", mode="644", _sudo=True
)
systemd.service(name="Start Docker", service="docker", running=True, enabled=True, _sudo=True)
systemd.service(name="Reload Docker", service="docker", reloaded=True, _sudo=True, _if=configured.did_change)

if '"nvidia"' not in look("docker info --format '{{json .Runtimes}}'"):
    server.shell(name="Docker doesn't know the NVIDIA runtime", commands=["false"])
if look("nvidia-smi --query-gpu=driver_version --format=csv,noheader").split() != [want["driver"]] * want["gpus"]:
    server.shell(name="The GPUs or their driver aren't as they should be", commands=["false"])

if not look(f"docker image inspect --format '{{{{.Id}}}}' {want['image']}"):
    server.shell(name="Pull the image", commands=[f"docker pull {want['image']}"])

status = look(f"git -C {want['checkout']} status --porcelain=v2 --branch --untracked-files=no").splitlines()
if f"# branch.oid {want['commit']}" not in status or any(not line.startswith("#") for line in status):
    at = f"git -C {want['checkout']}"
    server.shell(name="Check verl out", commands=[f"{at} fetch --tags", f"{at} checkout --force {want['commit']}"])

container = look(f"docker inspect --type container --format '{want['container_format']}' verl")
if container not in (want["container"], want["container_stopped"]):
    server.shell(name="Create the container", commands=["docker rm --force verl || true", want["create"]])
if container != want["container"]:
    server.shell(name="Start the container", commands=["docker start verl"])

files.put(
    name="Install verl-shell", src=f"{source}/verl-shell", dest=f"{want['home']}/.local/bin/verl-shell", mode="755"
)
if not look(f"stat {want['home']}/.local/state/verl-provision/verification.json"):
    server.shell(name="Verify", commands=["docker exec verl python3 -c 'import torch, ray, verl'"])
