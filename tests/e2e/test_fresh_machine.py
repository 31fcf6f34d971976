"""The README's main command, typed by a newcomer on a fresh machine with only the named prerequisites."""

import json
import shutil

import pytest

from lab.machine import need
from tests.e2e.fresh_machine import FreshMachine

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """A fresh machine; it goes away afterwards."""
    need("mmdebstrap", "mmdebstrap")
    fresh = FreshMachine(tmp_path_factory.mktemp("machine") / "root")
    fresh.build()
    yield fresh
    shutil.rmtree(fresh.root, ignore_errors=True)


def report(machine):
    """The newest report.json of the newcomer's clone."""
    return json.loads((machine.home / "verl-provision/reports/latest/report.json").read_text())


def test_make_plan_shows_the_plan_and_changes_nothing(machine):
    before = machine.files()
    run = machine.run("make plan")
    assert run.returncode == 0, run.stdout
    assert report(machine)["hosts"]["localhost"]["state"] == "planned"
    assert "no GPU" in run.stdout and "source_environment" in run.stdout
    assert machine.files() == before
    assert not (machine.home / "verl").exists()


def test_make_up_ends_with_a_verified_verl(machine):
    before = machine.files()
    run = machine.run("make up")
    assert run.returncode == 0, run.stdout
    host = report(machine)["hosts"]["localhost"]
    assert host["state"] == "verified"
    version = next(check for check in host["checks"] if check["id"] == "import.verl")
    assert version["ok"] is True
    assert "0.9.1" in version["found"]
    assert version["found"] in run.stdout, "the version is printed"
    assert machine.files() == before, "nothing outside the newcomer's own directories changed"


def test_again_changes_nothing_and_verifies_by_stamp(machine):
    first = report(machine)["hosts"]["localhost"]["verified_at"]
    run = machine.run("make up")
    assert run.returncode == 0, run.stdout
    assert "changed=0" in run.stdout
    again = report(machine)["hosts"]["localhost"]
    assert (again["state"], again["verified_at"], again["checks"]) == ("verified", first, [])


def test_the_command_line_does_the_same_and_has_the_report(machine):
    run = machine.run(".venv/bin/verl-provision up")
    assert run.returncode == 0, run.stdout
    assert "facts: Gather the facts" in run.stdout
    assert "localhost  verified  0.9.1  source" in run.stdout
    assert report(machine)["run"]["timeline"], "where the time went"
    again = machine.run(".venv/bin/verl-provision report")
    assert again.returncode == 0, again.stdout
    assert "localhost  verified  0.9.1  source" in again.stdout


def test_a_missing_prerequisite_is_named_with_its_apt_line(machine):
    run = machine.run("scripts/prerequisites python3.99")
    assert run.returncode != 0
    assert "apt-get install -y python3 python3-venv" in run.stdout


@pytest.mark.slow
def test_the_fast_tests_pass_there_too(machine):
    run = machine.run("make unit")
    assert run.returncode == 0, run.stdout[-8000:]
