"""Filter verl_load_inputs: read every host's variables before any host is touched."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # the package lies beside the filters

from ansible.errors import AnsibleFilterError

from verl_provision import fleet
from verl_provision.plain import to_plain

DOCUMENTATION = r"""
name: verl_load_inputs
short_description: Reads and checks the variables of every host before any host is touched
version_added: "0.1.0"
author: verl-provision authors (@verl-provision)
description:
  - Collects the C(verl_*) variables and the variables of roles (settings) of each host, fills in defaults, casts
    strings that came from C(-e), and refuses unknown and wrong ones by name.
  - Pure. No connection is made.
options:
  _input:
    description: Ansible's C(hostvars), or any mapping of host name to variables.
    type: dict
    required: true
  hosts:
    description: The hosts of this run.
    type: list
    elements: str
    required: true
  about:
    description: What the run knows of itself; C(mode) (apply, check, plan or verify) and C(started) (UTC) are required.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: See what is asked of a host
  ansible.builtin.debug:
    msg: "{{ {'gpu-1': {'verl_engine': 'vllm'}} | verl_load_inputs(['gpu-1'], about) }}"
  vars:
    about: {mode: plan, started: "2026-11-24T10:00:00Z"}
"""

RETURN = r"""
_value:
  description:
    - The run, with C(hosts) (C(variables), C(settings) and C(errors) of each) and C(look_at), the hosts to look at.
  type: dict
"""


def verl_load_inputs(hostvars, hosts, about):
    """Return the run; see DOCUMENTATION."""
    if not isinstance(about, dict) or not {"mode", "started"} <= set(about):
        raise AnsibleFilterError("verl_load_inputs: `about` must be a dictionary with `mode` and `started`")
    return fleet.begin(hostvars, to_plain(hosts), to_plain(about))


class FilterModule:
    """Ansible's entry point."""

    def filters(self):
        """Return this file's filter."""
        return {"verl_load_inputs": verl_load_inputs}
