"""Stamps: a small JSON file per step in the state directory that says what the step last did."""

import json
import os
import tempfile


def read(path):
    """Return the stamp's content, or {} where there's none (a damaged one counts as none)."""
    try:
        with open(os.path.expanduser(path), encoding="utf-8") as handle:
            data = json.load(handle)
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def write(path, data):
    """Write the stamp in one step (a killed run leaves the old one or the new one). Returns whether it changed."""
    path = os.path.expanduser(path)
    if read(path) == data:
        return False
    folder = os.path.dirname(path) or "."
    os.makedirs(folder, mode=0o755, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=".stamp-", dir=folder)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(data, stream, sort_keys=True)
            stream.write("\n")
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise
    return True
