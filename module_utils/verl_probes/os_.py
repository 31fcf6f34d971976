# Copyright the verl-provision authors
# SPDX-License-Identifier: Apache-2.0
"""Operating system, processors, memory, /dev/shm, file systems."""

from __future__ import annotations

import os
import re

FAMILIES = (
    ("debian", ("debian", "ubuntu")),
    ("redhat", ("rhel", "fedora", "centos", "rocky", "almalinux", "ol", "amzn", "openeuler")),
    ("suse", ("suse", "sles", "opensuse")),
    ("arch", ("arch",)),
    ("alpine", ("alpine",)),
)


def os_release(text):
    """The variables of an os-release file."""
    values = {}
    for line in (text or "").splitlines():
        name, separator, value = line.strip().partition("=")
        if separator and not name.startswith("#"):
            values[name] = value.strip().strip("'\"")
    return values


def family(release):
    words = (release.get("ID", "") + " " + release.get("ID_LIKE", "")).lower().split()
    for name, members in FAMILIES:
        if any(word == member or word.startswith(member + "-") for word in words for member in members):
            return name
    return "other"


def operating_system(host):
    text = host.read(host.file("/etc/os-release")) or host.read(host.file("/usr/lib/os-release"))
    if text is None:
        host.note("os", "/etc/os-release cannot be read")
    release = os_release(text)
    return {
        "id": release.get("ID"),
        "version": release.get("VERSION_ID"),
        "codename": release.get("VERSION_CODENAME"),
        "family": family(release),
        "kernel": host.uname().release,
        "systemd": host.exists("/run/systemd/system"),
        "pretty": release.get("PRETTY_NAME"),
    }


def memory(host):
    text = host.read(host.kernel("/proc/meminfo")) or ""
    found = {key: int(value) // 1024 for key, value in re.findall(r"(?m)^(\w+):\s+(\d+) kB$", text)}
    total, available = found.get("MemTotal"), found.get("MemAvailable")
    if total is None:  # a recorded tree without /proc/meminfo
        page = os.sysconf("SC_PAGE_SIZE")
        total = os.sysconf("SC_PHYS_PAGES") * page // 1048576
        available = os.sysconf("SC_AVPHYS_PAGES") * page // 1048576
    return {"total_mb": total, "available_mb": available}


def shm(host):
    try:
        return {"size_mb": host.space("/dev/shm")[1] // 1048576}
    except OSError as exc:
        host.note("shm", "/dev/shm: %s" % exc.strerror)
        return {"size_mb": None}


def room(host, path):
    """Room at a path, measured at its nearest parent that exists; None where it cannot be measured."""
    while path and path != "/" and not host.exists(path):
        path = os.path.dirname(path)
    try:
        free, total = host.space(path or "/")
    except OSError as exc:
        host.note("disk", "%s: %s" % (path, exc.strerror))
        return None
    return {"path": path or "/", "free_gb": round(free / 1e9, 1), "total_gb": round(total / 1e9, 1)}
