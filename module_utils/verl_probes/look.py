# Copyright the verl-provision authors
# SPDX-License-Identifier: Apache-2.0
"""What verl_host_facts is asked for, and its answer; the module and the action plugin both carry it."""

from __future__ import annotations

import os

from .collect import GROUPS, collect
from .host import Host

ARGUMENTS = {
    "probe_root": {"type": "path", "default": "/"},
    "state_dir": {"type": "path", "default": "~/.local/state/verl-provision"},
    "prefix": {"type": "path", "default": "~/verl"},
    "container_name": {"type": "str", "default": "verl"},
    "command_timeout": {"type": "float", "default": 10},
    "gather": {"type": "list", "elements": "str", "choices": ["all"] + list(GROUPS), "default": ["all"]},
}


def _here(path):
    """A path as this host means it."""
    return os.path.expanduser(os.path.expandvars(path))


def look(params):
    """The facts of this host."""
    host = Host(
        probe_root=_here(params["probe_root"]),
        timeout=max(0.1, params["command_timeout"]),
        state_dir=_here(params["state_dir"]),
        prefix=_here(params["prefix"]),
        container_name=params["container_name"],
        sudo_password=params.get("sudo_password"),  # from the action plugin only: no option, so no file has it
    )
    return collect(host, params["gather"])
