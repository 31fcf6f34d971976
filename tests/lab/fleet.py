"""Playbooks on the lab's hosts, and what their reports say."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REPORTS = ROOT / "build/lab/reports"  # apart from those of other tests that run beside


def play(playbook: str, *arguments: str) -> subprocess.CompletedProcess:
    """Run a playbook on the lab's inventory; stdout and stderr come back together."""
    ansible = str(Path(sys.executable).parent / "ansible-playbook")
    argv = [ansible, "-i", "inventories/lab", playbook, "-e", f"run_report_directory={REPORTS}", *arguments]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1"}
    return subprocess.run(
        argv, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1800
    )


def report() -> dict:
    """The newest report."""
    return json.loads((REPORTS / "latest/report.json").read_text())


def states() -> dict[str, str]:
    """The state of each host in the newest report."""
    return {name: host["state"] for name, host in report()["hosts"].items()}
