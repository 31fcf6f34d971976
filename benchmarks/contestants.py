"""The product and its peers on one fleet: our site.yml, a plain role, the same under Mitogen, pyinfra."""

import json
import re
import subprocess
from pathlib import Path

import fleet
import harness
from harness import Contestant

from lab import keys

PEERS = Path(__file__).resolve().parent / "peers"
FORMAT = (
    "{{.Image}} {{.State.Running}} {{.HostConfig.Runtime}} {{.HostConfig.NetworkMode}} {{.HostConfig.ShmSize}} "
    "{{.HostConfig.Binds}}"
)
KEPT = {
    "nvidia-container-toolkit-keyring.gpg": "/usr/share/keyrings/nvidia-container-toolkit-keyring.gpg",
    "nvidia-container-toolkit.list": "/etc/apt/sources.list.d/nvidia-container-toolkit.list",
    "daemon.json": "/etc/docker/daemon.json",
    "verl-shell": "/home/ops/.local/bin/verl-shell",
}


def want() -> Path:
    """What the peers are told: the values and files that the product arrived at on the base."""
    files = fleet.BUILD / "files"
    files.mkdir(parents=True, exist_ok=True)
    for name, path in KEPT.items():
        (files / name).write_bytes(fleet.read(path))
    checkout = "/home/ops/verl/src"
    container = fleet.base(f"docker inspect --type container --format '{FORMAT}' verl").strip()
    digests = fleet.base("docker image inspect --format '{{.RepoDigests}}' " + container.split()[0])
    image = re.findall(r"[^\s\[]+@sha256:\w+", digests)[0]
    values = {
        "files": str(files),
        "home": "/home/ops",
        "toolkit": fleet.base("dpkg-query -W -f '${Version}' nvidia-container-toolkit").strip(),
        "gpus": 8,
        "driver": fleet.base("nvidia-smi --query-gpu=driver_version --format=csv,noheader").split()[0],
        "image": image,
        "checkout": checkout,
        "repository": fleet.base(f"git -c safe.directory=* -C {checkout} remote get-url origin").strip(),
        "commit": fleet.base(f"git -c safe.directory=* -C {checkout} rev-parse HEAD").strip(),
        "container_format": FORMAT,
        "container_template": "{% raw %}" + FORMAT + "{% endraw %}",  # Ansible would read the braces as its own
        "container": container,
        "container_stopped": container.replace(" true ", " false "),
        "create": (
            "docker create --name verl --runtime=nvidia --gpus all --net=host --shm-size=10g --cap-add=SYS_ADMIN "
            f"-v {checkout}:/workspace/verl {image} sleep infinity"
        ),
    }
    path = fleet.BUILD / "want.json"
    path.write_text(json.dumps({"want": values}, indent=2))
    return path


def ours(inventory: Path, *extra: str, name: str = "verl-provision") -> Contestant:
    """site.yml of this tree, with its own ansible.cfg; it is told the toolkit's version, as the peers are."""
    version = fleet.base("dpkg-query -W -f '${Version}' nvidia-container-toolkit").partition("-")[0]
    request = ("-e", f"nvidia_container_toolkit_version={version}")
    return Contestant(name, fleet.product_command(inventory, "site.yml", *request, *extra))


def role(inventory: Path, tools: Path, told: Path, name: str = "plain role", **environment: str) -> Contestant:
    """The plain role, tuned, on the same ansible-core."""
    command = [str(tools / "ansible-playbook"), "-i", str(inventory), "site.yml", "-e", f"@{told}"]
    return Contestant(name, command, {"ANSIBLE_CONFIG": str(PEERS / "ansible.cfg"), **environment}, cwd=PEERS)


def mitogen(inventory: Path, tools: Path, told: Path) -> Contestant:
    """The plain role under Mitogen's strategy."""
    plugins = next(tools.parent.glob("lib/python3*/site-packages/ansible_mitogen/plugins/strategy"))
    environment = {"ANSIBLE_STRATEGY_PLUGINS": str(plugins), "ANSIBLE_STRATEGY": "mitogen_linear"}
    return role(inventory, tools, told, "plain role, Mitogen", **environment)


def pyinfra(count: int, tools: Path, *extra: str) -> Contestant:
    """The pyinfra deploy of the same items."""
    hosts = [
        (
            member.address,
            {
                "ssh_user": "ops",
                "ssh_port": member.port,
                "ssh_key": str(keys.private_key()),
                "ssh_strict_host_key_checking": "off",
                "ssh_known_hosts_file": str(fleet.BUILD / "known_hosts"),
            },
        )
        for member in fleet.members(count)
    ]
    (fleet.BUILD / "known_hosts").write_text("")
    path = fleet.BUILD / f"pyinfra_{count}.py"
    path.write_text(f"hosts = {hosts!r}\n")
    command = [str(tools / "pyinfra"), "-y", "--parallel", "16", *extra, str(path), str(PEERS / "deploy.py")]
    return Contestant("pyinfra", command, cwd=fleet.BUILD)


def all_of(count: int, inventory: Path) -> list[Contestant]:
    """Everybody."""
    tools, told = harness.peers(), want()
    return [
        ours(inventory),
        pyinfra(count, tools),
        mitogen(inventory, tools, told),
        role(inventory, tools, told),
    ]


def changed(contestant: Contestant, done: subprocess.CompletedProcess) -> bool:
    """Whether a contestant says that something isn't as it should be: a change, a failure or a refusal."""
    said = done.stdout + done.stderr
    if done.returncode:
        return True
    if "Detected changes:" in said:  # pyinfra --dry; a row's second column is a dash where nothing is to be done
        rows = said.partition("Detected changes:\n")[2].partition("\n\n")[0].splitlines()[1:]
        return any(re.split(r"\s{2,}", row.strip())[1] != "-" for row in rows)
    if contestant.name == "pyinfra":
        total = re.search(r"Grand total\s+[-\s]*(\d+)\s+([-\d]+)\s+([-\d]+)", re.sub(r"\x1b\[[0-9;]*m|[│|]", " ", said))
        return not total or total.group(2) not in ("-", "0")
    return bool(re.search(r"changed=[1-9]|failed=[1-9]", said))
