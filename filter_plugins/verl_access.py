"""Filter verl_access: how a host gets at what it fetches - proxy, logins, token. The only way that a secret takes."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # the package lies beside the filters

from verl_provision import access

DOCUMENTATION = r"""
name: verl_access
short_description: Gives a step the proxy, the logins and the token of its host
version_added: "0.1.0"
author: verl-provision authors (@verl-provision)
description:
  - Takes the secrets straight from the inventory at the moment a task needs them.
  - Neither the run nor the plan has them; which of them are given, and the proxy, are in the run
    (C(__verl_run) on C(localhost), made by the filter C(verl_begin)).
options:
  _input:
    description: Ansible's C(hostvars).
    type: dict
    required: true
  host:
    description: A host of the run.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: See which proxy a host uses
  ansible.builtin.debug:
    msg: "{{ (known | combine({'localhost': {'__verl_run': run}}) | verl_access('gpu-1')).proxy.url }}"
  vars:
    known: {gpu-1: {verl_proxy: "http://proxy:3128"}}
    run: "{{ known | verl_load_inputs(['gpu-1'], {'mode': 'plan', 'started': '2026-11-24T10:00:00Z'}) }}"
"""

RETURN = r"""
_value:
  description:
    - C(proxy) (C(url), C(no_proxy), and C(username) and C(password) where it has a login), C(registry_logins) by
      registry, C(huggingface_token), and C(no_log), whether output of the tasks that carry them is hidden.
  type: dict
"""


def verl_access(hostvars, host):
    """Return the host's ways; see DOCUMENTATION."""
    return access.of(hostvars[host], hostvars["localhost"]["__verl_run"]["hosts"][host])


class FilterModule:
    """Ansible's entry point."""

    def filters(self):
        """Return this file's filter."""
        return {"verl_access": verl_access}
