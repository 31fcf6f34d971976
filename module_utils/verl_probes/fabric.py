# Copyright the verl-provision authors
# SPDX-License-Identifier: Apache-2.0
"""Fabric Manager, which NVSwitch systems need: without it CUDA answers error 802."""

from __future__ import annotations

import os

from . import pci, text

UNIT = "nvidia-fabricmanager.service"
PROCESS = "nv-fabricmanager"[:15]  # the kernel keeps 15 characters of a command's name


def _running(host):
    base = host.kernel("/proc")
    names = (host.read(os.path.join(base, entry, "comm"), 64) for entry in host.listdir(base) if entry.isdigit())
    return any(name == PROCESS for name in names)


def fabric_manager(host, found):
    program = host.which("nv-fabricmanager")
    nvswitch = bool(pci.nvswitches(found))
    facts = {"installed": program is not None, "active": None, "version": None, "nvswitch": nvswitch}
    if not program and not nvswitch:
        return facts
    if program:
        facts["version"] = text.version(host.run([program, "--version"]).stdout)
    if _running(host):
        facts["active"] = True
    elif host.which("systemctl"):
        facts["active"] = host.run(["systemctl", "is-active", "--quiet", UNIT]).ok
    else:
        facts["active"] = False
    return facts
