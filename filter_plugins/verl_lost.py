"""Filter verl_lost: what a host had before a step that disturbs, and hasn't any more."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # the package lies beside the filters

from verl_provision.plan import plays

DOCUMENTATION = r"""
name: verl_lost
short_description: Says what a host lost in a step that disturbs
version_added: "0.1.0"
author: verl-provision authors (@verl-provision)
description:
  - Compares the engine and the GPUs of two sets of facts of one host.
options:
  _input:
    description: The facts before, as C(verl_host_facts) gave them.
    type: dict
    required: true
  after:
    description: The facts after.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: A host that lost its only GPU
  ansible.builtin.debug:
    msg: "{{ {'nvidia': {'gpus': [{'uuid': 'GPU-1'}]}} | verl_lost({'nvidia': {'gpus': []}}) }}"
"""

RETURN = r"""
_value:
  description: A sentence for each thing that is gone.
  type: list
  elements: str
"""


def verl_lost(before, after):
    """Return what is gone; see DOCUMENTATION."""
    return plays.lost(before, after)


class FilterModule:
    """Ansible's entry point."""

    def filters(self):
        """Return this file's filter."""
        return {"verl_lost": verl_lost}
