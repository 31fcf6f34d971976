"""The lab is started for these tests and removed afterwards; VERL_LAB_KEEP=1 leaves it up for the next run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session", autouse=True)
def lab_is_up():
    """Bring the lab up (cold: minutes; cached: under one) and take it down again."""
    up = subprocess.run([sys.executable, "-m", "lab", "up"], cwd=ROOT, capture_output=True, text=True)
    assert up.returncode == 0, up.stdout[-4000:] + up.stderr[-4000:]
    yield
    if not os.environ.get("VERL_LAB_KEEP"):
        subprocess.run([sys.executable, "-m", "lab", "down"], cwd=ROOT, check=True, capture_output=True)
