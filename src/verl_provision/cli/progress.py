"""What a run has come to, read from ansible-runner's events: pure state, and the lines that say what is new.

The board (board.py) draws the state on a terminal; without one the lines are printed as they come.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from verl_provision.boundary.text import one_line
from verl_provision.plan.steps import AT, labels, title
from verl_provision.report.view import duration

# What a host goes through: the facts, by the module that gathers them, then the steps of its plan.
FACTS = "verl_host_facts"
PHASES = {FACTS: "facts", **labels()}
REPORT = "verl_report_files"  # the module that writes the report: what fails afterwards is in it
PROGRESS = re.compile(r"^(?P<host>[^\s:]+): (?P<what>.*): (?P<said>\S+ \S+ of .* downloaded.*|waits \d+ s before .*)$")
ANSI = re.compile(r"\x1b\[[\d;]*m")
RUNNING, DONE, FAILED, UNREACHABLE = "running", "done", "failed", "unreachable"


@dataclass
class Host:
    """One host: its phases so far, and what it does now."""

    name: str
    phases: dict[str, str] = field(default_factory=dict)  # label -> running, done, failed, unreachable
    phase: str = ""  # the one it is in, or was in last
    task: str = ""
    said: str = ""  # a line of progress, such as of a pull
    since: float = 0.0
    failed: bool = False

    def end(self, state: str) -> None:
        """The phase that it is in has ended so."""
        if self.phases.get(self.phase) == RUNNING:
            self.phases[self.phase] = state


class Run:
    """The state of a run; `take` reads one event and returns the lines that are new."""

    def __init__(self, started: float):
        self.started = started
        self.phase = ""  # the newest one that a host began
        self.told: set[str] = set()  # phases that have had their line
        self.reporting = False
        self.hosts: dict[str, Host] = {}
        self.failures: list[str] = []

    def take(self, event: dict[str, Any], now: float) -> list[str]:
        """Read one event of ansible-runner."""
        kind, data = event.get("event", ""), event.get("event_data") or {}
        if kind == "playbook_on_play_start":
            self.finish()
            return []
        if kind == "verbose":
            return self._said(event.get("stdout") or "", now)
        name = data.get("host")
        if not name or not kind.startswith("runner_on_"):
            return []
        host = self.hosts.setdefault(name, Host(name))
        task, action = str(data.get("task") or ""), str(data.get("task_action") or "").rpartition(".")[2]
        if kind == "runner_on_start":
            self.reporting = self.reporting or action == REPORT
            if host.task != task:
                host.task, host.since, host.said = task, now, ""
            return self._enter(host, FACTS, now) if action == FACTS and not host.phases else []
        if kind in ("runner_on_failed", "runner_on_unreachable"):
            return self._bad(host, kind == "runner_on_unreachable", data, now)
        host.task = ""
        if kind != "runner_on_ok" or action != "set_fact":  # only the play itself says where a host is
            return []
        step = ((data.get("res") or {}).get("ansible_facts") or {}).get(AT)
        return self._enter(host, str(step), now) if step else []

    def finish(self) -> None:
        """A play, or the run, has ended: nothing of it runs any more."""
        for host in self.hosts.values():
            host.end(DONE)
            host.task = host.said = ""

    def _enter(self, host: Host, phase: str, now: float) -> list[str]:
        host.end(DONE)
        host.phase = self.phase = PHASES.get(phase, phase)
        host.phases[host.phase] = RUNNING
        if self.phase in self.told:
            return []
        self.told.add(self.phase)
        what = "Gather the facts" if phase == FACTS else title(phase)
        return [self._line(f"{self.phase}: {what}", now)]

    def _said(self, text: str, now: float) -> list[str]:
        lines = []
        for line in ANSI.sub("", text).splitlines():
            match = PROGRESS.match(line.strip())
            if match and match["host"] in self.hosts:
                self.hosts[match["host"]].said = one_line(match["said"])
                lines.append(self._line(f"{match['host']}: {match['said']}", now))
        return lines

    def _bad(self, host: Host, unreachable: bool, data: dict[str, Any], now: float) -> list[str]:
        task, host.task = host.task, ""
        if data.get("ignore_errors") and not unreachable:
            return []
        host.failed = True
        if self.reporting:  # its last play fails the hosts that it listed
            return []
        host.end(UNREACHABLE if unreachable else FAILED)
        result = data.get("res") or {}
        message = one_line(result.get("msg") or "no message")
        self.failures.append(f"{host.name}: {host.phase}: {message}")
        said = "unreachable" if unreachable else "FAILED"
        return [self._line(f"{host.name}: {said}: {task}: {message[:1000]}", now)]

    def _line(self, text: str, now: float) -> str:
        return f"[{duration(int(now - self.started)):>7}] {one_line(text)}"
