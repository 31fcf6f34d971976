"""Recorded hosts met by the plays of site.yml; the roles are stand-ins that write down what they do, sleep or wait.

What decides, deals out, drains, stops and reports is the real thing. Preflight is left out: nothing is fetched.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

from tests.e2e.recorded_machine import ROOT, RecordedMachine
from verl_provision.plan.steps import STEPS, VERIFICATION

GATHER = """
- hosts: all
  gather_facts: false
  vars: {__verl_mode: "{{ ansible_check_mode | ternary('check', 'apply') }}"}
  tasks:
    - import_tasks: ROOT/playbooks/tasks/load_inputs.yml
- hosts: "{{ hostvars | default({}) | verl_play_hosts('facts') }}"
  gather_facts: false
  tasks:
    - import_tasks: ROOT/playbooks/tasks/facts.yml
- hosts: all
  gather_facts: false
  tasks:
    - set_fact:
        __verl_fleet: "{{ hostvars | verl_plan(hostvars['localhost'].__verl_run) }}"
      run_once: true
      delegate_to: localhost
      delegate_facts: true
    - copy:
        content: "{{ hostvars['localhost'].__verl_fleet | to_json }}"
        dest: "{{ plans }}/{{ now().strftime('%s%f') }}.json"
        mode: "0644"
      run_once: true
      delegate_to: localhost
      check_mode: false
"""
ROLE = """
- command: 'true'  # a task more than the shell below, as roles have
- shell: |
    echo "$NAME begins" >> "$LOG"
    sleep {{ (pace | default({})).STEP | default(0) }}
    test -z "$AWAITED" || timeout 400 sh -c 'until grep -qx "$AWAITED" "$LOG"; do sleep 0.2; done'
    echo "$NAME ends" >> "$LOG"
  environment:
    NAME: "{{ inventory_hostname }} STEP"
    AWAITED: "{{ (awaits | default({})).STEP | default('') }}"
    LOG: "{{ log }}"
- fail: {msg: it went wrong}
  when: (inventory_hostname ~ ' STEP') in bad | default([])
"""
PASSED = """
- set_fact:
    verification_result:
      {passed: true, level: gpu, reached: gpu, checks: [], versions: {}, verified_at: "2026-11-30T10:00:00Z",
       by_stamp: false, key: "{{ verification_key }}"}
"""


class SiteFleet:
    """Hosts that are all alike but for `own`, their variables by name; one log of what was done where.

    `root` is the project, or a copy of it.
    """

    def __init__(self, place: Path, recorded: str, own: dict[str, dict], root: Path = ROOT, **shared):
        machine = RecordedMachine(place, recorded)
        self.root, self.place = root, place
        self.log, self.plans = place / "log", place / "plans"
        self.plans.mkdir()
        alike = yaml.safe_load(machine.inventory.read_text())["all"]["hosts"]["machine"]
        alike |= {"log": str(self.log), **shared}
        hosts = {name: {**alike, "verl_state_dir": f"{machine.home}/{name}", **more} for name, more in own.items()}
        self.inventory = machine.inventory
        self.inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
        site = yaml.safe_load((root / "playbooks/site.yml").read_text())[1:]  # after gather.yml
        for play in site:
            play["ansible.builtin.import_playbook"] = f"{root}/playbooks/{play['ansible.builtin.import_playbook']}"
        (place / "site.yml").write_text(GATHER.replace("ROOT", str(root)) + yaml.safe_dump(site, sort_keys=False))
        for step in (*STEPS, VERIFICATION):
            tasks = place / "roles" / step / "tasks"
            tasks.mkdir(parents=True)
            (tasks / "main.yml").write_text(ROLE.replace("STEP", step) + (PASSED if step == VERIFICATION else ""))

    def run(self, *arguments: str, playbooks: int = 1, **variables) -> subprocess.CompletedProcess:
        """One invocation, of the same playbook once or more often."""
        self.log.write_text("")
        variables |= {"run_report_directory": f"{self.place}/reports", "plans": str(self.plans)}
        ansible = str(Path(sys.executable).parent / "ansible-playbook")
        books = [str(self.place / "site.yml")] * playbooks
        argv = [ansible, "-i", str(self.inventory), *books, "-e", json.dumps(variables), *arguments]
        environment = {
            **os.environ,
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_ROLES_PATH": f"{self.place}/roles:{self.root}/roles",
        }
        return subprocess.run(
            argv,
            cwd=self.root,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
        )

    def done(self) -> list[tuple[str, str, str]]:
        """(host, step, begins or ends), in order."""
        return [tuple(line.split()) for line in self.log.read_text().splitlines()]

    def report(self) -> dict:
        """The newest report."""
        return json.loads((self.place / "reports/latest/report.json").read_text())

    def planned(self) -> list[dict]:
        """The fleet's plan of each playbook of the last invocations."""
        return [json.loads(path.read_text()) for path in sorted(self.plans.glob("*.json"))]
