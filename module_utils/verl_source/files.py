"""Small files, written so that a reader never sees half of one."""

from __future__ import annotations

import contextlib
import json
import os


def read_json(path):
    """The object in `path`, or None where there is none that can be read."""
    try:
        with open(path, encoding="utf-8") as handle:
            value = json.load(handle)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def write_text(path, text):
    scratch = "%s.%d.new" % (path, os.getpid())
    with open(scratch, "w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(scratch, path)


def write_json(path, value):
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def remove(path):
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def tail(path, limit=65536):
    """The last `limit` bytes of `path` as text."""
    try:
        with open(path, "rb") as handle:
            handle.seek(0, os.SEEK_END)
            handle.seek(max(0, handle.tell() - limit))
            return handle.read().decode("utf-8", "replace")
    except OSError:
        return ""


def tree_size(path):
    """Bytes in files below `path`; what vanishes while we look doesn't count."""
    total = 0
    for folder, _folders, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
    return total
