"""Where the time went, by plays."""

import pytest

from verl_provision import timeline


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """A process in which no play has begun."""
    monkeypatch.setattr(timeline, "_plays", [])


def test_a_play_takes_until_the_next_begins_and_one_without_hosts_is_no_news():
    for name, at in (("Look", 100.0), ("Plan", 104.0), ("Pull", 104.5), ("Nobody's", 140.51), ("Report", 140.52)):
        timeline.begin(name, at)
    assert timeline.parts(141.0) == [
        {"name": "Look", "start": 0.0, "seconds": 4.0},
        {"name": "Plan", "start": 4.0, "seconds": 0.5},
        {"name": "Pull", "start": 4.5, "seconds": 36.0},
        {"name": "Report", "start": 40.5, "seconds": 0.5},
    ]


def test_nothing_is_known_where_no_play_began():
    assert timeline.parts(1.0) == []
