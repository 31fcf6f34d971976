"""Filter verl_role_variables: what a step's role is told."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # the package lies beside the filters

from verl_provision.plan import plays

DOCUMENTATION = r"""
name: verl_role_variables
short_description: Names a role's variables for what was planned
version_added: "0.1.0"
author: verl-provision authors (@verl-provision)
description:
  - For C(set_fact), the only place where an argument of the plan becomes the variable C(<role>_<argument>).
  - A secret is never among them. C(playbooks/vars/access.yml) has those.
options:
  _input:
    description: Ansible's C(hostvars). The run and its plan are read from C(localhost).
    type: dict
    required: true
  host:
    description: The host.
    type: str
    required: true
  step:
    description: The step, named as its role.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: See what a role is told
  ansible.builtin.debug:
    msg: "{{ {'localhost': known, 'gpu-1': {}} | verl_role_variables('gpu-1', 'huggingface_token') }}"
  vars:
    plan:
      ok: true
      steps: {huggingface_token: {needs: [], disruption: none, key: "1", args: {path: ~/verl/secrets/token}}}
      verification: {needed: false}
    known: {__verl_run: {mode: apply}, __verl_fleet: {hosts: {gpu-1: "{{ plan }}"}}}
"""

RETURN = r"""
_value:
  description:
    - The role's variables; C(__verl_at), the step, for whoever watches the run; and C(__verl_set), the names of all
      variables that this invocation set, so that the next playbook doesn't take them for the user's.
  type: dict
"""


def verl_role_variables(hostvars, host, step):
    """Return the role's variables; see DOCUMENTATION."""
    return plays.role_variables(hostvars, str(host), str(step))


class FilterModule:
    """Ansible's entry point."""

    def filters(self):
        """Return this file's filter."""
        return {"verl_role_variables": verl_role_variables}
