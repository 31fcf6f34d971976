# Copyright the verl-provision authors
# SPDX-License-Identifier: Apache-2.0
"""The small JSON files of the state directory: one per step, and the last verification."""

from __future__ import annotations

import json
import os

LIMIT = 65536
VERIFICATION = "verification"


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
