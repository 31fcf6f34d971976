"""`verl-provision up`, `plan` and `verify`: board on a terminal, plain lines in a pipe, Ctrl-C, exit status."""

import os
import signal
import subprocess
import sys

import pexpect
import pytest

from verl_provision.cli import main

pytestmark = pytest.mark.e2e
PLAYBOOK = """
- name: Pull the image
  hosts: all
  gather_facts: false
  tasks:
    - name: Begin a step
      ansible.builtin.set_fact:
        __verl_at: container_image
    - name: Wait for the end of time
      ansible.builtin.command: sleep 60
      changed_when: false
"""
PROGRAM = """
import sys
from verl_provision.cli import play
command, book = sys.argv[1], sys.argv.pop(2)
play.PLAYBOOKS[command] = (book, "")
from verl_provision.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def argv(tmp_path):
    """A command line by the command's name; its playbook waits."""
    (tmp_path / "play.yml").write_text(PLAYBOOK)
    (tmp_path / "hosts.yml").write_text("all: {hosts: {here: {ansible_connection: local}}}\n")
    return lambda command: [
        *(sys.executable, "-c", PROGRAM, command, str(tmp_path / "play.yml")),
        *("-i", str(tmp_path / "hosts.yml")),
    ]


@pytest.fixture(params=["up", "plan", "verify"])
def command(request):
    return request.param


def test_in_a_pipe_lines_come_and_ctrl_c_stops_and_says_how_to_resume(argv, command):
    process = subprocess.Popen(
        argv(command),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    for line in process.stdout:
        if "Pull the image" in line:
            break
    process.send_signal(signal.SIGINT)
    said, problems = process.communicate(timeout=60)
    assert process.returncode == 1
    assert {"up": "What was done stays done", "plan": "Nothing was changed", "verify": "Nothing was applied"}[
        command
    ] in problems
    assert f"To resume: verl-provision {command} -i " in " ".join(problems.split())
    assert "Traceback" not in said + problems


def test_on_a_terminal_there_is_a_board_and_ctrl_c_leaves_it_in_order(argv):
    terminal = pexpect.spawn(*(lambda words: (words[0], words[1:]))(argv("up")), dimensions=(30, 110), timeout=60,
                             encoding="utf-8", env={**os.environ, "TERM": "xterm-256color"})  # fmt: skip
    terminal.expect(r"1 host.*image.*Ctrl-C stops")
    terminal.expect(r"here.*●.*Wait for the end of time")
    terminal.sendintr()
    terminal.expect("stopped. What was done stays done")
    terminal.expect("To resume: verl-provision up -i ")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 1


def test_drift_is_2_only_where_asked_for(tmp_path, capfd):
    requests = [f"--want=verl_prefix={tmp_path}/verl", f"--want=verl_state_dir={tmp_path}/state"]
    assert main(["plan", "--detailed-exitcode", *requests]) == 2
    assert "would do: source_environment" in capfd.readouterr().out
    assert main(["plan", "--detailed-exitcode", "--want", "verl_engne=vllm"]) == 1
    assert main(["plan", "--detailed-exitcode", "-i", "/nowhere"]) == 1
