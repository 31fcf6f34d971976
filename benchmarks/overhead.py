"""What board and report cost, as a share of one run: `python benchmarks/overhead.py -i inventories/lab [-l HOST]`.

`verl-provision up` runs in a terminal of its own (a pty), on the inventory that is given; what follows `--` goes to it.
Everything it does beside starting Ansible counts as overhead, in CPU seconds of its own process: its start, reading the
events, drawing the board, writing the report again with the timeline. The playbook's own report counts by the time from
the beginning of its play to the run's end. The share is held against the time that the whole run took.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import pexpect

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from verl_provision.report import latest

LIMIT_PERCENT = 3.0
PROGRAM = """
import json, resource, sys, time
from verl_provision.cli import main, progress
take, begun = progress.Run.take, {}
def noting(self, event, now):
    if event.get("event") == "playbook_on_play_start":
        begun[event["event_data"]["name"]] = now
    return take(self, event, now)
progress.Run.take = noting
status = main(sys.argv[2:])
used = resource.getrusage(resource.RUSAGE_SELF)
with open(sys.argv[1], "w") as file:
    json.dump([used.ru_utime + used.ru_stime, time.monotonic() - begun.get("Write the report", time.monotonic())], file)
sys.exit(status)
"""


def in_terminal(argv: list[str]) -> tuple[int, float, float]:
    """Run the command line in a terminal.

    Returns its exit status, CPU seconds of that process without those that it started, and seconds from where the
    report's play began to the end.
    """
    with tempfile.NamedTemporaryFile("r") as told:
        terminal = pexpect.spawn(sys.executable, ["-c", PROGRAM, told.name, *argv], timeout=None, dimensions=(40, 120))
        terminal.expect(pexpect.EOF)
        terminal.close()
        return terminal.exitstatus, *json.loads(told.read() or "[0, 0]")


def main() -> int:
    """Run it, and print the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-i", "--inventory", default="inventories/local")
    parser.add_argument("-l", "--limit", default="all")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("more", nargs="*", help="further arguments of `verl-provision up`, after --")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as reports:
        argv = ["up", "-i", arguments.inventory, "-l", arguments.limit, *arguments.more]
        start = time.monotonic()
        status, watching, writing = in_terminal([*argv, "--want", f"run_report_directory={reports}"])
        seconds = time.monotonic() - start
        report = latest.read(reports)
    if report is None:
        print(f"the run ended with {status} and without a report: verl-provision {' '.join(argv)}", file=sys.stderr)
        return 2
    share = 100 * (watching + writing) / seconds
    found = {
        "hosts": len(report["hosts"]),
        "steps": sum(len((host["plan"] or {}).get("steps") or {}) for host in report["hosts"].values()),
        "run_seconds": round(seconds, 1),
        "board_cpu_seconds": round(watching, 2),
        "report_seconds": round(writing, 2),
        "percent": round(share, 2),
    }
    if arguments.json:
        print(json.dumps(found))
    else:
        print("\n".join(f"{name:18} {value}" for name, value in found.items()))
        print(f"{'limit':18} {LIMIT_PERCENT}")
    return 0 if status == 0 and share <= LIMIT_PERCENT else 1


if __name__ == "__main__":
    sys.exit(main())
