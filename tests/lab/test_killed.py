"""A lab that was killed, with its Docker Engine, in the middle of its work, and one that comes after it."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab import engine, hosts, settings
from lab.waiting import until
from tests.lab.fleet import ROOT

pytestmark = [pytest.mark.lab, pytest.mark.slow]


def lab(command: str, **environment: str) -> None:
    """Run one of the lab's commands."""
    argv, surroundings = [sys.executable, "-m", "lab", command], {**os.environ, **environment}
    done = subprocess.run(argv, cwd=ROOT, env=surroundings, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def elsewhere():
    """A cache with all that is built but the SSH key; the usual lab is put back afterwards."""
    cache = settings.CACHE.parent / f"{settings.CACHE.name}-elsewhere"  # beside it: links don't cross file systems
    shutil.rmtree(cache, ignore_errors=True)
    without_key = shutil.ignore_patterns("ssh-key")
    shutil.copytree(settings.CACHE / "steps", cache / "steps", copy_function=os.link, symlinks=True, ignore=without_key)
    environment = {"VERL_LAB_CACHE": str(cache)}
    yield environment
    lab("down", **environment)
    shutil.rmtree(cache)
    lab("up")


def test_a_lab_with_another_key_after_a_killed_engine_has_fresh_hosts(elsewhere):
    assert engine.PID_FILE.exists(), "this kills a Docker Engine, and takes only one that the lab started"
    hosts.exec("cpu", "touch /etc/left-by-what-was-killed")
    process = int(engine.PID_FILE.read_text())
    os.kill(process, signal.SIGKILL)
    until("the Docker Engine to be gone", lambda: not Path(f"/proc/{process}").exists())

    lab("up", **elsewhere)

    ansible = [str(ROOT / ".venv/bin/ansible"), "-i", "inventories/lab", "all", "-m", "ping"]
    asked = subprocess.run(ansible, cwd=ROOT, capture_output=True, text=True)
    assert asked.returncode == 0, asked.stdout
    assert asked.stdout.count("SUCCESS") == 4
    assert hosts.exec("cpu", "ls /etc/left-by-what-was-killed", check=False).rc != 0
