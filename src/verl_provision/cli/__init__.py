"""The command line `verl-provision`. Exit status: 0 well, 1 something doesn't fit or failed, 2 bad usage."""

import argparse
import sys
from collections.abc import Sequence

from verl_provision import __version__
from verl_provision.cli import catalog, completion, doctor, explain, play, render, report

COMMANDS = (explain, play, render, report, doctor, catalog, completion)


def parser() -> argparse.ArgumentParser:
    """Build the parser; each command's module adds its own part and names its function."""
    root = argparse.ArgumentParser(prog="verl-provision", description=__doc__)
    root.add_argument("--version", action="version", version=f"verl-provision {__version__}")
    subparsers = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(subparsers)
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    arguments = parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except KeyboardInterrupt:
        print(f"\nverl-provision {arguments.command}: stopped; nothing was changed", file=sys.stderr)
        return 1
    except BrokenPipeError:
        sys.stderr.close()
        return 1


if __name__ == "__main__":
    sys.exit(main())
