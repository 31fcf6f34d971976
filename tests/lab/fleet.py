"""Playbooks on the lab's hosts, and what their reports say."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REPORTS = ROOT / "build/lab/reports"  # apart from those of other tests that run beside


def command(playbook: str, *arguments: str) -> dict:
    """How a playbook is run on the lab's inventory; stdout and stderr come back together."""
    ansible = str(Path(sys.executable).parent / "ansible-playbook")
    argv = [ansible, "-i", "inventories/lab", playbook, "-e", f"run_report_directory={REPORTS}", *arguments]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1"}
    return {"args": argv, "cwd": ROOT, "env": environment, "stderr": subprocess.STDOUT, "text": True}


def play(playbook: str, *arguments: str) -> subprocess.CompletedProcess:
    """Run a playbook to its end."""
    return subprocess.run(**command(playbook, *arguments), stdout=subprocess.PIPE, timeout=1800)


def begin(output: Path, playbook: str, *arguments: str) -> subprocess.Popen:
    """Start a playbook as the leader of a process group of its own, so that all of it can be killed at once."""
    with output.open("w") as stream:
        return subprocess.Popen(**command(playbook, *arguments), stdout=stream, start_new_session=True)


def report() -> dict:
    """The newest report."""
    return json.loads((REPORTS / "latest/report.json").read_text())


def states() -> dict[str, str]:
    """The state of each host in the newest report."""
    return {name: host["state"] for name, host in report()["hosts"].items()}
