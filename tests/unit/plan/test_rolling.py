"""A canary, then batches, until too many failed."""

import pytest

from verl_provision.plan.rolling import Rolling, batches, disruptive, disturbed

HOSTS = [f"gpu-{number}" for number in range(1, 8)]


@pytest.mark.parametrize(
    ("disturbs", "expected"),
    [("none", False), ("reload", False), ("restart", True), ("live_restore_restart", True), ("recreate", True),
     ("toolkit_upgrade", True), ("ray_restart", True), ("reboot", True)],
)  # fmt: skip
def test_what_disturbs_a_host(disturbs, expected):
    assert disruptive({"disruption": disturbs}) is expected


def test_the_hosts_that_a_step_disturbs():
    plans = {
        "a": {"ok": True, "steps": {"disruption": {"disruption": "restart"}, "verl_checkout": {"disruption": "none"}}},
        "b": {"ok": True, "steps": {"disruption": {"disruption": "reload"}}},
        "c": {"ok": True, "steps": {"disruption": {"disruption": "restart"}}},
        "d": {"ok": False, "steps": {"disruption": {"disruption": "restart"}}},
    }
    assert disturbed(plans) == {"disruption": ["a", "c"]}


@pytest.mark.parametrize(
    ("canary", "batch", "turns"),
    [
        (1, 3, [["gpu-1"], ["gpu-2", "gpu-3", "gpu-4"], ["gpu-5", "gpu-6", "gpu-7"]]),
        (0, 4, [HOSTS[:4], HOSTS[4:]]),
        (2, 100, [HOSTS[:2], HOSTS[2:]]),
        (9, 1, [HOSTS]),
    ],
)
def test_every_host_has_its_turn_once_and_waits_for_those_before(canary, batch, turns):
    rolling = Rolling(canary, batch, 20)
    assert batches(HOSTS, rolling) == turns
    for number, turn in enumerate(turns):
        before = [name for earlier in turns[:number] for name in earlier]
        assert {tuple(rolling.before(HOSTS, name)) for name in turn} == {tuple(before)}


@pytest.mark.parametrize(
    ("canary", "batch", "harmless", "disturbs", "serial"),
    [(1, 10, 5, 0, []), (1, 10, 5, 3, [5, 1, 10]), (1, 9, 0, 3, [1, 9]), (0, 9, 0, 3, [9]), (4, 9, 2, 3, [2, 3, 9])],
)  # fmt: skip
def test_the_sizes_of_a_play_s_batches(canary, batch, harmless, disturbs, serial):
    assert Rolling(canary, batch, 20).sizes(harmless, disturbs) == serial


@pytest.mark.parametrize(
    ("allowed", "host", "lost", "goes_on"),
    [
        (20, "gpu-1", [], True),
        (20, "gpu-2", [], True),
        (20, "gpu-2", ["gpu-1"], False),  # the canary
        (99, "gpu-2", ["gpu-1"], False),
        (100, "gpu-2", ["gpu-1"], True),
        (0, "gpu-5", ["gpu-3"], False),
        (25, "gpu-5", ["gpu-3"], True),  # as many as allowed, not more
        (24, "gpu-5", ["gpu-3"], False),
        (0, "gpu-4", ["gpu-3"], True),  # in one batch with it
    ],
)
def test_where_it_stops(allowed, host, lost, goes_on):
    assert bool(Rolling(1, 3, allowed).stopped(HOSTS, host, lost, [])) is not goes_on


def test_a_stop_stays_one_and_says_why():
    rolling = Rolling(1, 1, 20)
    why = rolling.stopped(HOSTS, "gpu-7", ["gpu-2"], HOSTS[2:6])
    assert why.startswith("not begun: 1 of the 2 hosts before this one failed (gpu-2)")
    assert why.endswith("more than verl_rolling_max_fail_percentage (20) allows")
