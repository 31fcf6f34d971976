"""Filter verl_host_steps: the steps that a host does in a play."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # the package lies beside the filters

from verl_provision.plan import plays

DOCUMENTATION = r"""
name: verl_host_steps
short_description: Names the steps that a host does in a play
version_added: "0.1.0"
author: verl-provision authors (@verl-provision)
description:
  - For the loop of a play that P(verl_play_hosts#filter) gave its hosts. The steps come in their order.
options:
  _input:
    description: Ansible's C(hostvars). The run and its plan are read from C(localhost).
    type: dict
    required: true
  host:
    description: The host.
    type: str
    required: true
  play:
    description:
      - V(before), V(disturb), V(after), V(ray) V(prove), in the order of site.yml, or V(ray_disturbed)
        where Ray's step ends what runs.
    type: str
    required: true
  check_mode:
    description: Whether this is a run in check mode.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: See what a host does before it is disturbed
  ansible.builtin.debug:
    msg: "{{ {'localhost': known} | verl_host_steps('gpu-1', 'before') }}"
  vars:
    plan:
      ok: true
      steps: {huggingface_token: {needs: [], disruption: none, key: "1", args: {path: ~/verl/secrets/token}}}
      verification: {needed: false}
    known: {__verl_run: {mode: apply}, __verl_fleet: {hosts: {gpu-1: "{{ plan }}"}}}
"""

RETURN = r"""
_value:
  description: Steps, named as their roles; V(verification) is the last one.
  type: list
  elements: str
"""


def verl_host_steps(hostvars, host, play, check_mode=False):
    """Return the host's steps; see DOCUMENTATION."""
    return plays.steps(hostvars, str(host), str(play), bool(check_mode))


class FilterModule:
    """Ansible's entry point."""

    def filters(self):
        """Return this file's filter."""
        return {"verl_host_steps": verl_host_steps}
