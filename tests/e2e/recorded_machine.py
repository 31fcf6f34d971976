"""This machine, wearing a recorded host's GPUs: its probe tree, and its commands first on PATH.

The interpreter of the inventory is a two-line script that sets PATH, so that the very playbooks a user runs see the
recorded `nvidia-smi`, `docker` and `sudo`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

from tests.unit.facts.recorded import HOSTS as RECORDED

ROOT = Path(__file__).resolve().parents[2]


class RecordedMachine:
    """An inventory with one host, and playbooks run on it with a home of its own."""

    def __init__(self, place: Path, host: str):
        self.place, self.home = place, place / "home"
        self.home.mkdir()
        layers = [host, *json.loads((RECORDED / host / "machine.json").read_text()).get("layers", [])]
        path = os.pathsep.join(str(RECORDED / layer / "bin") for layer in layers)
        interpreter = place / "python"
        interpreter.write_text(f'#!/bin/sh\nPATH="{path}:$PATH" exec {sys.executable} "$@"\n')
        interpreter.chmod(0o755)
        tree = json.loads((RECORDED / host / "machine.json").read_text()).get("tree", host)
        variables = {
            "ansible_connection": "local",
            "ansible_python_interpreter": str(interpreter),
            "verl_probe_root": str(RECORDED / tree / "tree"),
            "verl_prefix": str(self.home / "verl"),
            "verl_state_dir": str(self.home / "state"),
        }
        self.inventory = place / "hosts.yml"
        self.inventory.write_text(yaml.safe_dump({"all": {"hosts": {"machine": variables}}}))

    def play(self, playbook: str, *arguments: str) -> subprocess.CompletedProcess:
        """Run a playbook; stdout and stderr come back together."""
        kept = ["-e", f"run_report_directory={self.place}/reports"]
        ansible = str(Path(sys.executable).parent / "ansible-playbook")
        argv = [ansible, "-i", str(self.inventory), playbook, *kept, *arguments]
        environment = {**os.environ, "ANSIBLE_NOCOLOR": "1"}
        return subprocess.run(
            argv, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300
        )

    def left(self) -> list[str]:
        """What lies in the host's home now; nothing after a refusal."""
        return sorted(str(path.relative_to(self.home)) for path in self.home.rglob("*"))

    def reports(self) -> Path:
        """Where the newest run's documents are."""
        return self.place / "reports/latest"

    def report(self) -> dict:
        """The newest report's host `machine`."""
        return json.loads((self.reports() / "report.json").read_text())["hosts"]["machine"]
