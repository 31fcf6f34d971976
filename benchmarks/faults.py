"""B5: a cold run with faulty hosts in it: `python benchmarks/faults.py [--hosts 20]`.

Cold: every host has lost its checkout, verl-shell and verification; the engine, toolkit, image and container are there.
One host hangs in nvidia-smi, one takes the connection and says nothing, one has no room for the checkout.
"""

import argparse
import datetime
import math
import time
from typing import Any

import fleet
import harness

DEADLINE = 15  # seconds: what one unanswered probe may cost (ansible.cfg: timeout; nvidia-smi has 10)
COLD = (
    "rm -rf /home/ops/verl/src /home/ops/.local/bin /home/ops/.local/state/verl-provision/verification.json "
    "/home/ops/.local/state/verl-provision/verl_shell.json /home/ops/.local/state/verl-provision/verl_checkout.json"
)
STALLED = 2299
FAULTS = {  # name: (what is done to the host, the states that are right)
    "hangs in nvidia-smi": ("printf '#!/bin/sh\\nexec sleep 600\\n' > /usr/bin/nvidia-smi", {"refused"}),
    "takes the connection and says nothing": ("true", {"unreachable"}),
    "has no room": (
        "mount -t tmpfs -o size=64k,uid=1000,mode=755 none /home/ops/verl && "
        "dd if=/dev/zero of=/home/ops/verl/full bs=1k 2>/dev/null; true",
        {"failed", "refused"},
    ),
}
LISTEN = f"""import socket
s = socket.create_server(('', {STALLED}), backlog=64)
held = []
while True: held.append(s.accept())"""


def run(count: int, faulty: bool) -> dict[str, Any]:
    """One cold run; when the last healthy host was verified, and the states."""
    fleet.start(count)
    members = fleet.members(count)
    for member in members:
        fleet.inside(member, COLD)
    hosts = fleet.hosts_of(members)
    expected = {member.name: {"verified"} for member in members}
    for member, (harm, right) in zip(members[:: count // len(FAULTS)], FAULTS.values() if faulty else (), strict=False):
        fleet.inside(member, harm)
        expected[member.name] = right
        if right == {"unreachable"}:
            hosts[member.name]["ansible_port"] = STALLED
    inventory = fleet.lay(fleet.BUILD / "faults.yml", hosts)
    fleet.base(f"setsid python3 -c {fleet.shlex.quote(LISTEN)} >/dev/null 2>&1 & sleep 0.2")
    try:
        start = time.time()
        fleet.product(inventory)
        seconds = time.time() - start
    finally:
        fleet.base("pkill -f -- '^python3 -c import socket'", check=False)
    states = {name: host["state"] for name, host in fleet.report()["hosts"].items()}
    done = [parse(host["verified_at"]) for host in fleet.report()["hosts"].values() if host.get("verified_at")]
    return {
        "healthy_done": max(done, default=math.inf) - start,
        "seconds": seconds,
        "wrong": {name: states[name] for name in states if states[name] not in expected[name]},
        "states": sorted(set(states.values())),
        "faulty": {name: fleet.report()["hosts"][name]["reason"] for name in states if expected[name] != {"verified"}},
    }


def parse(moment: str) -> float:
    """Seconds since the epoch."""
    return datetime.datetime.fromisoformat(moment).timestamp()


def main() -> None:
    """With faults and without, in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hosts", type=int, default=20)
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    harness.about(
        f"B5: {args.hosts} hosts, cold, {len(FAULTS)} of them faulty",
        f"{'; '.join(FAULTS)}; limits: ssh 15 s, a command 10 s; done = when the last healthy host was verified",
    )
    results: dict[str, list[dict[str, Any]]] = {"fault-free": [], "with faults": []}
    for _ in range(args.runs):
        for name in results:
            results[name].append(run(args.hosts, name == "with faults"))
            print(f"  {name}: {results[name][-1]}", flush=True)
    free, faulty = (harness.middle(measured, "healthy_done") for measured in results.values())
    print(
        f"healthy hosts verified after {free:.0f} s without faults, {faulty:.0f} s with (limit {free + DEADLINE:.0f} s)"
    )
    wrong = [run["wrong"] for measured in results.values() for run in measured if run["wrong"]]
    print(f"verdicts: {wrong or 'all right'}")
    harness.save(f"faults-{args.hosts}", results)


if __name__ == "__main__":
    main()
