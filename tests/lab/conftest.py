"""The lab is started for these tests and removed afterwards, unless it was up before.

VERL_LAB_HOSTS="gpu-580 spare" starts no other hosts, for tests that need no others.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab import hosts, topology

ROOT = Path(__file__).resolve().parents[2]
HOSTS = os.environ.get("VERL_LAB_HOSTS", "").split()


def lab(*command: str) -> subprocess.CompletedProcess:
    """Run one of the lab's commands."""
    return subprocess.run([sys.executable, "-m", "lab", *command], cwd=ROOT, capture_output=True, text=True)


@pytest.fixture(scope="session", autouse=True)
def lab_is_up():
    """Bring the lab up (cold: minutes; cached: under one); take it down again if it was down before."""
    was_up = lab("status", *HOSTS).returncode == 0
    up = lab("up", *HOSTS)
    assert up.returncode == 0, up.stdout[-4000:] + up.stderr[-4000:]
    yield
    if not was_up:
        down = lab("down")
        assert down.returncode == 0, down.stdout[-4000:] + down.stderr[-4000:]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Where a test failed, show what the hosts' SSH servers and failed units say."""
    report = (yield).get_result()
    if not report.failed:
        return
    command = "systemctl is-active ssh; ss -Hltn sport = :22; systemctl --failed --no-legend; journalctl -n 6 -u ssh"
    for name in topology.HOSTS:
        try:
            said = hosts.exec(name, command, check=False).out
        except Exception as error:  # the lab may be what failed
            said = repr(error)
        report.sections.append((f"SSH and failed units of {name}", said[-1500:]))
