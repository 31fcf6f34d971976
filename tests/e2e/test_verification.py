"""The verification role through ansible-playbook, on packages that only look like the real ones.

The real ones are verified in test_local.py.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.verification.fake_packages import put_all

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.e2e
PLAY = """
- name: Verify
  hosts: all
  connection: local
  gather_facts: false
  tasks:
    - name: Apply the role
      ansible.builtin.include_role:
        name: verification
"""


@pytest.fixture
def verify(tmp_path):
    python = tmp_path / "verl/env/bin/python"
    python.parent.mkdir(parents=True)
    site = put_all(tmp_path / "site")
    python.write_text(f'#!/bin/sh\ntouch {tmp_path}/ran\nexport PYTHONPATH={site}\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    playbook = tmp_path / "play.yml"
    playbook.write_text(PLAY)

    def run(*arguments, **inputs):
        variables = {
            "ansible_python_interpreter": sys.executable,
            "verification_prefix": str(tmp_path / "verl"),
            "verification_state_dir": str(tmp_path / "state"),
            "verification_expected": {"profile": "cpu", "verl_version": "0.9.1"},
            **{f"verification_{name}": value for name, value in inputs.items()},
        }
        (tmp_path / "ran").unlink(missing_ok=True)
        done = subprocess.run(
            [
                Path(sys.executable).parent / "ansible-playbook",
                *("-i", "one,", playbook, "-e", json.dumps(variables)),
                *arguments,
            ],
            cwd=ROOT,
            env={**os.environ, "ANSIBLE_LOCAL_TEMP": str(tmp_path / "tmp")},
            capture_output=True,
            text=True,
        )
        done.ran = (tmp_path / "ran").exists()
        done.changed = int(re.search(r"changed=(\d+)", done.stdout).group(1))
        done.text = " ".join(done.stdout.split())
        return done

    run.stamp = tmp_path / "state/verification.json"
    return run


def test_a_pass_is_remembered_and_spoken_for_by_its_stamp(verify):
    checked = verify("--check")
    assert (checked.returncode, checked.ran) == (0, False), checked.stdout
    assert "would run the checks of level import" in checked.text
    first = verify()
    assert (first.returncode, first.changed, first.ran) == (0, 1, True), first.stdout
    assert "verl.__version__ is 0.9.1" in first.text
    assert "skipped import.engine: no rollout engine is planned here" in first.text
    second = verify()
    assert (second.returncode, second.changed, second.ran) == (0, 0, False), second.stdout
    passed_at = json.loads(verify.stamp.read_text())["passed_at"]
    assert f"verified at {passed_at} (level import)" in second.text
    again = verify("-e", "verification_again=true")  # a string, as the command line gives it
    assert (again.returncode, again.changed, again.ran) == (0, 1, True), again.stdout


def test_a_failure_lists_each_check_with_its_fix_and_ends_an_earlier_pass(verify):
    assert verify(key="k").returncode == 0
    failed = verify("-e", "verification_again=true", key="k", expected={"profile": "cpu", "verl_version": "0.8.0"})
    assert failed.returncode == 2
    assert "1 of 12 checks failed (level import): import.verl found: verl.__version__ is 0.9.1" in failed.text
    assert "needed: verl 0.8.0 fix: rm " in failed.text
    assert not verify.stamp.exists()


def test_an_unknown_level_is_refused_before_anything_runs(verify):
    refused = verify(level="complete")
    assert refused.returncode == 2
    assert "value of verification_level must be one of: import, devices, gpu, engine, train, collective" in refused.text
    assert refused.ran is False
