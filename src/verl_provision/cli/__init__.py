"""The command line `verl-provision`. Exit status: 0 well, 1 something doesn't fit or failed, 2 bad usage."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from verl_provision import __version__

# command -> its module; only the one that was asked for is imported: Ansible, Rich and Jinja take longer than `explain`
COMMANDS = {
    "explain": "explain", "up": "play", "plan": "play", "verify": "play", "render": "render", "report": "report",
    "doctor": "doctor", "catalog": "catalog",
}  # fmt: skip


def parser(command: str | None = None) -> argparse.ArgumentParser:
    """Build the parser, of one command or of all; each module adds its own part and names its function."""
    root = argparse.ArgumentParser(prog="verl-provision", description=__doc__)
    root.add_argument("--version", action="version", version=f"verl-provision {__version__}")
    subparsers = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    modules = [COMMANDS[command]] if command in COMMANDS else [*dict.fromkeys(COMMANDS.values()), "completion"]
    for module in modules:
        import_module(f"verl_provision.cli.{module}").add_parser(subparsers)
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    given = sys.argv[1:] if argv is None else argv
    arguments = parser(given[0] if given else None).parse_args(given)
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
