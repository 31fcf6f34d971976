"""The newest ansible-core passes the fast tests and the local end-to-end too."""

import json
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VENV = ".venv-newest"
pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def newest():
    """The make variables that choose the newest release; it needs a newer Python than the floor's."""
    found = subprocess.run(["scripts/find-python", "3.12"], cwd=ROOT, capture_output=True, text=True)
    if found.returncode:
        pytest.skip(f"{found.stderr.strip()}; the newest ansible-core needs one")
    return [f"VENV={VENV}", "CONSTRAINTS=requirements/newest.txt", f"PYTHON={found.stdout.strip()}"]


def test_unit_tests_pass(newest):
    run = subprocess.run(["make", "unit", *newest], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]


def test_local_end_to_end(newest, tmp_path):
    kept = (
        f"-e verl_prefix={tmp_path}/verl -e verl_state_dir={tmp_path}/state -e run_report_directory={tmp_path}/reports"
    )
    place = f"ARGS={kept}"
    for changed in (True, False):
        run = subprocess.run(["make", "up", *newest, place], cwd=ROOT, capture_output=True, text=True)
        assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
        assert ("changed=0" not in run.stdout) is changed
    report = json.loads((tmp_path / "reports/latest/report.json").read_text())
    assert report["run"]["ansible"] >= "2.20"
    assert report["hosts"]["localhost"]["state"] == "verified"
