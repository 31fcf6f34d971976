"""A canary, then batches, until too many failed."""

import pytest

from verl_provision.plan.rolling import Rolling, batches, disruptive, disturbed, parts

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
    ("canary", "batch", "disturbs", "serial"), [(1, 10, 3, [1, 10]), (0, 9, 3, [9]), (4, 9, 3, [3, 9])]
)
def test_the_sizes_of_a_play_s_batches(canary, batch, disturbs, serial):
    assert Rolling(canary, batch, 20).sizes(disturbs) == serial


def steps(**given):
    """Steps of a plan: name=(disruption, what it needs)."""
    return {name: {"disruption": disturbs, "needs": list(needs)} for name, (disturbs, *needs) in given.items()}


@pytest.mark.parametrize(
    ("planned", "before", "batch", "after"),
    [
        (steps(engine=("none",), image=("none", "engine")), ["engine", "image"], [], []),
        # Only the toolkit is missing: nobody waits for anybody's pull.
        (
            steps(toolkit=("none",), effect=("restart", "toolkit"), image=("none",), container=("none", "image")),
            ["toolkit"], ["effect"], ["image", "container"],
        ),
        # The new container starts from an image that is pulled before the host is drained, once for both.
        (
            steps(effect=("restart",), image=("none",), shell=("none",), container=("recreate", "effect", "image")),
            ["image"], ["effect", "container"], ["shell"],
        ),
        # What says where to pull from takes effect first.
        (
            steps(effect=("restart",), image=("none", "effect"), container=("recreate", "effect", "image")),
            [], ["effect", "image", "container"], [],
        ),
        (
            steps(effect=("restart",), checkout=("none",), image=("none", "checkout"), container=("recreate", "image")),
            ["checkout", "image"], ["effect", "container"], [],
        ),
    ],
)  # fmt: skip
def test_a_host_is_drained_once_and_for_as_little_as_possible(planned, before, batch, after):
    assert parts(planned) == {"before": before, "disturb": batch, "after": after}


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
