"""Recorded idle hosts whose Docker has to be restarted, met by the real step's play; the role is a stand-in.

The stand-in notes what it was asked and fails on the hosts that the test names, so that no Docker of this machine is
touched; what decides, drains, stops and reports is the real thing.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

from tests.e2e.recorded_machine import ROOT, RecordedMachine

HOST = "toolkit_after_dockerd"
PLAY = """
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
    - debug:
        msg: "{{ hostvars['localhost'].__verl_fleet | verl_plan_text(hostvars['localhost'].__verl_run) }}"
      run_once: true
- import_playbook: ROOT/playbooks/disturb.yml
  when: not (quiet | default(false))
- hosts: "{{ hostvars | default({}) | verl_play_hosts('after') }}"
  gather_facts: false
  tasks:
    - include_tasks: ROOT/playbooks/tasks/undrain.yml
      vars: {__verl_step: drain}
      when:
        - inventory_hostname in hostvars['localhost'].__verl_fleet.drained
        - __verl_drained is not defined and not ansible_check_mode
- import_playbook: ROOT/playbooks/report.yml
"""
ROLE = """
- shell: echo "$VERL_NAME" >> "{{ log }}"
  environment: {VERL_NAME: "{{ inventory_hostname }} {{ disruption_action }}"}
  changed_when: true
- fail: {msg: the restart went wrong}
  when: inventory_hostname in bad | default([])
"""


class RollingFleet:
    """Some hosts that are all alike, and one log of what was done to which."""

    def __init__(self, place: Path, count: int, **requests):
        machine = RecordedMachine(place, HOST)
        self.place, self.log = place, place / "log"
        self.names = [f"gpu-{number}" for number in range(1, count + 1)]
        alike = yaml.safe_load(machine.inventory.read_text())["all"]["hosts"]["machine"]
        alike |= {"log": str(self.log), "verl_backend": "docker", **requests}
        own = {name: {**alike, "verl_state_dir": f"{machine.home}/{name}"} for name in self.names}
        machine.inventory.write_text(yaml.safe_dump({"all": {"hosts": own}}))
        self.home, self.inventory = machine.home, machine.inventory
        (place / "play.yml").write_text(PLAY.replace("ROOT", str(ROOT)))
        role = place / "roles/disruption/tasks"
        role.mkdir(parents=True)
        (role / "main.yml").write_text(ROLE)

    def run(self, *arguments: str, **variables) -> str:
        """One run; its output."""
        self.log.write_text("")
        variables |= {"run_report_directory": f"{self.place}/reports"}
        ansible = str(Path(sys.executable).parent / "ansible-playbook")
        argv = [
            ansible,
            "-i",
            str(self.inventory),
            str(self.place / "play.yml"),
            "-e",
            json.dumps(variables),
            *arguments,
        ]
        environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_ROLES_PATH": f"{self.place}/roles:{ROOT}/roles"}
        done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
        return done.stdout + done.stderr

    def done(self) -> list[str]:
        """What was done, in order: the role's and the drain commands' lines."""
        return self.log.read_text().splitlines()

    def reports(self) -> dict:
        """The newest report's hosts."""
        return json.loads((self.place / "reports/latest/report.json").read_text())["hosts"]
