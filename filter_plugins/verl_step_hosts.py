"""Filter verl_step_hosts: the hosts of one step's play."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # the package lies beside the filters

from verl_provision import fleet

DOCUMENTATION = r"""
name: verl_step_hosts
short_description: Names the hosts whose plan has a step
version_added: "0.1.0"
author: verl-provision authors (@verl-provision)
description:
  - For the C(hosts) of a step's play. A host that failed an earlier step, or was left for another run, is left out.
  - Those that the step disturbs come last; P(verl_step_batches#filter) says how many of them at a time.
  - In check mode a step whose prerequisite is itself only planned is left out too, since what it needs isn't there yet.
options:
  _input:
    description: Ansible's C(hostvars). The run and its plan are read from C(localhost).
    type: dict
    required: true
  step:
    description:
      - The step, named as its role; or V(verification), V(facts) for the hosts that may be looked at, V(unwell) for
        those that fail the run, V(drained) for those that an earlier run left drained, V(pull_hold) and
        V(pull_release) for those in pull mode on which something is done.
    type: str
    required: true
  check_mode:
    description: Whether this is a run in check mode.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Without a run no host has a step, so a pattern that matches nobody comes back
  ansible.builtin.debug:
    msg: "{{ {} | verl_step_hosts('container_image') }}"
"""

RETURN = r"""
_value:
  description: Host names, or a pattern that matches no host.
  type: list
  elements: str
"""


def verl_step_hosts(hostvars, step, check_mode=False):
    """Return the step's hosts; see DOCUMENTATION."""
    return fleet.step_hosts(hostvars, str(step), bool(check_mode))


class FilterModule:
    """Ansible's entry point."""

    def filters(self):
        """Return this file's filter."""
        return {"verl_step_hosts": verl_step_hosts}
