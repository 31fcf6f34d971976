"""`verl-provision doctor`: look at this controller and at the hosts, change nothing, print what needs doing."""

import argparse
import json
import locale
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from verl_provision import anonymous
from verl_provision.boundary import documents
from verl_provision.boundary.text import visible
from verl_provision.cli import play
from verl_provision.paths import EXAMPLE, ROOT
from verl_provision.report import latest, view

SCRIPTS = Path(sys.executable).parent
ANSIBLE_FLOOR = (2, 19)
DISK_GB = 1.0

Finding = dict[str, Any]


def add_parser(subparsers: Any) -> None:
    """Add the command's own part of the command line."""
    parser = subparsers.add_parser(
        "doctor",
        help="look at controller and hosts, print only what needs doing",
        description=__doc__,
        epilog="Exit status: 0 nothing needs doing, 1 something does, 2 bad usage.",
    )
    play.add_targets(parser)
    parser.add_argument("--controller", action="store_true", help="look at this controller only, connect to no host")
    parser.add_argument(
        "--facts", action="store_true", help="print each host's facts as a test's fixture, identities replaced"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Look, and print; returns the exit status."""
    wanted = play.variables(arguments.want)
    if wanted is None:
        return 2
    if arguments.facts:
        return print_facts(arguments)
    found = []
    for name in play.inventories(arguments):
        found += [one for one in controller(ROOT, Path(name)) if one not in found]
    if not found and not arguments.controller:
        found = list(hosts(arguments, wanted))
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(lines(found)) if found else "nothing needs doing")
    return 1 if found else 0


# ---- the controller


def controller(root: Path, inventory: Path) -> Iterator[Finding]:
    """What keeps this controller from running the playbooks."""
    if not shutil.which("git"):
        yield finding("controller", "there is no git", "git on PATH", "sudo apt-get install git")
    yield from packages()
    if not (SCRIPTS / "ansible-playbook").exists():
        yield finding("controller", f"there is no {SCRIPTS}/ansible-playbook", "ansible-core beside this command",
                      "make setup, then .venv/bin/verl-provision doctor")  # fmt: skip
    if locale.getencoding().lower().replace("-", "") != "utf8":
        yield finding("controller", f"the locale's encoding is {locale.getencoding()}", "UTF-8, which Ansible needs",
                      "export LC_ALL=C.UTF-8")  # fmt: skip
    if root.stat().st_mode & 0o002:
        yield finding("controller", f"{root} is writable for everybody", "no such right: Ansible ignores ansible.cfg",
                      f"chmod o-w {root}")  # fmt: skip
    yield from room(root)
    yield from inventory_findings(inventory)


def packages() -> Iterator[Finding]:
    """The Python packages that a run needs."""
    for name in ("ansible-core", "ansible-runner", "jsonschema", "PyYAML"):
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield finding("controller", f"there is no {name} in {sys.prefix}", f"{name}", "make setup")
            continue
        numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
        if name == "ansible-core" and numbers < ANSIBLE_FLOOR:
            yield finding(
                "controller", f"ansible-core {version}", "ansible-core 2.19 or newer", "rm -r .venv; make setup"
            )


def room(root: Path) -> Iterator[Finding]:
    """Disk for reports and Ansible's own files."""
    for folder in dict.fromkeys((root, Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(folder).free / 1e9
        if free < DISK_GB:
            yield finding("controller", f"{folder} has {free:.1f} GB free", f"{DISK_GB:g} GB",
                          f"du -xh --max-depth=2 {folder} | sort -h | tail; old reports: {root}/reports")  # fmt: skip
        if not os.access(folder, os.W_OK):
            yield finding("controller", f"{folder} isn't writable for uid {os.getuid()}", "a folder to write to",
                          f"sudo chown -R $USER {folder}")  # fmt: skip


def inventory_findings(inventory: Path) -> Iterator[Finding]:
    """Whether Ansible reads the inventory, and finds hosts in it."""
    if not inventory.exists():
        yield finding("inventory", f"there is no {inventory}", "an inventory",
                      f"cp -r {EXAMPLE} {inventory}, and write your hosts into it")  # fmt: skip
        return
    program = SCRIPTS / "ansible-inventory"
    if not program.exists():
        return
    words = [str(program), "-i", str(inventory), "--list"]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1",
                   "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1"}  # fmt: skip
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, env=environment, check=False)
    except subprocess.TimeoutExpired:
        yield finding("inventory", f"{inventory}: no answer within 120 s", "hosts", " ".join(words))
        return
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if "ERROR" in line), done.stderr[-300:])
        yield finding("inventory", f"{inventory}: {said.strip()}", "an inventory that Ansible reads", " ".join(words))
        return
    known = json.loads(done.stdout)
    names = {name for group in known.values() if isinstance(group, dict) for name in group.get("hosts", [])}
    if not names:
        yield finding("inventory", f"{inventory} has no hosts", "at least one", f"{EXAMPLE} shows how")
    variables = known.get("_meta", {}).get("hostvars", {})
    remote = sorted(name for name in names if variables.get(name, {}).get("ansible_connection", "ssh") == "ssh")
    if remote and not shutil.which("ssh"):
        yield finding("controller", f"there is no ssh to reach {view.names(remote)} with", "ssh on PATH",
                      "sudo apt-get install openssh-client")  # fmt: skip


# ---- the hosts


def hosts(arguments: argparse.Namespace, wanted: dict[str, str]) -> Iterator[Finding]:
    """What needs doing on the hosts: a plan is made, and nothing of it is kept."""
    with tempfile.TemporaryDirectory(prefix="verl-provision-") as kept:
        with play.passed_on(arguments) as flags:
            targets = {"inventory": play.inventories(arguments), "limit": arguments.limit, "flags": shlex.join(flags)}
            extra = {**wanted, "run_report_directory": kept}
            result = play.execute("playbooks/plan.yml", **targets, extra=extra, quiet=True)
        report = latest.read(kept)
        if report is None:
            said = [line for line in result.said.splitlines() if "ERROR" in line or "fatal" in line]
            yield finding("hosts", (said or ["the playbook ended without a report"])[-1].strip()[:400], "a plan",
                          f"verl-provision plan -i {' -i '.join(play.inventories(arguments))}")  # fmt: skip
            return
    yield from of_report(report)


def of_report(report: dict[str, Any]) -> Iterator[Finding]:
    """What a plan says that somebody should do: errors, warnings with a fix, and what waits for an idle host."""
    seen = view.view(report)
    for entry in seen["todo"]:
        yield {"where": entry["hosts"], "what": f"{entry['id']}: {entry['found']}", "needed": entry["needed"],
               "fix": entry["fix"]}  # fmt: skip
    for entry in seen["warnings"]:
        if entry["fix"]:
            yield {"where": entry["hosts"], "what": entry["text"], "needed": None, "fix": entry["fix"]}
    for entry in seen["deferred"]:
        yield {"where": entry["hosts"], "what": f"waits for an idle host: {entry['text']}", "needed": None,
               "fix": entry["fix"]}  # fmt: skip


# ---- facts for a fixture


def print_facts(arguments: argparse.Namespace) -> int:
    """Print a document for each host that answers, as tests/fixtures/hosts has them; 1 where one doesn't."""
    with play.passed_on(arguments) as flags:
        told = play.gathered(play.inventories(arguments), arguments.limit, shlex.join(flags))
    wrong = 0 if told else 1
    for name, answer in told.items():
        try:
            if "facts" not in answer:
                raise documents.Refused(str(answer.get("msg") or "no facts"))
            kept = anonymous.facts(documents.facts(answer["facts"]), (name, name.partition(".")[0]))
        except documents.Refused as error:
            print(f"verl-provision: {visible(name)}: {visible(str(error))}", file=sys.stderr)
            wrong = 1
            continue
        told_of = {"about": "", "facts": kept, "plan": ""}
        print("---\n" + yaml.safe_dump(told_of, sort_keys=False), end="")
    return wrong


# ---- what is printed


def finding(where: str, what: str, needed: str | None, fix: str | None) -> Finding:
    """One thing that needs doing."""
    return {"where": [where], "what": what, "needed": needed, "fix": fix}


def lines(found: list[Finding]) -> list[str]:
    """What needs doing, each with its command."""
    text = []
    for item in found:
        text.append(f"{view.names(item['where'])}: {item['what']}")
        if item["needed"]:
            text.append(f"    needed: {item['needed']}")
        if item["fix"]:
            text.append(f"    do:     {item['fix']}")
    return [*map(visible, text), "", f"{len(found)} thing{'s' if len(found) > 1 else ''} to do"]
