"""The user's drain command: what it is told, what it says, and that nothing of it outlives its time."""

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PLUGIN = ROOT / "action_plugins/verl_drain.py"
ABOUT = {"VERL_HOST": "gpu 1; exit 7", "VERL_STEP": "disruption"}


@pytest.fixture(scope="module")
def plugin():
    spec = importlib.util.spec_from_file_location("verl_drain", PLUGIN)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_is_told_of_the_host_by_its_environment(plugin):
    assert plugin.told('echo "$VERL_HOST, $VERL_STEP"', 10, ABOUT) == ("", "gpu 1; exit 7, disruption")


def test_a_failure_says_how_it_ended_and_the_end_of_what_it_said(plugin):
    wrong, said = plugin.told("seq 1000; echo no such node >&2; exit 3", 10, ABOUT)
    assert wrong == "exit status 3"
    assert said.endswith("1000\nno such node")
    assert len(said) <= plugin.SHOWN


def test_one_that_takes_too_long_ends_with_all_that_it_started(plugin, tmp_path):
    wrong, said = plugin.told(f"echo begun; sh -c 'sleep 60 & echo $! > {tmp_path}/pid; wait'", 1, ABOUT)
    assert "no end within 1 s (verl_drain_timeout)" in wrong
    assert said == "begun"
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not running(pid)


def test_check_mode_runs_nothing(tmp_path):
    given = {"variable": "verl_drain_before", "command": f"touch {tmp_path}/drained", "timeout": 10, "about": {}}
    argv = [str(Path(sys.executable).parent / "ansible"), "localhost", "-m", "verl_drain", "-a", json.dumps(given)]
    for more, there in (["--check"], False), ([], True):
        done = subprocess.run([*argv, *more], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert (tmp_path / "drained").exists() is there


def running(pid):
    """Whether a process is there and no zombie that nobody has collected."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
