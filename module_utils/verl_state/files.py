"""The one writer of files on a host, and of the controller's reports; and how they are read."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat


def read_json(path):
    """The object in `path`, or None where there is none that can be read."""
    try:
        with open(path, encoding="utf-8") as handle:
            value = json.load(handle)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def write(path, content, mode=0o644, like=None, check=None):
    """Put a file in place whole: whoever reads it, and whatever is killed or loses power, sees the old or the new one.

    `content` is text or bytes. Owner and mode are those of the file `like`, where it exists; `check` is called with the
    new file's path before it takes the place of the old one, and keeps it out by raising.
    """
    folder, name = os.path.split(path)
    os.makedirs(folder or ".", mode=0o755, exist_ok=True)
    scratch = os.path.join(folder, ".%s.new" % name)  # one name: what a killed run left is used by the next
    descriptor = _claim(scratch)
    try:
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(content if isinstance(content, bytes) else content.encode("utf-8"))
            if like and os.path.exists(like):
                there = os.stat(like)
                os.fchown(descriptor, there.st_uid, there.st_gid)
                mode = stat.S_IMODE(there.st_mode)
            os.fchmod(descriptor, mode)
            handle.flush()
            if check:
                check(scratch)
            put(scratch, path)
    except BaseException:
        remove(scratch)
        raise


def _claim(scratch):
    """A descriptor of the empty scratch file. Two writers at once take turns: the lock goes with the descriptor."""
    while True:
        try:
            descriptor = os.open(scratch, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            remove(scratch)
            continue
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        ours = os.fstat(descriptor)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(ours, os.lstat(scratch)):  # else the other one has just put it in place
                if stat.S_ISREG(ours.st_mode) and (ours.st_nlink, ours.st_uid) == (1, os.geteuid()):
                    os.ftruncate(descriptor, 0)
                    return descriptor
                remove(scratch)  # somebody's link, or worse
        os.close(descriptor)


def put(scratch, path):
    """Have a file, whole and on the disk, take the place of another."""
    sync(scratch)
    os.replace(scratch, path)
    with contextlib.suppress(OSError):  # not every file system can
        sync(os.path.dirname(path) or ".")


def sync(path):
    """Bring a file or a folder's list of names to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unwritten(path, error):
    """What a module says (`msg`, `fix`) where a file can't be written."""
    folder = os.path.dirname(path) or "."
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder) or "."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        fix = "df -h {0}; df -i {0}; free space there, then run again".format(folder)
    elif error.errno == errno.EROFS:
        fix = "findmnt -T {0}; mount it so that it can be written, then run again".format(folder)
    else:
        fix = "ls -ld {0}; it must belong to the user that Ansible logs in as, or becomes".format(folder)
    why = error.strerror or error
    return {"msg": "{0} can't be written: {1}. What was there is as it was.".format(path, why), "fix": fix}


def write_json(path, value, mode=0o644):
    """Put an object in place as JSON."""
    write(path, json.dumps(value, indent=2, sort_keys=True) + "\n", mode)


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
