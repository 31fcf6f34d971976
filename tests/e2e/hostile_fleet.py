"""Two good hosts, and others that answer what they like: their `interpreter` prints a payload, whatever it is asked.

The good ones are this machine, wearing a recorded host. Nothing that the others say may reach them or the controller;
a file named `canary` is what their payloads try to leave.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.recorded_machine import ROOT, RecordedMachine

GOOD = ("good-1", "good-2")


class HostileFleet:
    """The inventory, and playbooks run on it."""

    def __init__(self, place: Path, host: str = "no_gpu"):
        machine = RecordedMachine(place, host)
        self.place, self.home, self.canary = place, machine.home, place / "canary"
        self.alike = yaml.safe_load(machine.inventory.read_text())["all"]["hosts"]["machine"]
        self.inventory = place / "hosts.yml"

    def play(self, answers: dict[str, Any], playbook: str, *arguments: str, **environment: str) -> str:
        """Run a playbook while each host of `answers` says that, whatever it is asked. Returns the output."""
        hosts = {name: {**self.alike, "verl_state_dir": f"{self.home}/{name}"} for name in (*GOOD, *answers)}
        for name, answer in answers.items():
            text = answer if isinstance(answer, str) else json.dumps(answer)
            (self.place / f"{name}.answer").write_text(text, encoding="utf-8", errors="surrogatepass")
            interpreter = self.place / f"{name}.python"
            interpreter.write_text(f"#!/bin/sh\ncat >/dev/null\ncat {self.place}/{name}.answer\n")
            interpreter.chmod(0o755)
            hosts[name]["ansible_python_interpreter"] = str(interpreter)
        self.inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
        kept = ["-e", f"run_report_directory={self.place}/reports"]
        argv = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(self.inventory), playbook, *kept]
        done = subprocess.run(
            [*argv, *arguments],
            cwd=ROOT,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="surrogateescape",
            timeout=600,
        )
        self.status = done.returncode
        return done.stdout

    def orders(self) -> dict[str, Any]:
        """All that Ansible obeys in a result, aimed at a good host, everybody and the controller."""
        leave = f"touch {self.canary}"
        variables = {
            "ansible_connection": "ssh",
            "ansible_host": "127.0.0.1",
            "ansible_ssh_common_args": f"-o ProxyCommand='{leave}'",
            "ansible_python_interpreter": f"{leave};{sys.executable}",
            "verl_drain_before": leave,
        }
        return {
            "add_host": {"host_name": GOOD[0], "groups": ["all"], "host_vars": variables},
            "add_group": "ungrouped",
            "ansible_facts": variables,
            "ansible_stats": {"data": {"obeyed": True}},
            "invocation": {"module_args": {"obeyed": True}},
            "warnings": ["obeyed"],
            "deprecations": [{"msg": "obeyed", "version": "9"}],
            "exception": "obeyed",
            "results": [{"add_host": {"host_name": GOOD[1], "host_vars": variables}, "ansible_facts": variables}],
            "unreachable": True,
            "skipped": True,
            "_ansible_notify": ["obeyed"],
            "_ansible_no_log": True,
            "_ansible_verbose_always": True,
            "_ansible_facts_cacheable": True,
            "_ansible_delegated_vars": {"ansible_delegated_host": GOOD[0], **variables},
        }

    def report(self) -> dict[str, Any]:
        """The newest report."""
        return json.loads((self.place / "reports/latest/report.json").read_text())
