# Copyright the verl-provision authors
# SPDX-License-Identifier: Apache-2.0
"""Podman. A rootless podman makes its directories on first use, so its store is looked into only where it has one."""

from __future__ import annotations

import json
import os

from . import container, images, text

MOST = 64


def empty():
    return {"installed": False, "version": None, "rootless": False, "subids": False, "running": []}


def _subids(host, user):
    if user["root"]:
        return True
    for name in ("/etc/subuid", "/etc/subgid"):
        lines = (host.read(host.file(name)) or "").splitlines()
        if not any(line.split(":")[0] in (user["name"], str(user["uid"])) for line in lines):
            return False
    return host.which("newuidmap") is not None


def _store(host, user):
    if user["root"]:
        return "/var/lib/containers/storage"
    base = os.environ.get("XDG_DATA_HOME") or os.path.join(user["home"], ".local/share")
    return os.path.join(base, "containers/storage")


def _rows(host, *arguments):
    result = host.run(["podman"] + list(arguments))
    if not result.ok:
        host.note("podman " + arguments[0], result.message())
        return []
    try:
        rows = json.loads(result.stdout or "[]")
    except ValueError:
        host.note("podman " + arguments[0], "its output is not JSON")
        return []
    return [row for row in rows or [] if isinstance(row, dict)]


def probe(host, user, facts):
    """Fill in engines.podman; (images, container)."""
    if host.which("podman") is None:
        return [], None
    facts.update(
        installed=True,
        version=text.version(host.run(["podman", "--version"]).stdout),
        rootless=not user["root"],
        subids=_subids(host, user),
    )
    if not host.exists(_store(host, user)):
        return [], None
    ours = None
    for row in _rows(host, "ps", "-a", "--no-trunc", "--format", "json"):
        names = [str(name) for name in row.get("Names") or []]
        if row.get("State") == "running" and len(facts["running"]) < MOST:
            name = names[0] if names else ""
            facts["running"].append(
                {"id": str(row.get("Id", ""))[:12], "name": name, "image": str(row.get("Image", ""))}
            )
        if host.container_name in names:
            ours = _container(host)
    found = images.podman_images(_rows(host, "images", "--format", "json"))
    return found, ours


def _container(host):
    rows = _rows(host, "inspect", "--type", "container", "--format", "json", host.container_name)
    if not rows:
        return None
    top = ["podman", "top", host.container_name, "hpid", "ppid", "state", "comm"]
    return container.facts(host, "podman", rows[0], lambda: host.run(top))
