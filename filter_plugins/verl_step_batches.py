"""Filter verl_step_batches: how many hosts of a step's play are met at a time."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # the package lies beside the filters

from verl_provision import fleet

DOCUMENTATION = r"""
name: verl_step_batches
short_description: Sizes the batches of a step's play
version_added: "0.1.0"
author: verl-provision authors (@verl-provision)
description:
  - For the C(serial) of a step's play, whose hosts are P(verl_step_hosts#filter)'s. The hosts that the step doesn't
    disturb come at once, then C(verl_rolling_canary) of those that it does, then C(verl_rolling_batch) at a time.
  - Empty, which is all hosts at once, where the step disturbs nobody, and in check mode.
options:
  _input:
    description: Ansible's C(hostvars). The run and its plan are read from C(localhost).
    type: dict
    required: true
  step:
    description: The step, named as its role.
    type: str
    required: true
  check_mode:
    description: Whether this is a run in check mode.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Without a run there are no batches
  ansible.builtin.debug:
    msg: "{{ {} | verl_step_batches('disruption') }}"
"""

RETURN = r"""
_value:
  description: Numbers of hosts; the last one holds for all that come after.
  type: list
  elements: int
"""


def verl_step_batches(hostvars, step, check_mode=False):
    """Return the sizes of the batches; see DOCUMENTATION."""
    return fleet.step_batches(hostvars, str(step), bool(check_mode))


class FilterModule:
    """Ansible's entry point."""

    def filters(self):
        """Return this file's filter."""
        return {"verl_step_batches": verl_step_batches}
