"""Where the time went: by steps, from the first host that began one to the last, and by plays without steps."""

import pytest

from verl_provision.timeline import Timeline


@pytest.fixture
def run():
    return Timeline()


def test_a_play_takes_until_the_next_begins_and_one_without_hosts_is_no_news(run):
    for name, at in (("Facts", 100.0), ("Plan", 104.0), ("Nobody's", 104.5), ("Report", 104.51)):
        run.begin(name, at)
    assert run.parts(105.0) == [
        {"name": "Facts", "start": 0.0, "seconds": 4.0},
        {"name": "Plan", "start": 4.0, "seconds": 0.5},
        {"name": "Report", "start": 4.5, "seconds": 0.5},
    ]


def test_hosts_have_their_own_pace_and_a_play_with_steps_is_told_by_them(run):
    run.begin("Facts", 100.0)
    run.begin("Apply", 110.0)
    run.step("slow", "container_image", 110.0)
    run.step("fast", "container_image", 110.0)
    run.step("fast", "verl_shell", 120.0)
    run.seen("slow", 150.0)
    run.seen("fast", 121.0)
    run.begin("Report", 152.0)
    assert run.parts(153.0) == [
        {"name": "Facts", "start": 0.0, "seconds": 10.0},
        {"name": "Pull the image", "start": 10.0, "seconds": 40.0},
        {"name": "Install verl-shell", "start": 20.0, "seconds": 1.0},
        {"name": "Report", "start": 52.0, "seconds": 1.0},
    ]


def test_nothing_is_known_where_no_play_began(run):
    assert run.parts(1.0) == []
