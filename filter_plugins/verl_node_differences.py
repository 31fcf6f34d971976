"""Filter verl_node_differences: what a node of a Ray cluster has otherwise than its head."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # the package lies beside the filters

from verl_provision.plan import cluster

DOCUMENTATION = r"""
name: verl_node_differences
short_description: Says what a node of a Ray cluster has otherwise than its head
version_added: "0.1.0"
author: verl-provision authors (@verl-provision)
description:
  - Compares two stamps, as the steps that check verl out or build a source environment leave them - verl's commit and
    release, Ray, and the minor release of Python. What one of them doesn't say isn't compared.
options:
  _input:
    description: The node's stamp.
    type: dict
    required: true
  head:
    description: The head's stamp.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Compare with the head
  ansible.builtin.debug:
    msg: "{{ {'ray': '2.52.0', 'python': '3.12.3'} | verl_node_differences({'ray': '2.51.1', 'python': '3.12.9'}) }}"
"""

RETURN = r"""
_value:
  description: A few words for each difference; empty where there is none.
  type: list
  elements: str
"""


def verl_node_differences(stamp, head):
    """Return the differences in words; see DOCUMENTATION."""
    return cluster.differences(stamp, head)


class FilterModule:
    """Ansible's entry point."""

    def filters(self):
        """Return this file's filter."""
        return {"verl_node_differences": verl_node_differences}
