"""Callback verl_timeline: note when each play begins, for the report's timeline."""

DOCUMENTATION = r"""
name: verl_timeline
type: aggregate
short_description: Notes when each play begins, for the timeline of the report
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


class CallbackModule(CallbackBase):
    """Ansible's entry point."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "verl_timeline"

    def v2_playbook_on_play_start(self, play):
        """Note the play."""
        timeline.begin(play.get_name(), time.monotonic())
