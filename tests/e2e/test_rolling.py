"""The user's drain and the rolling, by the plays that do it: who is disturbed when, and what the others are told."""

import pytest

from tests.e2e.rolling_fleet import RollingFleet

pytestmark = pytest.mark.e2e

BEFORE = 'echo "before $VERL_HOST $VERL_STEP $VERL_DISRUPTION" >> {{ log }}'
AFTER = 'echo "after $VERL_HOST $VERL_RESULT" >> {{ log }}'


def marks(fleet):
    return sorted(path.parent.name for path in fleet.home.glob("*/drained.json"))


def test_a_canary_then_batches_each_host_drained_and_taken_back(tmp_path):
    fleet = RollingFleet(tmp_path, 4, verl_rolling_batch=2, verl_drain_before=BEFORE, verl_drain_after=AFTER)
    said = fleet.run()
    assert "drain: verl_drain_before and verl_drain_after around disruption" in said
    assert "rolling: disruption: gpu-1 first; then 3 in batches of at most 2" in said
    done = fleet.done()
    assert done[:3] == ["before gpu-1 disruption restart", "gpu-1 restart", "after gpu-1 done"]
    assert done[-3:] == ["before gpu-4 disruption restart", "gpu-4 restart", "after gpu-4 done"]
    assert set(done[3:5]) == {f"before gpu-{number} disruption restart" for number in (2, 3)}
    assert set(done[5:7]) == {"gpu-2 restart", "gpu-3 restart"}
    assert set(done[7:9]) == {"after gpu-2 done", "after gpu-3 done"}
    assert marks(fleet) == []
    fleet.run("--check")
    assert fleet.done() == []


def test_too_many_failures_leave_the_others_as_they_are(tmp_path):
    fleet = RollingFleet(tmp_path, 5, verl_rolling_batch=2, verl_drain_before=BEFORE, verl_drain_after=AFTER)
    fleet.run(bad=["gpu-3"])
    assert "after gpu-3 failed" in fleet.done()
    assert not [line for line in fleet.done() if "gpu-4" in line or "gpu-5" in line]
    reports = fleet.reports()
    assert reports["gpu-3"]["reason"] == "disruption: the restart went wrong"
    for name in ("gpu-4", "gpu-5"):
        assert reports[name]["state"] == "deferred"
        assert "1 of the 3 hosts before this one failed (gpu-3)" in reports[name]["reason"]
        assert "run again" in reports[name]["reason"]
    fleet.run(bad=["gpu-3"], verl_rolling_max_fail_percentage="40")
    assert len([line for line in fleet.done() if line.endswith(" restart") and not line.startswith("before")]) == 5


def test_a_host_that_can_t_be_drained_is_left_as_it_is(tmp_path):
    before = 'echo "no such node: $VERL_HOST" >&2; test "$VERL_HOST" != gpu-2'
    fleet = RollingFleet(tmp_path, 2, verl_drain_before=before, verl_drain_after=AFTER)
    fleet.run()
    assert fleet.done() == ["gpu-1 restart", "after gpu-1 done"]
    report = fleet.reports()["gpu-2"]
    assert report["state"] == "deferred"
    for word in ("verl_drain_before", "exit status 1", "no such node: gpu-2", "VERL_HOST=gpu-2", "run again"):
        assert word in report["reason"]
    assert marks(fleet) == []


def test_a_host_that_stayed_drained_is_taken_back_by_the_next_run(tmp_path):
    fleet = RollingFleet(tmp_path, 1, verl_drain_before="sleep 60", verl_drain_after=AFTER, verl_drain_timeout=1)
    fleet.run()
    assert "no end within 1 s (verl_drain_timeout)" in fleet.reports()["gpu-1"]["reason"]
    fleet.run(verl_drain_before="true", verl_drain_after="false")
    report = fleet.reports()["gpu-1"]
    assert report["state"] == "failed"
    assert "The host is still drained: verl_drain_after on the controller: exit status 1" in report["reason"]
    assert marks(fleet) == ["gpu-1"]
    assert "an earlier run left the host drained" in fleet.run("--check")
    assert marks(fleet) == ["gpu-1"]
    # Nothing else to do there: as if the cut-off run's restart had been its last step.
    fleet.run(verl_drain_before="true", quiet=True)
    assert fleet.done() == ["after gpu-1 done"]
    assert marks(fleet) == []
