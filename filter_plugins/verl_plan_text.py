"""Filter verl_plan_text: the plan as text for a terminal."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # the package lies beside the filters

from verl_provision.plain import to_plain
from verl_provision.report import text

DOCUMENTATION = r"""
name: verl_plan_text
short_description: Shows a fleet's plan as text
version_added: "0.1.0"
author: verl-provision authors (@verl-provision)
description:
  - A row per host (GPUs, driver, backend, image, verl, steps), then for each of the first hosts why, the warnings,
    the errors with their fixes, and what would be possible after a change.
options:
  _input:
    description: What P(verl_plan#filter) returned.
    type: dict
    required: true
  run:
    description: What P(verl_load_inputs#filter) returned.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the plan of a machine that could not be reached
  ansible.builtin.debug:
    msg: "{{ hosts | verl_plan(run) | verl_plan_text(run) }}"
  vars:
    hosts: {gpu-1: {__verl_facts: {unreachable: true, msg: "no route to host"}}}
    run: "{{ hosts | verl_load_inputs(['gpu-1'], {'mode': 'plan', 'started': '2026-11-24T10:00:00Z'}) }}"
"""

RETURN = r"""
_value:
  description: The text.
  type: str
"""


def verl_plan_text(plan, run):
    """Return the plan's text; see DOCUMENTATION."""
    return "\n".join(text.plan_lines(to_plain(plan), to_plain(run)))


class FilterModule:
    """Ansible's entry point."""

    def filters(self):
        """Return this file's filter."""
        return {"verl_plan_text": verl_plan_text}
