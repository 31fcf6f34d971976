"""A fleet of healthy GPU hosts on one machine: addresses of the lab's host gpu-550, each with files of its own.

The lab's host is real (systemd, dockerd, NVIDIA's toolkit and nvidia-smi over a mock NVML) and is provisioned once by
site.yml. Every host of the fleet is an address with its own sshd in its own mount namespace, where /etc, /home, /opt,
/usr and /var/lib/dpkg are overlays: a change to one of them is that host's alone. What they share is the kernel,
systemd, dockerd and our one container, so a fleet of any size costs one container.
"""

import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("VERL_LAB_NAME", "bench")  # a lab of its own: never the one that tests use
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import yaml

from lab import hosts as lab_hosts
from lab import lifecycle, network, settings, topology

BASE = "gpu-550"
BUILD = ROOT / "build/bench"
NET = "10.99"  # 10.99.X.Y, routed to the lab's host, which takes the whole range for its own
PORT = 2222
PLAIN_PORT = 2223  # one sshd for every address: hosts without files of their own
PYTHON = "/usr/bin/python3"
SSHD = (
    "/usr/sbin/sshd -D -o PidFile=none -o KexAlgorithms=curve25519-sha256,curve25519-sha256@libssh.org "
    "-o MaxStartups=1000 -o UseDNS=no -o PrintLastLog=no -o PrintMotd=no"
)
ENTER = f"""#!/bin/sh
# One host of the fleet: `enter ADDRESS` stays and is its sshd.
set -eu
own=/run/fleet/$1
rm -rf "$own" && mkdir -p "$own"
for place in etc home opt usr var/lib/dpkg; do
    name=$(echo "$place" | tr / -)
    mkdir -p "$own/$name" "$own/.$name"
    mount -t overlay overlay -o "lowerdir=/$place,upperdir=$own/$name,workdir=$own/.$name" "/$place"
done
exec {SSHD} -o ListenAddress="$1" -p {PORT}
"""


@dataclass(frozen=True)
class Member:
    """One host of the fleet."""

    number: int
    port: int = PORT

    @property
    def name(self) -> str:
        """Its name in the inventories."""
        return f"node-{self.number:04d}"

    @property
    def address(self) -> str:
        """Its address."""
        return f"{NET}.{self.number // 250}.{self.number % 250 + 1}"


def members(count: int, port: int = PORT) -> list[Member]:
    """The first hosts of the fleet."""
    return [Member(number, port) for number in range(count)]


def base(command: str, check: bool = True) -> str:
    """Run a command on the lab's host as root, outside of every namespace."""
    return lab_hosts.exec(BASE, command, check=check).out


def inside(member: Member, command: str) -> str:
    """Run a command as root in the files of one host."""
    pid = base(f"pgrep -f -- '^sshd: .* -o ListenAddress={member.address} ' || true").split()
    if not pid:
        raise SystemExit(f"{member.name}: no sshd of it runs; start the fleet again")
    return base(f"nsenter --mount --target {pid[0]} sh -c {shlex.quote(command)}")


def prepare() -> None:
    """Start the lab's host, take it to a verified environment with site.yml, and give it the fleet's addresses."""
    lifecycle.up([BASE])
    base("usermod -aG docker ops")  # Docker without sudo, for every contestant
    lay(BUILD / "base.yml", {BASE: {"ansible_host": network.address(topology.HOSTS[BASE].address)}})
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    if base("cat /opt/fleet/provisioned-by", check=False) != commit:
        product(BUILD / "base.yml", check=True)
    route = ["ip", "route", "replace", f"{NET}.0.0/16", "via", network.address(topology.HOSTS[BASE].address)]
    subprocess.run(route, check=True)
    base(f"ip route replace local {NET}.0.0/16 dev lo")
    base(f"mkdir -p /opt/fleet && cat > /opt/fleet/enter <<'END'\n{ENTER}\nEND\nchmod 755 /opt/fleet/enter")
    base(f"cat > /opt/fleet/provisioned-by <<'END'\n{commit}END")


def start(count: int) -> Path:
    """Start `count` hosts afresh, all as the base is; their inventory."""
    prepare()
    stop()
    starting = "; ".join(
        f"setsid unshare --mount /opt/fleet/enter {m.address} >/dev/null 2>&1 &" for m in members(count)
    )
    base(starting.replace("&;", "&") + " sleep 0.2")
    wait(members(count))
    return lay(BUILD / f"fleet-{count}.yml", hosts_of(members(count)))


def stop() -> None:
    """End every host of the fleet, its connections and its files: a lasting connection would see the old files on."""
    base("pkill -f -- '^sshd: (ops|.* -o ListenAddress=10)' ; rm -rf /run/fleet", check=False)


def wait(expected: list[Member]) -> None:
    """Until every sshd answers."""
    from lab.waiting import until

    addresses = {member.address for member in expected}

    def listening() -> bool:
        found = base(f"ss -Hltn sport = :{PORT}")
        return addresses <= {line.split()[3].rsplit(":", 1)[0] for line in found.splitlines()}

    until("the fleet's sshds to listen", listening, 60)


def hosts_of(fleet: list[Member]) -> dict[str, Any]:
    """The inventory's hosts."""
    return {member.name: {"ansible_host": member.address, "ansible_port": member.port} for member in fleet}


def lay(path: Path, hosts: dict[str, Any], **variables: Any) -> Path:
    """Write an inventory: the lab's own variables, and what the fleet adds."""
    lab = yaml.safe_load((settings.INVENTORY / "hosts.yml").read_text())["all"]["vars"]
    common = {
        **lab,
        "ansible_user": "ops",
        "ansible_python_interpreter": PYTHON,
        "run_report_directory": str(BUILD / "reports"),
        **variables,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({"all": {"vars": common, "hosts": hosts}}, sort_keys=False, width=200))
    return path


def product_command(inventory_file: Path, playbook: str = "site.yml", *extra: str) -> list[str]:
    """The command line of our own run."""
    return [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(inventory_file), playbook, *extra]


def product(inventory_file: Path, *extra: str, check: bool = False) -> subprocess.CompletedProcess:
    """Run the product outside of any measurement."""
    done = subprocess.run(
        product_command(inventory_file, "site.yml", *extra), cwd=ROOT, capture_output=True, text=True, check=False
    )
    if check and done.returncode:
        raise SystemExit(f"site.yml ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-1000:]}")
    return done


def report() -> dict[str, Any]:
    """The report of the product's last run."""
    return json.loads((BUILD / "reports/latest/report.json").read_text())


def read(path: str) -> bytes:
    """A file of the base."""
    return subprocess.run(
        ["docker", "exec", topology.HOSTS[BASE].container, "cat", path], capture_output=True, check=True
    ).stdout
