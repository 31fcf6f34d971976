"""Filter verl_daemon_json_changes: what a change of Docker's daemon.json needs to take effect."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # the package lies beside the filters

from verl_provision import catalog
from verl_provision.plain import to_plain
from verl_provision.plan import daemon_json

DOCUMENTATION = r"""
name: verl_daemon_json_changes
short_description: Says what a change of Docker's daemon.json needs to take effect
version_added: "0.1.0"
author: verl-provision authors (@verl-provision)
description:
  - Compares the content of a daemon.json with what is wanted in it, and classifies every key that differs by
    C(catalog/daemon_json.yml). A key that isn't listed there counts as V(restart_idle).
  - Lists are wanted members, not the whole list. C(features) and C(runtimes) are compared key by key.
options:
  _input:
    description: The content of the file as it is.
    type: dict
    required: true
  wanted:
    description: What must be in it.
    type: dict
    required: true
  engine:
    description: The engine's version. Where it isn't given, the heaviest effect on any version.
    type: str
"""

EXAMPLES = r"""
- name: A runtime needs a reload, a log driver a restart; the heaviest counts
  ansible.builtin.assert:
    that: (found | verl_daemon_json_changes(wanted, '26.1.5')).action == 'restart'
  vars:
    found: {debug: true}
    wanted: {log-driver: local, runtimes: {nvidia: {path: nvidia-container-runtime}}}
"""

RETURN = r"""
_value:
  description: >-
    C(keys), each changed key with V(reload), V(restart) (containers live on with live-restore) or V(restart_idle) (they
    don't); C(action), the heaviest of them, V(none) where nothing differs.
  type: dict
"""


def verl_daemon_json_changes(found, wanted, engine=None):
    """Return the changed keys and what they need; see DOCUMENTATION."""
    table = catalog.load()["daemon_json"]
    return daemon_json.classify(to_plain(found), to_plain(wanted), str(engine) if engine else None, table)


class FilterModule:
    """Ansible's entry point."""

    def filters(self):
        """Return this file's filter."""
        return {"verl_daemon_json_changes": verl_daemon_json_changes}
