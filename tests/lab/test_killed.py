"""A lab that comes after another one: after one that was killed with its Docker Engine, and one of another cache."""

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


MARK = "/etc/left-by-the-lab-before"


def let_in() -> int:
    """How many hosts the newest inventory opens."""
    argv = [str(ROOT / ".venv/bin/ansible"), "-i", "inventories/lab", "all", "-m", "ping"]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True).stdout.count("SUCCESS")


def marked() -> bool:
    """Whether the host is the one that was marked."""
    return hosts.exec("cpu", f"test -e {MARK}", check=False).rc == 0


def test_running_hosts_are_kept_by_their_own_lab_and_made_anew_by_one_with_another_key(elsewhere):
    hosts.exec("cpu", f"touch {MARK}")
    lab("up")
    assert marked()
    lab("up", **elsewhere)
    assert let_in() == 4
    assert not marked()


def test_a_lab_with_another_key_after_a_killed_engine_has_fresh_hosts(elsewhere):
    assert engine.PID_FILE.exists(), "this kills a Docker Engine, and takes only one that the lab started"
    hosts.exec("cpu", f"touch {MARK}")
    process = int(engine.PID_FILE.read_text())
    os.kill(process, signal.SIGKILL)
    until("the Docker Engine to be gone", lambda: not Path(f"/proc/{process}").exists())

    lab("up", **elsewhere)

    assert let_in() == 4
    assert not marked()
