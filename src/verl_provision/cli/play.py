"""`verl-provision plan | up | verify`: the playbooks, with exit statuses that a script can tell apart."""

import argparse
import contextlib
import getpass
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ansible_runner
from rich.console import Console

from verl_provision.boundary.text import visible
from verl_provision.cli.board import Board
from verl_provision.cli.progress import Run
from verl_provision.module_utils import files
from verl_provision.paths import EXAMPLE, INVENTORY, ROOT, reports
from verl_provision.report import latest, text

PLAYBOOKS = {
    "plan": ("playbooks/plan.yml", "look at the hosts and show what would be done; nothing is changed"),
    "up": ("site.yml", "take the hosts to a verified verl environment"),
    "verify": ("playbooks/verify.yml", "verify again what is there; nothing is applied"),
}
STOPPED = {
    "plan": "stopped. Nothing was changed.",
    "up": "stopped. What was done stays done and isn't done again; the rest wasn't begun. A pull that runs on a host "
    "goes on there.",
    "verify": "stopped. Nothing was applied; hosts that weren't done yet keep their last result.",
}
DEVICES = Path("/dev")
USAGE_ERRORS = {1, 4, 5, 250}  # ansible-playbook: error, parser error, bad options, unexpected error


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the three commands; they share their flags."""
    for name, (dummy, summary) in PLAYBOOKS.items():
        parser = subparsers.add_parser(name, help=summary, description=summary)
        add_targets(parser)
        if name == "plan":
            parser.add_argument(
                "--detailed-exitcode",
                action="store_true",
                help="exit with 2 where something would be done, as a drift check (then bad usage is 1, too)",
            )
        if name == "up":
            parser.add_argument("--check", action="store_true", help="change nothing, show what would be changed")
            parser.add_argument("--diff", action="store_true", help="show how files would change")
            parser.add_argument("--raw", action="store_true", help="show Ansible's own output, task by task")
        parser.set_defaults(run=run)


def add_targets(parser: argparse.ArgumentParser) -> None:
    """The flags that say which hosts, and what is asked for on them."""
    parser.add_argument("-i", "--inventory", action="append", help="inventory; may be repeated (this very machine)")
    parser.add_argument("-l", "--limit", help="only these hosts")
    parser.add_argument("-u", "--user", help="connect as this user")
    parser.add_argument("-K", "--ask-become-pass", action="store_true", help="ask for the password that sudo asks for")
    parser.add_argument("--become-password-file", metavar="FILE", help="a file with it")
    parser.add_argument(
        "-e",
        "--extra-vars",
        action="append",
        default=[],
        metavar="VARS",
        help="variables, as ansible-playbook has them",
    )
    parser.add_argument("-v", "--verbose", action="count", default=0, help="Ansible's own output; -vvv has more of it")
    parser.add_argument(
        "--want",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a variable for every host, such as verl_engine=vllm",
    )


def variables(wanted: list[str]) -> dict[str, str] | None:
    """`--want` as variables; None, and said, where one isn't NAME=VALUE."""
    pairs = [want.partition("=") for want in wanted]
    if any(not separator for dummy, separator, dummy in pairs):
        print("verl-provision: --want takes NAME=VALUE, such as --want verl_engine=vllm", file=sys.stderr)
        return None
    return {name: value for name, dummy, value in pairs}


def login_node() -> str:
    """What to say where this machine only hands jobs to Slurm, so that the GPUs are elsewhere; '' on any other."""
    devices = [path for name in ("nvidia[0-9]*", "kfd", "davinci[0-9]*") for path in DEVICES.glob(name)]
    if not shutil.which("sbatch") or os.environ.get("SLURM_JOB_ID") or devices:
        return ""
    try:
        asked = subprocess.run(["sinfo", "-h", "-o", "%R %G"], capture_output=True, text=True, timeout=10)
        known = [line.split() for line in asked.stdout.splitlines() if "gpu" in line]
    except (OSError, subprocess.SubprocessError, ValueError):
        known = []
    partition = known[0][0] if known else "PARTITION"
    found = f"; partitions with GPUs: {', '.join(' '.join(row) for row in known)}" if known else ""
    return (
        f"this is a login node of a Slurm cluster, so the plan above is not for its GPUs{found}.\n"
        "Plan on a partition's node:\n"
        f"  srun --partition={shlex.quote(partition)} --nodes=1 --gpus-per-node=1 {sys.argv[0]} plan\n"
        "or ask such a node for its driver, and write the batch script here (docs/slurm.md):\n"
        f"  srun --partition={shlex.quote(partition)} --gpus-per-node=1 "
        "nvidia-smi --query-gpu=name,driver_version --format=csv\n"
        f"  verl-provision render slurm --gpu NAME --driver VERSION --set partition={shlex.quote(partition)}"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the playbook. 0: every host is well; 1: a host was refused, failed or couldn't be reached; 2: bad usage.

    With --detailed-exitcode 2 means that something would be done, and nothing else.
    """
    drift = getattr(arguments, "detailed_exitcode", False)
    bad_usage = 1 if drift else 2
    extra = variables(arguments.want)
    if extra is None:
        return bad_usage
    absent = missing(arguments)
    if absent:
        print(f"verl-provision: no {absent}", file=sys.stderr)
        return bad_usage
    flags = [f"--{flag}" for flag in ("check", "diff") if getattr(arguments, flag, False)]
    if arguments.command == "plan" and not drift:
        flags.append("--skip-tags drift")
    playbook = PLAYBOOKS[arguments.command][0]
    watched = arguments.command == "up" and not (arguments.raw or arguments.diff or arguments.verbose)
    name = time.strftime("%Y%m%dT%H%M%SZ-", time.gmtime()) + secrets.token_hex(3)
    with passed_on(arguments) as same, Stop() as stop:
        what = (playbook, inventories(arguments), arguments.limit, extra, " ".join([*flags, shlex.join(same)]))
        result = watch(stop, name, *what) if watched else execute(*what, name=name, cancel_callback=stop.asked_twice)
    if arguments.command == "plan" and arguments.inventory is None and login_node():
        print(visible(login_node()), file=sys.stderr)
    if stop.asked:
        again = shlex.join(["verl-provision", *sys.argv[1:]])
        print(f"{STOPPED[arguments.command]} To resume: {again}", file=sys.stderr)
        return 1
    if result.rc == 0:
        return 0
    if drift and result.rc == 2:
        return 2
    folder = Path(extra.get("run_report_directory", reports()))
    reported = (folder / name / "report.json").is_file()  # an error after the report is about a host
    return bad_usage if result.rc in USAGE_ERRORS and not reported else 1


def inventories(arguments: argparse.Namespace) -> list[str]:
    """The inventories, as ansible-playbook takes them from another folder; a list of hosts (`a,b`) stays one."""
    named = arguments.inventory or [str(INVENTORY)]
    return [name if "," in name else str(Path(name).resolve()) for name in named]


def missing(arguments: argparse.Namespace) -> str:
    """The first file that is named and isn't there, and what to do; "" where all are."""
    for name in inventories(arguments):
        if "," not in name and not Path(name).exists():
            return f"inventory at {name}; cp -r {EXAMPLE} {name}"
    secret = arguments.become_password_file
    if secret and secret != "-" and not Path(secret).exists():
        return f"file {secret}; -K asks for the password"
    return ""


@contextlib.contextmanager
def passed_on(arguments: argparse.Namespace) -> Iterator[list[str]]:
    """The flags that ansible-playbook gets as they are. A password that is typed reaches it through a pipe."""
    flags = ["--user", arguments.user] if arguments.user else []
    for said in arguments.extra_vars:
        flags += ["--extra-vars", f"@{Path(said[1:]).resolve()}" if said.startswith("@") else said]
    if arguments.verbose:
        flags.append("-" + "v" * arguments.verbose)
    named = arguments.become_password_file
    if not arguments.ask_become_pass and named != "-":
        yield [*flags, *(["--become-password-file", str(Path(named).resolve())] if named else [])]
        return
    secret = sys.stdin.readline().rstrip("\n") if named == "-" else getpass.getpass("BECOME password: ")
    with tempfile.TemporaryDirectory(prefix="verl-provision-") as private:
        pipe = Path(private) / "become"
        os.mkfifo(pipe, 0o600)  # nothing of it is on a disk
        threading.Thread(target=_tell, args=(pipe, secret), daemon=True).start()
        try:
            yield [*flags, "--become-password-file", str(pipe)]
        finally:
            os.close(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK))  # whoever still waits to write may end


def _tell(pipe: Path, secret: str) -> None:
    with contextlib.suppress(OSError), pipe.open("w") as writer:  # waits for a reader
        writer.write(secret + "\n")


def execute(
    playbook: str | None,
    inventory: list[str],
    limit: str | None,
    extra: dict[str, str],
    flags: str = "",
    name: str = "",
    **how: Any,
) -> ansible_runner.Runner:
    """Run a playbook of this repository; `name` is the run's id, `how` goes to ansible-runner."""
    scripts = Path(sys.executable).parent  # this environment's ansible-playbook, whatever PATH says
    with tempfile.TemporaryDirectory(prefix="verl-provision-") as private:
        result = ansible_runner.run(
            private_data_dir=private,
            project_dir=str(ROOT),
            playbook=playbook,
            inventory=inventory,
            **({"limit": limit} if playbook else {"host_pattern": limit or "all"}),
            cmdline=flags or None,
            extravars={"run_report_directory": str(reports()), **extra},
            envvars={
                "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "callback_plugins"),  # ansible-runner's own come beside them
                "ANSIBLE_NOCOLOR": "" if sys.stdout.isatty() else "1",
                "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
                "VERL_RUN_ID": name,
            },
            **how,
        )
        result.said = result.stdout.read() if how.get("quiet") else ""
    return result


def gathered(inventory: list[str], limit: str | None, flags: str = "") -> dict[str, dict[str, Any]]:
    """What the module verl_host_facts answers, by host; nothing else is asked and nothing is kept."""
    told: dict[str, dict[str, Any]] = {}

    def keep(event: dict[str, Any]) -> bool:
        data = event.get("event_data") or {}
        if event.get("event") in ("runner_on_ok", "runner_on_failed", "runner_on_unreachable"):
            told[str(data.get("host"))] = data.get("res") or {}
        return False  # ansible-runner writes nothing of it

    execute(None, inventory, limit, {}, flags, module="verl_host_facts", quiet=True, event_handler=keep)
    return told


def watch(
    stop: "Stop", name: str, playbook: str, inventory: list[str], limit: str | None, extra: dict[str, str], flags: str
) -> ansible_runner.Runner:
    """Run a playbook with the board where there is a terminal, with plain lines where there is none."""
    state = Run(time.monotonic())
    folder = Path(extra.get("run_report_directory", reports()))
    console = Console()
    with Board(console, time.monotonic) if console.is_terminal else contextlib.nullcontext() as board:
        if board:
            board.run = state

        def handle(event: dict[str, Any]) -> bool:
            for line in state.take(event, time.monotonic()):
                if not board:
                    print(line, flush=True)
            return True  # ansible-runner keeps the event

        result = execute(
            playbook,
            inventory,
            limit,
            extra,
            flags,
            name,
            quiet=True,
            event_handler=handle,
            cancel_callback=stop.asked_twice,
        )
        state.finish()
    report = latest.read(folder, name)
    if report:
        files.write(str(folder / name / "ansible.log"), result.said)
        print("\n".join(text.report_lines(report, os.path.relpath(folder / name / "report.html"))))
    elif not stop.asked:
        print(visible(result.said))  # it ended before there was anything to report: Ansible says why
    return result


class Stop:
    """Ctrl-C, as a context: once lets Ansible end what it does, twice ends Ansible."""

    def __init__(self) -> None:
        self.times = 0
        self.before: Any = None

    def __enter__(self) -> "Stop":
        self.before = signal.signal(signal.SIGINT, self._pressed)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self.before)

    @property
    def asked(self) -> bool:
        """Whether it was pressed."""
        return self.times > 0

    def asked_twice(self) -> bool:
        """Whether it was pressed again."""
        return self.times > 1

    def _pressed(self, *_: object) -> None:
        self.times += 1
        if self.times == 1:
            for child in children(os.getpid()):
                with contextlib.suppress(OSError):
                    os.kill(child, signal.SIGINT)  # ansible-playbook has a terminal of its own, so this key isn't its


def children(pid: int) -> list[int]:
    """The processes that `pid` started."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(number) for number in path.read_text().split()]
    return found
