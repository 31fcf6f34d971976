"""`verl-provision plan | up | verify`: the playbooks, with exit statuses that a script can tell apart."""

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import ansible_runner

ROOT = Path(__file__).resolve().parents[3]
PLAYBOOKS = {
    "plan": ("playbooks/plan.yml", "look at the hosts and show what would be done; nothing is changed"),
    "up": ("site.yml", "take the hosts to a verified verl environment"),
    "verify": ("playbooks/verify.yml", "verify again what is there; nothing is applied"),
}
USAGE_ERRORS = {1, 4, 5, 250}  # ansible-playbook: error, parser error, bad options, unexpected error


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the three commands; they share their flags."""
    for name, (_, summary) in PLAYBOOKS.items():
        parser = subparsers.add_parser(name, help=summary, description=summary)
        add_targets(parser)
        if name == "up":
            parser.add_argument("--check", action="store_true", help="change nothing, show what would be changed")
            parser.add_argument("--diff", action="store_true", help="show how files would change")
        parser.set_defaults(run=run)


def add_targets(parser: argparse.ArgumentParser) -> None:
    """The flags that say which hosts, and what is wished for them."""
    parser.add_argument("-i", "--inventory", default="inventories/local", help="inventory (default: %(default)s)")
    parser.add_argument("-l", "--limit", help="only these hosts")
    parser.add_argument(
        "--want",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a wish for every host, such as verl_engine=vllm",
    )


def wishes(wanted: list[str]) -> dict[str, str] | None:
    """`--want` as variables; None, and said, where one isn't NAME=VALUE."""
    pairs = [wish.partition("=") for wish in wanted]
    if any(not separator for _, separator, _ in pairs):
        print("verl-provision: --want takes NAME=VALUE, such as --want verl_engine=vllm", file=sys.stderr)
        return None
    return {name: value for name, _, value in pairs}


def run(arguments: argparse.Namespace) -> int:
    """Run the playbook. 0: every host is well; 1: a host was refused, failed or couldn't be reached; 2: bad usage."""
    extra = wishes(arguments.want)
    if extra is None:
        return 2
    inventory = Path(arguments.inventory)
    if not inventory.exists():
        print(f"verl-provision: no inventory at {inventory}; copy inventories/example-cluster", file=sys.stderr)
        return 2
    flags = [f"--{flag}" for flag in ("check", "diff") if getattr(arguments, flag, False)]
    playbook = PLAYBOOKS[arguments.command][0]
    result = execute(playbook, str(inventory), arguments.limit, extra, " ".join(flags))
    if result.rc == 0:
        return 0
    return 2 if result.rc in USAGE_ERRORS else 1


def execute(
    playbook: str, inventory: str, limit: str | None, wishes: dict[str, str], flags: str = "", **how: Any
) -> ansible_runner.Runner:
    """Run a playbook of this repository; `how` goes to ansible-runner."""
    scripts = Path(sys.executable).parent  # this environment's ansible-playbook, whatever PATH says
    with tempfile.TemporaryDirectory(prefix="verl-provision-") as private:
        result = ansible_runner.run(
            private_data_dir=private,
            project_dir=str(ROOT),
            playbook=playbook,
            inventory=str(Path(inventory).resolve()),
            limit=limit,
            cmdline=flags or None,
            extravars=wishes,
            envvars={
                "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                "ANSIBLE_NOCOLOR": "" if sys.stdout.isatty() else "1",
                "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
            },
            **how,
        )
        result.said = result.stdout.read() if how.get("quiet") else ""
    return result
