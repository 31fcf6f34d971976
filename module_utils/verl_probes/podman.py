# Copyright the verl-provision authors
# SPDX-License-Identifier: Apache-2.0
"""Podman. A rootless podman makes its directories on first use, so its store is looked into only where it has one."""

from __future__ import annotations

import json
import os
import re

from . import container, images, text

MOST = 64


def empty():
    return {"installed": False, "version": None, "rootless": False, "subids": False, "root_dir": None, "running": []}


def _subids(host, user):
    if user["root"]:
        return True
    for name in ("/etc/subuid", "/etc/subgid"):
        lines = (host.read(host.file(name)) or "").splitlines()
        if not any(line.split(":")[0] in (user["name"], str(user["uid"])) for line in lines):
            return False
    return host.which("newuidmap") is not None


def _store(host, user):
    """Where Podman keeps images and containers: what storage.conf says, else its default."""
    if user["root"]:
        return _configured(host, ("/etc/containers/storage.conf",), "graphroot") or "/var/lib/containers/storage"
    base = os.environ.get("XDG_DATA_HOME") or os.path.join(user["home"], ".local/share")
    own = os.path.join(os.environ.get("XDG_CONFIG_HOME") or os.path.join(user["home"], ".config"), "containers")
    found = _configured(host, (os.path.join(own, "storage.conf"),), "graphroot")
    found = found or _configured(host, ("/etc/containers/storage.conf",), "rootless_storage_path")
    for name, value in (("$HOME", user["home"]), ("$USER", user["name"]), ("$UID", str(user["uid"]))):
        found = (found or "").replace(name, value)
    return found or os.path.join(base, "containers/storage")


def _configured(host, paths, key):
    """A key of storage.conf; a line is enough to look at, and Python 3.8 has no TOML."""
    for path in paths:
        match = re.search(r'(?m)^\s*%s\s*=\s*"([^"]+)"' % key, host.read(host.file(path)) or "")
        if match:
            return match.group(1)
    return None


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
    """Fill in engines.podman; (images, container, Ray's container, containers that are kept)."""
    if host.which("podman") is None:
        return [], None, None, []
    facts.update(
        installed=True,
        version=text.version(host.run(["podman", "--version"]).stdout),
        rootless=not user["root"],
        subids=_subids(host, user),
        root_dir=_store(host, user),
    )
    if not host.exists(facts["root_dir"]):
        return [], None, None, []
    ours = ray = None
    kept = []
    for row in _rows(host, "ps", "-a", "--no-trunc", "--format", "json"):
        names = [str(name) for name in row.get("Names") or []]
        if row.get("State") == "running" and len(facts["running"]) < MOST:
            name = names[0] if names else ""
            facts["running"].append(
                {"id": str(row.get("Id", ""))[:12], "name": name, "image": str(row.get("Image", ""))}
            )
        for name in names:
            if container.is_kept(host, str(row.get("Id", "")), name):
                kept.append({"engine": "podman", "name": name, "id": str(row["Id"])})
        if host.container_name in names:
            ours = _container(host)
        if host.ray_container_name in names:
            rows = _rows(host, "inspect", "--type", "container", "--format", "json", host.ray_container_name)
            ray = container.ray_facts("podman", rows[0]) if rows else None
    found = images.podman_images(_rows(host, "images", "--format", "json"))
    return found, ours, ray, kept[:MOST]


def _container(host):
    rows = _rows(host, "inspect", "--type", "container", "--format", "json", host.container_name)
    if not rows:
        return None
    return container.facts(host, "podman", rows[0], host.in_namespace)
