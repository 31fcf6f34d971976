"""Which run is at work on a host: a file that says so, and whether whoever wrote it still lives."""

import contextlib
import fcntl
import getpass
import hashlib
import os
import socket
import time

from ansible.module_utils.verl_state import files

HELD = 6 * 3600  # seconds after which a run that nobody can ask about counts as dead, as for pull mode


def started(pid):
    """When a process started, in the kernel's measure; None where there is none. A pid alone may be another's."""
    try:
        with open("/proc/{0}/stat".format(int(pid)), encoding="utf-8") as handle:
            fields = handle.read().rpartition(")")[2].split()
    except (OSError, TypeError, ValueError):
        return None
    return None if fields[0] == "Z" else int(fields[19])


def identity(pid):
    """What a controller says of itself and of its run's process."""
    said = {}
    for name, path in (("machine", "/etc/machine-id"), ("boot", "/proc/sys/kernel/random/boot_id")):
        said[name] = ""
        with contextlib.suppress(OSError), open(path, encoding="utf-8") as handle:
            said[name] = handle.read().strip()
    name = socket.gethostname()
    said["machine"] = hashlib.sha256((said["machine"] + name).encode()).hexdigest()[:16]
    with contextlib.suppress(KeyError, OSError, ImportError):
        name = "{0}@{1}".format(getpass.getuser(), name)
    return dict(said, pid=pid, started=started(pid), who=name)


def dead(holder, me):
    """Whether a holder is known to be gone; only the machine that it ran on can know."""
    if not me["boot"] or holder.get("machine") != me["machine"]:
        return False
    return holder.get("boot") != me["boot"] or started(holder.get("pid")) != holder.get("started")


@contextlib.contextmanager
def turn(path):
    """One at a time; the lock is let go however this ends."""
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    with open(path + ".lock", "a", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def take(path, run, me, over=""):
    """Claim the host for a run. Returns (the other's claim or None, whether ours is new)."""
    with turn(path):
        holder = files.read_json(path) or {}
        if holder.get("run") == run:
            return None, False
        try:
            age = time.time() - os.stat(path).st_mtime
        except OSError:
            age = HELD
        # A claim dated ahead is of a clock that was set back, or of somebody who wants no more runs.
        standing = bool(holder.get("run")) and abs(age) < HELD and holder.get("run") != over
        if standing and not dead(holder, identity(os.getpid())):
            return dict(holder, minutes=int(max(age, 0) // 60)), False
        files.write_json(path, dict(me, run=run))
        return None, True


def leave(path, run):
    """Take a run's own claim away. Returns whether there was one."""
    with turn(path):
        ours = (files.read_json(path) or {}).get("run") == run
        if ours:
            files.remove(path)
        return ours


def pulling(hold, run):
    """Keep pull runs away, and return whether one is at work already.

    First the file, then a look at the lock: a pull run takes the lock and then looks for the file, so one of the two
    always sees the other.
    """
    files.write(os.path.join(hold, "push"), run + "\n")
    try:
        with open(os.path.join(os.path.dirname(hold), "lock"), encoding="utf-8") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        files.remove(os.path.join(hold, "push"))
        return error.strerror or str(error)
    return ""
