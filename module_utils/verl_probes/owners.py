# Copyright the verl-provision authors
# SPDX-License-Identifier: Apache-2.0
"""What root in a container leaves in a user's checkout, so that git could begin to move it and not end."""

from __future__ import annotations

import os

LIMIT = 20000  # paths looked at; a checkout of verl has 1,500


def stuck(path, tracked, uid):
    """The paths in a checkout that keep this user's git from moving it; `tracked` are the names of its files."""
    folders = sorted({os.path.dirname(name) for name in tracked[:LIMIT]})
    found = [name for name in folders if not _may(os.path.join(path, name), os.W_OK | os.X_OK)]
    found += [name for name in tracked[:LIMIT] if not _may(os.path.join(path, name), os.R_OK)]
    left = LIMIT
    for folder, _folders, names in os.walk(os.path.join(path, ".git")):
        for name in [""] + [each for each in names if not each.endswith((".pack", ".idx"))]:
            place = os.path.join(folder, name)
            try:
                if os.lstat(place).st_uid != uid:
                    found.append(os.path.relpath(place, path))
            except OSError:
                continue  # a file that a git at work made and removed
        left -= len(names)
        if left < 0:
            break
    return found


def _may(path, mode):
    """Whether a path may be used so; one that is missing is none's."""
    return os.path.islink(path) or not os.path.exists(path) or os.access(path, mode)
