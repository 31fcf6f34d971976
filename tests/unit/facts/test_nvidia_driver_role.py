"""Role nvidia_driver on recorded hosts, in check mode: what is wrong, and the next command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .recorded import HOSTS, REPOSITORY

PLAY = """
- hosts: all
  gather_facts: false
  connection: local
  environment:
    PATH: "{{ recorded }}/{{ inventory_hostname }}/bin:{{ lookup('env', 'PATH') }}"
  tasks:
    - block:
        - ansible.builtin.include_role: {name: nvidia_driver}
          vars:
            nvidia_driver_probe_root: "{{ recorded }}/{{ inventory_hostname }}/tree"
            nvidia_driver_minimum: "{{ minimum }}"
        - ansible.builtin.set_fact: {said: ok}
      rescue:
        - ansible.builtin.set_fact: {said: "{{ ansible_failed_result.msg }}"}
    - ansible.builtin.copy:
        content: "{{ said }}"
        dest: "{{ messages }}/{{ inventory_hostname }}"
        mode: "0600"
      check_mode: false
"""
NAMES = ["h100x8_550", "mismatch", "no_gpu", "r470"]


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """Every host's message, from one run of the role over all of them."""
    work: Path = tmp_path_factory.mktemp("role")
    messages = work / "messages"
    messages.mkdir()
    (work / "play.yml").write_text(PLAY)
    extra = {
        "recorded": HOSTS,
        "messages": messages,
        "minimum": "525.60.13",
        "ansible_python_interpreter": sys.executable,
    }
    ansible = os.path.join(os.path.dirname(sys.executable), "ansible-playbook")
    words = [ansible, "--check", "-i", ",".join(NAMES) + ",", str(work / "play.yml")]
    for name, value in extra.items():
        words += ["-e", f"{name}={value}"]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return {path.name: path.read_text() for path in messages.iterdir()}


def test_a_working_driver_passes(said):
    assert said["h100x8_550"] == "ok"


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("mismatch", ["550.144.03", "550.163", "sudo reboot"]),
        ("no_gpu", ["no NVIDIA GPU", "lspci -d 10de:"]),
        ("r470", ["470.256.02", "525.60.13 or newer is needed", "Next:"]),
    ],
)
def test_a_refusal_says_what_is_wrong_and_what_to_do(said, name, parts):
    for part in [name, *parts]:
        assert part in said[name]
