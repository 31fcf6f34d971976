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


# What a container's manager calls itself (systemd's list), and where it says nothing what it leaves.
MANAGERS = ("docker", "podman", "kubernetes", "lxc", "lxc-libvirt", "systemd-nspawn", "rkt", "proot", "pouch", "oci")
MARKS = (
    ("/var/run/secrets/kubernetes.io", "kubernetes"),
    ("/run/.containerenv", "podman"),
    ("/.dockerenv", "docker"),
)


def container(host):
    """What runs this machine, where it is itself a container: docker, podman, kubernetes, lxc, ...; None where not."""
    named = host.read(host.file("/run/systemd/container"), 64)
    if not named:
        environ = host.read(host.kernel("/proc/1/environ")) or ""  # root's to read
        named = next((item[10:] for item in environ.split("\0") if item.startswith("container=")), None)
    if named and not named.startswith("wsl"):
        return named if named in MANAGERS else "other"
    for path, name in MARKS:
        if host.exists(path):
            return name
    return None


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


def base_of(release):
    """The release of Debian or Ubuntu that a derivative is made from; None where it isn't one, or doesn't say."""
    if release.get("ID") in ("debian", "ubuntu"):
        return None
    like = release.get("ID_LIKE", "").split()
    for name, key in (("ubuntu", "UBUNTU_CODENAME"), ("debian", "DEBIAN_CODENAME")):
        if release.get(key) and name in like:
            return {"id": name, "codename": release[key]}
    return None


def operating_system(host):
    text = host.read(host.file("/etc/os-release")) or host.read(host.file("/usr/lib/os-release"))
    if text is None:
        host.note("os", "/etc/os-release cannot be read")
    release = os_release(text)
    found = {
        "id": release.get("ID"),
        "version": release.get("VERSION_ID"),
        "codename": release.get("VERSION_CODENAME"),
        "family": family(release),
        "kernel": host.uname().release,
        "systemd": host.exists("/run/systemd/system"),
        "pretty": release.get("PRETTY_NAME"),
    }
    if host.read(host.kernel("/sys/fs/selinux/enforce"), 8) == "1":
        found["selinux"] = True
    base = base_of(release)
    if base:
        found["base"] = base
    inside = container(host)
    if inside:
        found["container"] = inside
    return found


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
