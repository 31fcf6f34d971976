"""Callback verl_timeline: note when each play and each host's steps begin, for the report's timeline."""

DOCUMENTATION = r"""
name: verl_timeline
type: aggregate
short_description: Notes when each play and each host's steps begin, for the timeline of the report
version_added: "0.1.0"
author: verl-provision authors (@verl-provision)
description:
  - Prints nothing. P(verl_report#filter) reads what was noted.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # the package lies beside the plugins

from ansible.plugins.callback import CallbackBase

from verl_provision import timeline
from verl_provision.plan.steps import AT


class CallbackModule(CallbackBase):
    """Ansible's entry point."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "verl_timeline"

    def v2_playbook_on_play_start(self, play):
        """Note the play."""
        timeline.run.begin(play.get_name(), time.monotonic())

    def v2_runner_on_ok(self, result):
        """Note that a host begins a step: it is told to the role before anything else."""
        told = str(result.task.action).rpartition(".")[2] == "set_fact"  # by the play itself, and by no host
        step = (result.result.get("ansible_facts") or {}).get(AT) if told else None
        if step:
            timeline.run.step(result.host.get_name(), str(step), time.monotonic())
        else:
            self._seen(result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        """Note that a host still did something."""
        self._seen(result)

    def v2_runner_on_unreachable(self, result):
        """Note that a host still did something."""
        self._seen(result)

    def _seen(self, result):
        timeline.run.seen(result.host.get_name(), time.monotonic())
