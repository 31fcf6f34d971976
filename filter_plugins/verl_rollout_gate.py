"""Filter verl_rollout_gate: whether the next hosts may be disturbed."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # the package lies beside the filters

from verl_provision.plan import plays

DOCUMENTATION = r"""
name: verl_rollout_gate
short_description: Says why the next batch of hosts isn't disturbed
version_added: "0.1.0"
author: verl-provision authors (@verl-provision)
description:
  - No more hosts are disturbed once too many of those before failed (C(verl_rolling_max_fail_percentage)).
options:
  _input:
    description: Ansible's C(hostvars). The run and its plan are read from C(localhost).
    type: dict
    required: true
  play:
    description: The play; only V(disturb) has a gate, since the nodes of a cluster begin together.
    type: str
    required: true
  play_hosts:
    description: All hosts of the play, in its order.
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
- name: The nodes of a cluster have no gate
  ansible.builtin.debug:
    msg: "{{ {'localhost': {}} | verl_rollout_gate('ray', ['gpu-1'], ['gpu-1']) }}"
"""

RETURN = r"""
_value:
  description: The steps, the reason why they aren't begun, and what to do; empty where they may begin.
  type: dict
"""


def verl_rollout_gate(hostvars, play, play_hosts, batch):
    """Return why the batch isn't begun; see DOCUMENTATION."""
    return plays.gate(hostvars, str(play), [str(name) for name in play_hosts], [str(name) for name in batch])


class FilterModule:
    """Ansible's entry point."""

    def filters(self):
        """Return this file's filter."""
        return {"verl_rollout_gate": verl_rollout_gate}
