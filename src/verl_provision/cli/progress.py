"""What a run has come to, read from ansible-runner's events: pure state, and the lines that say what is new.

The board (board.py) draws the state on a terminal; without one the lines are printed as they come.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from verl_provision.report.view import duration

# The plays of site.yml, by their names, as columns.
PHASES = {
    "Look at the hosts": "look",
    "Make the plan": "plan",
    "Install or configure the container engine": "engine",
    "Install the container toolkit": "toolkit",
    "Make the changes take effect": "effect",
    "Pull the image": "image",
    "Check verl out": "verl",
    "Keep the Hugging Face token": "token",
    "Start the training container": "container",
    "Build the source environment": "environment",
    "Install verl-shell": "shell",
    "Start Ray on the nodes of a cluster": "ray",
    "Take back the hosts that an earlier run left drained": "drain",
    "Verify where verl will run": "verify",
}
QUIET = {
    "Check the wishes before any host is touched": "wishes",
    "Keep pull runs away": "hold",
    "Let pull runs go on": "report",
    "Write the report": "report",
    "Fail where a host isn't well": "report",
}
PROGRESS = re.compile(r"^(?P<host>[^\s:]+): (?P<what>.*): (?P<said>\S+ \S+ of .* downloaded.*|waits \d+ s before .*)$")
ANSI = re.compile(r"\x1b\[[\d;]*m")
RUNNING, DONE, FAILED, UNREACHABLE = "running", "done", "failed", "unreachable"


@dataclass
class Host:
    """One host: its phases so far, and what it does now."""

    name: str
    phases: dict[str, str] = field(default_factory=dict)  # label -> running, done, failed, unreachable
    task: str = ""
    said: str = ""  # a line of progress, such as of a pull
    since: float = 0.0
    failed: bool = False


class Run:
    """The state of a run; `take` reads one event and returns the lines that are new."""

    def __init__(self, started: float):
        self.started = started
        self.phase = ""
        self.play = ""
        self.task = ""
        self.announced = True
        self.hosts: dict[str, Host] = {}
        self.failures: list[str] = []

    def take(self, event: dict[str, Any], now: float) -> list[str]:
        """Read one event of ansible-runner."""
        kind, data = event.get("event", ""), event.get("event_data") or {}
        if kind == "playbook_on_play_start":
            return self._play(str(data.get("name") or data.get("play") or ""))
        if kind == "playbook_on_task_start":
            self.task = str(data.get("name") or data.get("task") or "")
            return []
        if kind == "verbose":
            return self._said(event.get("stdout") or "", now)
        name = data.get("host")
        if not name or not kind.startswith("runner_on_"):
            return []
        if kind == "runner_on_start":
            self._host(name, now)
            # Only now: a play without hosts is no news.
            new = [] if self.announced else [self._line(f"{self.phase}: {self.play}", now)]
            self.announced = True
            return new
        if kind in ("runner_on_failed", "runner_on_unreachable"):
            return self._bad(name, kind == "runner_on_unreachable", data, now)
        return []

    def finish(self) -> None:
        """The phase, or the run, has ended: nothing of it runs any more."""
        for host in self.hosts.values():
            if host.phases.get(self.phase) == RUNNING:
                host.phases[self.phase] = DONE
            host.task = host.said = ""

    def _play(self, name: str) -> list[str]:
        self.finish()
        self.phase = PHASES.get(name) or QUIET.get(name) or name
        self.announced = self.phase in QUIET.values()
        self.play = name
        return []

    def _host(self, name: str, now: float) -> Host:
        host = self.hosts.setdefault(name, Host(name))
        if self.phase and self.phase not in QUIET.values() and self.phase not in host.phases:
            host.phases[self.phase] = RUNNING
        if host.task != self.task:
            host.task, host.since, host.said = self.task, now, ""
        return host

    def _said(self, text: str, now: float) -> list[str]:
        lines = []
        for line in ANSI.sub("", text).splitlines():
            match = PROGRESS.match(line.strip())
            if match and match["host"] in self.hosts:
                self.hosts[match["host"]].said = match["said"]
                lines.append(self._line(f"{match['host']}: {match['said']}", now))
        return lines

    def _bad(self, name: str, unreachable: bool, data: dict[str, Any], now: float) -> list[str]:
        host = self._host(name, now)
        if data.get("ignore_errors") or self.phase == "report":  # the report's last play fails hosts that it listed
            if unreachable or self.phase == "report":
                host.failed = True
            else:
                return []
        host.failed = True
        if self.phase in host.phases:
            host.phases[self.phase] = UNREACHABLE if unreachable else FAILED
        if self.phase == "report":
            return []
        result = data.get("res") or {}
        message = " ".join(str(result.get("msg") or "no message").split())
        self.failures.append(f"{name}: {self.phase}: {message}")
        return [self._line(f"{name}: {'unreachable' if unreachable else 'FAILED'}: {self.task}: {message[:1000]}", now)]

    def _line(self, text: str, now: float) -> str:
        return f"[{duration(int(now - self.started)):>7}] {text}"
