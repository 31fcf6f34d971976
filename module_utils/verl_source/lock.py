"""The lock of a prefix: one build at a time.

flock(2), because the kernel lets it go when its holders die, however they die. The pip processes of a build hold
it too (they inherit the descriptor): while an orphan of a killed build still writes, nobody else starts.
"""

from __future__ import annotations

import fcntl
import json
import os
import time


class Lock:
    def __init__(self, path):
        self.path = path
        self.fd = None

    def try_acquire(self):
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            return False
        self.fd = fd
        return True

    def acquire(self, timeout, pause=0.5):
        deadline = time.monotonic() + timeout
        while not self.try_acquire():
            if time.monotonic() >= deadline:
                return False
            time.sleep(min(pause, max(0.01, deadline - time.monotonic())))
        return True

    def sign(self, **holder):
        """Say in the file who holds the lock."""
        text = json.dumps(dict(holder, pid=os.getpid(), since=int(time.time()))).encode()
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, text, 0)

    def holder(self):
        try:
            with open(self.path, encoding="utf-8") as handle:
                value = json.load(handle)
        except (OSError, ValueError):
            return {}
        return value if isinstance(value, dict) else {}

    def release(self):
        """The work is done: nobody's name stays in the file."""
        if self.fd is not None:
            os.ftruncate(self.fd, 0)
            self.forget()

    def forget(self):
        """Close our descriptor only: a forked builder keeps the lock through its own."""
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


def held(path):
    """Whether somebody holds the lock at `path`; never creates the file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False
