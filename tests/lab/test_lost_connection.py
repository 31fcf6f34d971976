"""A host whose connection breaks in the middle of a step, and which answers again at once."""

import json

import pytest

from tests.lab.fleet import ROOT, play

pytestmark = pytest.mark.lab

PLAY = f"""
- name: Lose the connection in a step
  hosts: cpu
  gather_facts: false
  ignore_unreachable: true
  vars:
    __verl_step: verl_checkout
  tasks:
    - name: Lose the connection in a step
      block:
        - name: End the session that this runs in
          ansible.builtin.command: pkill -KILL -u alice sshd
          register: __verl_checkout_result
          changed_when: true
        - name: Go on with what it said
          ansible.builtin.debug:
            msg: "{{{{ __verl_checkout_result.rc }}}}"
      rescue:
        - name: Record the failure
          ansible.builtin.include_tasks: {ROOT}/playbooks/tasks/failed.yml
    - name: Keep it
      ansible.builtin.copy:
        content: "{{{{ __verl_failure | to_json }}}}"
        dest: "{{{{ kept }}}}"
        mode: "0644"
      delegate_to: localhost
"""


def test_is_told_so_and_not_what_the_next_task_missed(tmp_path):
    (tmp_path / "play.yml").write_text(PLAY)
    run = play(str(tmp_path / "play.yml"), "-e", f"kept={tmp_path / 'failure.json'}")
    failure = json.loads((tmp_path / "failure.json").read_text())
    assert failure["unreachable"] is False, run.stdout
    assert failure["message"].startswith("the connection was lost in this step and is there again: ")
    assert failure["message"].endswith("Run again: what was done stays done.")
    assert "rc" not in failure["message"]
