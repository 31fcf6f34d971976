"""The lab is started for these tests and removed afterwards, unless it was up before.

VERL_LAB_HOSTS="gpu-580 spare" starts no other hosts, for tests that need no others.
"""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import docker
import pytest

from lab import engine, hosts, topology
from lab.machine import LabError

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
    """Beside a failure, show the condition of the hosts that are up: the cause may lie there, and they go."""
    report = (yield).get_result()
    if report.failed and engine.running():
        for name in topology.HOSTS:
            with contextlib.suppress(LabError, docker.errors.DockerException):  # not up, or just going down
                report.sections.append((f"condition of {name}", hosts.condition(name)))
