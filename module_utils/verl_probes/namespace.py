# Copyright the verl-provision authors
# SPDX-License-Identifier: Apache-2.0
"""What runs in a container, from /proc: a rootless Podman can't say where the container has no cgroup."""

from __future__ import annotations

import os


def _stat(folder):
    """(parent, state) of a process; its name may hold anything, so what follows it is read."""
    with open(os.path.join(folder, "stat"), encoding="utf-8", errors="replace") as handle:
        fields = handle.read().rpartition(")")[2].split()
    return int(fields[1]), fields[0]


def _text(folder, name):
    with open(os.path.join(folder, name), "rb") as handle:
        return handle.read(4096).replace(b"\0", b" ").decode("utf-8", "replace").strip()


def processes(init, proc="/proc"):
    """[{pid, parent, state, name, command}] of the PID namespace that process `init` is in, `init` first.

    Raises OSError where that can't be read.
    """
    namespace = os.readlink(os.path.join(proc, str(init), "ns/pid"))
    found = []
    for pid in sorted(
        (int(entry) for entry in os.listdir(proc) if entry.isdigit()), key=lambda pid: (pid != init, pid)
    ):
        folder = os.path.join(proc, str(pid))
        try:
            if os.readlink(os.path.join(folder, "ns/pid")) != namespace:
                continue
            parent, state = _stat(folder)
            name = _text(folder, "comm")
            command = _text(folder, "cmdline") or name
        except OSError:
            continue  # it ended meanwhile, or is somebody else's
        found.append({"pid": pid, "parent": parent, "state": state, "name": name, "command": command})
    return found
