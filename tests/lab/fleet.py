"""Playbooks on the lab's hosts, and what their reports say."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def play(playbook: str, *arguments: str) -> subprocess.CompletedProcess:
    """Run a playbook on the lab's inventory; stdout and stderr come back together."""
    argv = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "inventories/lab", playbook, *arguments]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1"}
    return subprocess.run(
        argv, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1800
    )


def report() -> dict:
    """The newest report."""
    return json.loads((ROOT / "reports/latest/report.json").read_text())


def states() -> dict[str, str]:
    """The state of each host in the newest report."""
    return {name: host["state"] for name, host in report()["hosts"].items()}
