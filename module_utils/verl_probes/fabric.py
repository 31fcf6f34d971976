# Copyright the verl-provision authors
# SPDX-License-Identifier: Apache-2.0
"""Fabric Manager, which NVSwitch systems need: without it CUDA answers error 802."""

from __future__ import annotations

import os

from . import pci, text

SWITCH_WITHOUT_PCI = "10"  # from this compute capability on NVSwitches hang behind InfiniBand functions
MARK = b"SW_MNG"  # in the product data of such a function
UNIT = "nvidia-fabricmanager.service"
PROCESS = "nv-fabricmanager"[:15]  # the kernel keeps 15 characters of a command's name


def _running(host):
    base = host.kernel("/proc")
    names = (host.read(os.path.join(base, entry, "comm"), 64) for entry in host.listdir(base) if entry.isdigit())
    return any(name == PROCESS for name in names)


def _marked(host):
    """Whether an InfiniBand function says that it manages a switch; its product data is root's to read."""
    base = host.kernel("/sys/class/infiniband")
    paths = (os.path.join(base, name, "device/vpd") for name in host.listdir(base))
    return any(MARK in (host.read_bytes(path, 4096) or b"") for path in paths)


def state(host, facts):
    """`state` of the fabric as the GPUs see it, where no PCI device tells whether there is one."""
    fabric, gpus = facts["fabric_manager"], facts["gpus"]
    newer = any((gpu["compute_capability"] or "").startswith(SWITCH_WITHOUT_PCI + ".") for gpu in gpus)
    if len(gpus) < 2 or not newer or fabric["active"]:
        return
    result = host.run([facts["smi"]["path"], "--query-gpu=fabric.state", "--format=csv,noheader"])
    said = (
        {line.strip().strip("[]").lower() for line in result.stdout.splitlines() if line.strip()}
        if result.ok
        else set()
    )
    if said and said <= {"completed"}:
        fabric["state"] = "completed"
    elif said & {"in progress", "not started"}:
        fabric["state"] = "waiting"
    elif said and said <= {"n/a", "not supported"}:
        fabric["state"] = "none"


def fabric_manager(host, found):
    program = host.which("nv-fabricmanager")
    nvswitch = bool(pci.nvswitches(found)) or _marked(host)
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
