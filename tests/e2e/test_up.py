"""`verl-provision up` as a process: plain lines in a pipe, and Ctrl-C."""

import os
import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.e2e
PLAYBOOK = """
- name: Look at the hosts
  hosts: all
  gather_facts: false
  tasks:
    - name: Wait
      ansible.builtin.command: sleep 60
      changed_when: false
"""
PROGRAM = """
import sys
from verl_provision.cli import play
play.PLAYBOOKS["up"] = (sys.argv.pop(1), "")
from verl_provision.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_ctrl_c_stops_and_says_how_to_resume(tmp_path):
    (tmp_path / "play.yml").write_text(PLAYBOOK)
    (tmp_path / "hosts.yml").write_text("all: {hosts: {here: {ansible_connection: local}}}\n")
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, tmp_path / "play.yml", "up", "-i", tmp_path / "hosts.yml"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert "look: Look at the hosts" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    said, problems = process.communicate(timeout=40)
    assert process.returncode == 1
    assert "stopped. What was done stays done" in problems
    assert f"up -i {tmp_path}/hosts.yml" in problems
    assert "Traceback" not in said + problems
