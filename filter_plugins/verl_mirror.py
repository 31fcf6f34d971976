"""Filter verl_mirror: what a mirror of the fleet's images has to hold."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # the package lies beside the filters

from verl_provision.plain import to_plain
from verl_provision.plan import mirror

DOCUMENTATION = r"""
name: verl_mirror
short_description: Says what a mirror of the fleet's images has to hold
version_added: "0.1.0"
author: verl-provision authors (@verl-provision)
description:
  - Returns the images that the hosts' plans name, each once, and for each host the registries that the mirror can stand
    in for there.
options:
  _input:
    description: What P(verl_plan#filter) returned.
    type: dict
    required: true
  hostvars:
    description: Ansible's C(hostvars), for the facts of the hosts.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: A fleet without images needs none in the mirror
  ansible.builtin.debug:
    msg: "{{ {'hosts': {}} | verl_mirror({}) }}"
"""

RETURN = r"""
_value:
  description: C(images), a list of C(ref) and C(digest); C(clients), hosts; and C(registries) of each client.
  type: dict
"""


def verl_mirror(fleet, hostvars):
    """Return what the mirror holds; see DOCUMENTATION."""
    fleet = to_plain(fleet)
    facts = {name: to_plain((hostvars[name].get("__verl_facts") or {}).get("facts")) for name in fleet["hosts"]}
    return mirror.plan(fleet, facts)


class FilterModule:
    """Ansible's entry point."""

    def filters(self):
        """Return this file's filter."""
        return {"verl_mirror": verl_mirror}
