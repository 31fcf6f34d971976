"""Filter verl_plan: decide for the whole fleet at once."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # the package lies beside the filters

from ansible.errors import AnsibleFilterError

from verl_provision import fleet
from verl_provision.catalog import CatalogError
from verl_provision.plain import to_plain

DOCUMENTATION = r"""
name: verl_plan
short_description: Decides backend, image and steps for every host, and says why
version_added: "0.1.0"
author: verl-provision authors (@verl-provision)
description:
  - Takes the facts that C(verl_host_facts) registered as C(__verl_facts) on each host and what C(verl_load_inputs)
    returned, and gives the plan of the fleet (C(catalog/schema/plan.json)).
  - Never raises for a host that fits nothing. Such a plan has C(ok) false and says what was found and what is needed.
options:
  _input:
    description: Ansible's C(hostvars), or any mapping of host name to variables.
    type: dict
    required: true
  run:
    description: What P(verl_load_inputs#filter) returned.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Plan a machine that could not be reached
  ansible.builtin.debug:
    msg: "{{ hosts | verl_plan(hosts | verl_load_inputs(['gpu-1'], about)) }}"
  vars:
    about: {mode: plan, started: "2026-11-24T10:00:00Z"}
    hosts: {gpu-1: {__verl_facts: {unreachable: true, msg: "no route to host"}}}
"""

RETURN = r"""
_value:
  description: The plan of the fleet.
  type: dict
"""


def verl_plan(hostvars, run):
    """Return the fleet's plan; see DOCUMENTATION."""
    try:
        return fleet.plan(hostvars, to_plain(run))
    except CatalogError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """Ansible's entry point."""

    def filters(self):
        """Return this file's filter."""
        return {"verl_plan": verl_plan}
