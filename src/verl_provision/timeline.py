"""When each play of this run began. The callback plugin `verl_timeline` tells; `verl_report` asks.

Both are in Ansible's own process or in a fork of it, so a list is enough.
"""

from itertools import pairwise
from typing import Any

LEAST = 0.05  # seconds; a play without hosts takes less, and is no news

_plays: list[tuple[str, float]] = []


def begin(name: str, now: float) -> None:
    """A play begins, and with it the one before ends."""
    _plays.append((name, now))


def parts(now: float) -> list[dict[str, Any]]:
    """Where the time went until now: {name, start, seconds} of each play that took any."""
    return [
        {"name": name, "start": round(start - _plays[0][1], 1), "seconds": round(end - start, 1)}
        for (name, start), (_, end) in pairwise([*_plays, ("", now)])
        if end - start >= LEAST
    ]
