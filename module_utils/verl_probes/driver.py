# Copyright the verl-provision authors
# SPDX-License-Identifier: Apache-2.0
"""The NVIDIA kernel module and the driver's libraries, as the kernel and the file system know them."""

from __future__ import annotations

import os
import re

PROC_VERSION = re.compile(r"Kernel Module(?: for \S+)?\s+(\d+\.\d+(?:\.\d+)*)")
LIBRARY = re.compile(r"libnvidia-ml\.so\.(\d+\.\d+(?:\.\d+)*)$")
LIBRARY_DIRS = (
    "/usr/lib/{arch}-linux-gnu",
    "/usr/lib/{arch}-linux-gnu/nvidia/current",
    "/usr/lib64",
    "/usr/lib",
    "/lib/{arch}-linux-gnu",
    "/usr/local/nvidia/lib64",
)
VERSION = re.compile(r"^\d+(?:\.\d+)+$")


def loaded(host):
    """{loaded, version, flavour} of the running module; loaded is None where the kernel does not say."""
    sysfs = host.read(host.kernel("/sys/module/nvidia/version"), 256)
    proc = host.read(host.kernel("/proc/driver/nvidia/version"), 4096)
    match = PROC_VERSION.search(proc or "")
    number = sysfs if sysfs and VERSION.match(sysfs) else (match.group(1) if match else None)
    flavour = None
    if match:
        flavour = "open" if "Open Kernel Module" in proc else "proprietary"
    if number or proc or os.path.isdir(host.kernel("/sys/module/nvidia")):
        known = True
    else:
        known = False if os.path.isdir(host.kernel("/sys/module")) else None
    return {"loaded": known, "version": number, "flavour": flavour}


def on_disk(host):
    """(version, flavour) of the module that the next boot would load."""
    modinfo = host.which("modinfo")
    if modinfo is None:
        host.note("modinfo", "modinfo is not on PATH: the kernel module on disk is unknown")
        return None, None
    result = host.run([modinfo, "-F", "version", "nvidia"])
    if result.timed_out:
        host.note("modinfo", result.error)
    number = result.stdout.strip().split("\n")[0].strip() if result.ok else ""
    if not VERSION.match(number):
        return None, None
    licence = host.run([modinfo, "-F", "license", "nvidia"])
    flavour = None
    if licence.ok and licence.stdout.strip():
        flavour = "open" if "MIT/GPL" in licence.stdout else "proprietary"
    return number, flavour


def libraries(host):
    """Version of the driver's libraries, from the file that libnvidia-ml.so.1 stands for."""
    arch = host.uname().machine
    for pattern in LIBRARY_DIRS:
        path = host.file(pattern.format(arch=arch) + "/libnvidia-ml.so.1")
        match = LIBRARY.search(os.path.realpath(path)) if os.path.exists(path) else None
        if match:
            return match.group(1)
    return None
