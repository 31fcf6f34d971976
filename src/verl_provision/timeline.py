"""Where the time of this run went. The callback plugin `verl_timeline` tells; `verl_report` asks.

Both are in Ansible's own process or in a fork of it, so module state is enough.
"""

from dataclasses import dataclass, field
from typing import Any

from verl_provision.plan.steps import title

LEAST = 0.05  # seconds; what takes less is no news


@dataclass
class Span:
    """Something that took from `first` to `last`."""

    name: str
    first: float
    last: float


@dataclass
class Timeline:
    """Plays; and steps, each from the first host that began it to the last one that did something in it."""

    spans: list[Span] = field(default_factory=list)
    play: Span | None = None
    steps: dict[str, Span] = field(default_factory=dict)  # by their names
    at: dict[str, Span] = field(default_factory=dict)  # by host

    def begin(self, play: str, now: float) -> None:
        """A play begins, and with it the one before ends, and its steps."""
        self.end(now)
        self.at.clear()
        self.play = Span(play, now, now)
        self.spans.append(self.play)

    def step(self, host: str, step: str, now: float) -> None:
        """A host begins a step. A play that has steps is told by them."""
        self.seen(host, now)
        if self.play in self.spans:
            self.spans.remove(self.play)
        if step not in self.steps:
            self.steps[step] = Span(title(step), now, now)
            self.spans.append(self.steps[step])
        self.at[host] = self.steps[step]
        self.seen(host, now)

    def seen(self, host: str, now: float) -> None:
        """A host did something: its step takes until now at least."""
        if host in self.at:
            self.at[host].last = now

    def end(self, now: float) -> None:
        """The play goes on until now."""
        if self.play:
            self.play.last = now

    def parts(self, now: float) -> list[dict[str, Any]]:
        """{name, start, seconds} of each step, and of each play without steps, that took any time until now."""
        self.end(now)
        start = self.spans[0].first if self.spans else now
        return [
            {"name": span.name, "start": round(span.first - start, 1), "seconds": round(span.last - span.first, 1)}
            for span in self.spans
            if span.last - span.first >= LEAST
        ]


run = Timeline()
