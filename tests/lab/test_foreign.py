"""Somebody else's container outlives all that is done around it, and keeps its GPUs."""

import pytest

from lab import hosts
from tests.lab import foreign
from tests.lab.fleet import play, report

pytestmark = pytest.mark.lab

HOST = "gpu-580"


@pytest.fixture(scope="module")
def theirs():
    """A fresh host where somebody's container runs already; what it was when it began."""
    hosts.reset(HOST)
    yield foreign.start(HOST)
    hosts.reset(HOST)


def test_it_outlives_the_installation_of_the_toolkit(theirs):
    assert theirs[1] == 8
    run = play("site.yml", "--limit", HOST)
    assert run.returncode == 0, run.stdout
    assert report()["hosts"][HOST]["state"] == "verified"
    assert hosts.exec(HOST, "docker exec verl nvidia-smi -L").out.count("H100") == 8
    assert foreign.identity(HOST) == theirs


def test_it_outlives_a_second_run_that_changes_nothing(theirs):
    run = play("site.yml", "--limit", HOST)
    assert run.returncode == 0, run.stdout
    assert "changed=0" in run.stdout
    assert foreign.identity(HOST) == theirs
