"""Filter verl_hosts: every host of the inventory, and an error where there is none."""

from ansible.errors import AnsibleFilterError

DOCUMENTATION = r"""
name: verl_hosts
short_description: Every host of the inventory, and an error where there is none
version_added: "0.2.0"
author: verl-provision authors (@verl-provision)
description:
  - For the C(hosts) of a run's first play. Ansible itself ends with 0 where an inventory has no hosts, as if all of
    them were healthy.
options:
  _input:
    description: Ansible's C(groups); empty before the inventory is there, as in a syntax check.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Name the pattern for all hosts
  ansible.builtin.debug:
    msg: "{{ {'all': ['gpu-1']} | verl_hosts }}"
"""

RETURN = r"""
_value:
  description: The pattern V(all).
  type: str
"""


def verl_hosts(groups):
    """Return the pattern for all hosts; see DOCUMENTATION."""
    if groups and not groups.get("all"):
        raise AnsibleFilterError(
            "the inventory has no hosts, needed is at least one: nothing was looked at and nothing done. "
            "Next: ansible-inventory --graph with the same -i shows what Ansible reads; "
            "inventories/example-cluster shows how an inventory looks"
        )
    return "all"


class FilterModule:
    """Ansible's entry point."""

    def filters(self):
        """Return this file's filter."""
        return {"verl_hosts": verl_hosts}
