"""The controller's memory while it looks at many hosts: `python benchmarks/memory.py [--hosts 1000]`.

Probe-only: one sshd answers for every address, so the hosts share their files; what is looked at, planned and reported
is the same as ever (playbooks/plan.yml).
"""

import argparse
import os
import subprocess
import tempfile
import time
from pathlib import Path

import fleet
import harness


def family(root: int) -> dict[str, int]:
    """Proportional memory (bytes) of a run, by what it is: Ansible, or ssh with its lasting masters."""
    total = {"ansible": 0, "ssh": 0, "processes": 0}
    for entry in os.listdir("/proc"):
        try:
            if not entry.isdigit() or (os.getsid(int(entry)) != root and not mine(entry, root)):
                continue
            rollup = Path(f"/proc/{entry}/smaps_rollup").read_text()
            kind = "ssh" if Path(f"/proc/{entry}/comm").read_text().startswith("ssh") else "ansible"
        except OSError:
            continue
        total[kind] += 1024 * int(rollup.split("\nPss:")[1].split()[0])
        total["processes"] += 1
    return total


def mine(entry: str, root: int) -> bool:
    """Whether an SSH master, which has a session of its own, is of this run."""
    return b"/vbm" in Path(f"/proc/{entry}/cmdline").read_bytes()


def main() -> None:
    """One run, sampled."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hosts", type=int, default=1000)
    args = parser.parse_args()
    fleet.prepare()
    server = f"{fleet.SSHD} -p {fleet.PLAIN_PORT}"
    fleet.base(f"pgrep -f '^{server}' || setsid {server} >/dev/null 2>&1 &")  # not the shell that has it in its words
    inventory = fleet.lay(fleet.BUILD / "memory.yml", fleet.hosts_of(fleet.members(args.hosts, fleet.PLAIN_PORT)))
    harness.about(
        f"Memory of the controller, {args.hosts} probe-only hosts", "PSS of every process of the run, sampled"
    )
    most = {"ansible": 0, "ssh": 0, "processes": 0, "together": 0}
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="vbm", dir="/tmp") as sockets:
        run = subprocess.Popen(
            fleet.product_command(inventory, "playbooks/plan.yml"),
            cwd=fleet.ROOT,
            env={**os.environ, "ANSIBLE_SSH_CONTROL_PATH_DIR": sockets},
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        while run.poll() is None:
            found = family(run.pid)
            most = {name: max(most[name], found.get(name, 0)) for name in most} | {
                "together": max(most["together"], found["ansible"] + found["ssh"])
            }
            time.sleep(2)  # how often the processes are looked at
        seconds = time.monotonic() - start
    states = [host["state"] for host in fleet.report()["hosts"].values()]
    print(f"exit {run.returncode}, {seconds:.0f} s, states { ({state: states.count(state) for state in set(states)}) }")
    for name in ("ansible", "ssh", "together"):
        print(f"  most {name}: {most[name] / 1e6:.0f} MB")
    harness.save(f"memory-{args.hosts}", most | {"seconds": seconds})


if __name__ == "__main__":
    main()
