"""Filter verl_addresses: addresses of nodes by family, for a firewall's sets."""

import sys
from pathlib import Path

from ansible.errors import AnsibleFilterError

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # the package lies beside the filters

from verl_provision import addresses
from verl_provision.plain import to_plain

DOCUMENTATION = r"""
name: verl_addresses
short_description: Sorts addresses of nodes by family, and refuses what isn't an address
version_added: "0.2.0"
author: verl-provision authors (@verl-provision)
description:
  - Takes every address once, in its usual form. Anything else, such as a name or a word with more behind it, is an
    error, so that it reaches no file and no command.
options:
  _input:
    description: The addresses.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Show both families
  ansible.builtin.debug:
    msg: "{{ ['192.0.2.11', 'fd00::11'] | verl_addresses }}"
"""

RETURN = r"""
_value:
  description: Sorted lists C(IPv4) and C(IPv6).
  type: dict
"""


def verl_addresses(values):
    """Return the addresses by family; see DOCUMENTATION."""
    found = {"IPv4": set(), "IPv6": set()}
    for value in to_plain(values):
        address = addresses.parse(value)
        if address is None:
            raise AnsibleFilterError(f"{value!r} is not {addresses.NEEDED}; set ray_cluster_address for that node")
        found[addresses.family(address)].add(address)
    return {name: sorted(each) for name, each in found.items()}


class FilterModule:
    """Ansible's entry point."""

    def filters(self):
        """Return this file's filter."""
        return {"verl_addresses": verl_addresses}
