"""`python -m lab up [HOST ...]|down|status [HOST ...]|reset HOST`."""

import argparse
import logging
import sys

from lab import hosts, lifecycle, topology
from lab.machine import LabError


def main() -> int:
    """Run one command."""
    parser = argparse.ArgumentParser(prog="python -m lab", description="The simulated GPU fleet (docs/lab.md).")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="build what's missing, start it, write inventories/lab")
    commands.add_parser("down", help="remove everything but the cache")
    status = commands.add_parser("status", help="what is up; exit status 1 where something isn't")
    for command in (up, status):
        command.add_argument("hosts", nargs="*", choices=[*topology.HOSTS, []], metavar="HOST", help="only these")
    reset = commands.add_parser("reset", help="bring one host back to fresh")
    reset.add_argument("host", choices=sorted(topology.HOSTS))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
    logging.getLogger("lab").setLevel(logging.INFO)
    try:
        if arguments.command == "reset":
            hosts.reset(arguments.host)
        elif arguments.command == "status":
            return 0 if lifecycle.status(arguments.hosts) else 1
        elif arguments.command == "up":
            lifecycle.up(arguments.hosts)
        else:
            lifecycle.down()
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
