"""Filter verl_turn: whether a step that disturbs hosts may begin on the next batch of them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # the package lies beside the filters

from verl_provision import fleet

DOCUMENTATION = r"""
name: verl_turn
short_description: Says why a step that disturbs hosts isn't begun on the next batch of them
version_added: "0.1.0"
author: verl-provision authors (@verl-provision)
description:
  - A step isn't begun on more hosts once too many of those before failed it (C(verl_rolling_max_fail_percentage)).
options:
  _input:
    description: Ansible's C(hostvars). The run and its plan are read from C(localhost).
    type: dict
    required: true
  step:
    description: The step, named as its role.
    type: str
    required: true
  play_hosts:
    description: All hosts of the step's play, in its order.
    type: list
    elements: str
    required: true
  batch:
    description: The hosts of the batch.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: A step that disturbs nobody
  ansible.builtin.debug:
    msg: "{{ {'localhost': {'__verl_fleet': {'disturbed': {}}}} | verl_turn('disruption', ['gpu-1'], ['gpu-1']) }}"
"""

RETURN = r"""
_value:
  description: The step, the reason why it isn't begun, and what to do; empty where it may begin.
  type: dict
"""


def verl_turn(hostvars, step, play_hosts, batch):
    """Return why it isn't the batch's turn; see DOCUMENTATION."""
    return fleet.turn(hostvars, str(step), [str(name) for name in play_hosts], [str(name) for name in batch])


class FilterModule:
    """Ansible's entry point."""

    def filters(self):
        """Return this file's filter."""
        return {"verl_turn": verl_turn}
