"""The README's command for the tests, on a fresh machine with only the named prerequisites and an empty cache."""

import time

import pytest

from tests.e2e.engine_machine import EngineMachine

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture
def machine(tmp_path):
    """A fresh machine; it goes away afterwards."""
    fresh = EngineMachine(tmp_path)
    fresh.start()
    yield fresh
    fresh.remove()


def test_make_test_passes_there(machine):
    began = time.monotonic()
    run = machine.run("make test")
    print(f"\nmake test, cold: {(time.monotonic() - began) / 60:.1f} minutes")
    assert run.rc == 0, run.out[-12000:]
