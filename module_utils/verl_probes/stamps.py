# Copyright the verl-provision authors
# SPDX-License-Identifier: Apache-2.0
"""The small JSON files of the state directory: one per step, and the last verification."""

from __future__ import annotations

import json
import os

LIMIT = 65536
VERIFICATION = "verification"
# What is read of such a file; `state` in catalog/schema/facts.json says the same.
TEXTS = ("key", "commit", "container_id", "id", "level", "passed_at", "ray", "python", "verl_version")


def empty():
    return {"stamps": {}, "verification": None}


def _load(host, path):
    try:
        size = os.path.getsize(path)
    except OSError as exc:
        host.note("stamps", "%s: %s" % (path, exc.strerror))
        return None
    if size > LIMIT:
        host.note("stamps", "%s has %d bytes, more than %d" % (path, size, LIMIT))
        return None
    content = host.read(path)
    try:
        value = json.loads(content) if content is not None else None
    except ValueError as exc:
        host.note("stamps", "%s is not valid JSON: %s" % (path, exc))
        return None
    if not isinstance(value, dict):
        host.note("stamps", "%s cannot be read or holds no object" % path)
        return None
    members, waiting = value.get("members", {}), value.get("waiting", [])
    texts = [value.get(name) for name in TEXTS]
    texts += list(members.values()) if isinstance(members, dict) else [members]
    texts += [0 if item is None else item for item in waiting] if isinstance(waiting, list) else [waiting]
    if not all(item is None or isinstance(item, str) for item in texts):
        host.note("stamps", "%s was written by something else" % path)
        return None
    return value


def probe(host):
    found = empty()
    directory = host.file(host.state_dir)
    for name in host.listdir(directory):
        stem, extension = os.path.splitext(name)
        if extension != ".json" or stem.startswith("."):
            continue
        value = _load(host, os.path.join(directory, name))
        if stem == VERIFICATION:
            found["verification"] = value
        else:
            found["stamps"][stem] = value
    return found
