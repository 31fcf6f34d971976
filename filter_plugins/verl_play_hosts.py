"""Filter verl_play_hosts: the hosts of a play."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # the package lies beside the filters

from verl_provision.plan import plays

DOCUMENTATION = r"""
name: verl_play_hosts
short_description: Names the hosts that have something to do in a play
version_added: "0.1.0"
author: verl-provision authors (@verl-provision)
description:
  - For the C(hosts) of a play. A host that failed an earlier step, or was left for another run, is left out.
  - In check mode a step whose prerequisite is itself only planned is left out too, since what it needs isn't there yet.
options:
  _input:
    description: Ansible's C(hostvars). The run and its plan are read from C(localhost).
    type: dict
    required: true
  play:
    description:
      - V(before), V(disturb), V(after), V(ray) or V(prove), in the order of site.yml; V(facts) for the hosts that may
        be connected to, V(failed) for those that fail the run, V(release) for those that are let pull again.
    type: str
    required: true
  check_mode:
    description: Whether this is a run in check mode.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Without a run no host has a step, so a pattern that matches nobody comes back
  ansible.builtin.debug:
    msg: "{{ {} | verl_play_hosts('before') }}"
"""

RETURN = r"""
_value:
  description: Host names, or a pattern that matches no host.
  type: list
  elements: str
"""


def verl_play_hosts(hostvars, play, check_mode=False):
    """Return the play's hosts; see DOCUMENTATION."""
    return plays.hosts(hostvars, str(play), bool(check_mode))


class FilterModule:
    """Ansible's entry point."""

    def filters(self):
        """Return this file's filter."""
        return {"verl_play_hosts": verl_play_hosts}
