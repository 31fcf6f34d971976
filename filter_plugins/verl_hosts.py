"""Filter verl_hosts: every host of the inventory, and an error where there is none."""

import ipaddress
import re

from ansible.errors import AnsibleFilterError

DOCUMENTATION = r"""
name: verl_hosts
short_description: Every host of the inventory, and an error where there is none, or one whose name is a pattern
version_added: "0.2.0"
author: verl-provision authors (@verl-provision)
description:
  - For the C(hosts) of a run's first play. Ansible itself ends with 0 where an inventory has no hosts, as if all of
    them were healthy.
  - A host named C(*) or C(a:b,c) would stand for others wherever a play names its hosts, so such names are refused.
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
    odd = [repr(str(name)) for name in (groups or {}).get("all") or [] if not is_name(str(name))]
    if odd:
        raise AnsibleFilterError(
            f"inventory_hostname: found {', '.join(odd[:5])}, needed are letters, digits, `.`, `-`, `_`, "
            "or an address, since Ansible reads anything else as a pattern for other hosts: nothing was looked at, "
            "nothing done. "
            "Next: rename the host in the inventory, and put its address into ansible_host"
        )
    return "all"


def is_name(name):
    """Whether a host's name can be taken for no pattern."""
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return re.fullmatch(r"\w[\w.@-]*", name) is not None


class FilterModule:
    """Ansible's entry point."""

    def filters(self):
        """Return this file's filter."""
        return {"verl_hosts": verl_hosts}
