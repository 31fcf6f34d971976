"""Filter verl_drifted: the hosts where a plan would do something."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # the package lies beside the filters

from ansible.errors import AnsibleFilterError

from verl_provision import fleet
from verl_provision.plain import to_plain

DOCUMENTATION = r"""
name: verl_drifted
short_description: Names the hosts where a plan would do something
version_added: "0.1.0"
author: verl-provision authors (@verl-provision)
description:
  - For the C(hosts) of the play that fails hosts which drifted. ansible-playbook then exits with 2.
  - Raises where a host was refused, failed or couldn't be reached, so that ansible-playbook exits with 4 instead.
options:
  _input:
    description: Ansible's C(hostvars). The report is read from C(localhost).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Without a report no host has drifted, so a pattern that matches nobody comes back
  ansible.builtin.debug:
    msg: "{{ {} | verl_drifted }}"
"""

RETURN = r"""
_value:
  description: Host names, or a pattern that matches no host.
  type: list
  elements: str
"""


def verl_drifted(hostvars):
    """Return the hosts; see DOCUMENTATION."""
    report = to_plain(hostvars.get("localhost", {}).get("__verl_report") or {})
    unwell, names = fleet.drifted(report.get("verdicts", {}))
    if unwell:
        raise AnsibleFilterError(f"{len(unwell)} of {len(report['verdicts'])} hosts have no plan. " + "; ".join(unwell))
    return names


class FilterModule:
    """Ansible's entry point."""

    def filters(self):
        """Return this file's filter."""
        return {"verl_drifted": verl_drifted}
