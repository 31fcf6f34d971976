"""One host, one command: what plain ssh and pyinfra are better at than anything that stands on Ansible, as we do."""

import argparse
from pathlib import Path

import contestants
import fleet
import harness
from harness import Contestant

from lab import keys


def main() -> None:
    """Measure `uptime` on one host."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    inventory = fleet.start(1)
    member = fleet.members(1)[0]
    harness.about(f"One host, one command (uptime), {args.runs} runs", "from cold; a benchmark that peers should win")
    ssh = ["ssh", "-i", str(keys.private_key()), "-p", str(member.port), "-o", "UserKnownHostsFile=/dev/null"]
    ssh += ["-o", "StrictHostKeyChecking=no", "-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR"]
    pyinfra = contestants.pyinfra(1, harness.peers())
    pyinfra.command[-1:] = ["exec", "--", "uptime"]
    ansible = str(Path(fleet.sys.executable).parent / "ansible")
    everybody = [
        Contestant("ssh", [*ssh, f"ops@{member.address}", "uptime"]),
        pyinfra,
        Contestant("ansible raw (ours)", [ansible, "all", "-i", str(inventory), "-m", "raw", "-a", "uptime"]),
        Contestant("ansible command", [ansible, "all", "-i", str(inventory), "-m", "command", "-a", "uptime"]),
    ]
    results = harness.interleave(everybody, args.runs)
    harness.table(results, "ssh")
    harness.save("one-command", results)


if __name__ == "__main__":
    main()
