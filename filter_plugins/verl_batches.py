"""Filter verl_batches: how many hosts the play that disturbs meets at a time."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # the package lies beside the filters

from verl_provision.plan import plays

DOCUMENTATION = r"""
name: verl_batches
short_description: Sizes the batches of the play that disturbs
version_added: "0.1.0"
author: verl-provision authors (@verl-provision)
description:
  - For its C(serial). First C(verl_rolling_canary) hosts, then C(verl_rolling_batch) at a time.
  - Empty, which is all hosts at once, where nobody is disturbed, and in check mode.
options:
  _input:
    description: Ansible's C(hostvars). The run and its plan are read from C(localhost).
    type: dict
    required: true
  check_mode:
    description: Whether this is a run in check mode.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Without a run there are no batches
  ansible.builtin.debug:
    msg: "{{ {} | verl_batches }}"
"""

RETURN = r"""
_value:
  description: Numbers of hosts; the last one holds for all that come after.
  type: list
  elements: int
"""


def verl_batches(hostvars, check_mode=False):
    """Return the sizes of the batches; see DOCUMENTATION."""
    return plays.batches(hostvars, bool(check_mode))


class FilterModule:
    """Ansible's entry point."""

    def filters(self):
        """Return this file's filter."""
        return {"verl_batches": verl_batches}
