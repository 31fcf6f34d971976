# Copyright the verl-provision authors
# SPDX-License-Identifier: Apache-2.0
"""The host as the probes see it. Every look at the machine goes through here, so that tests can show a recorded one."""

from __future__ import annotations

import importlib.util
import os
import platform
import pwd
import socket
import stat
import sys

from . import command, namespace

SYSTEM_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


class Host:
    """A machine: its files, its commands, and the list of what could not be read.

    Only /sys and /proc move with probe_root; everything else is the real machine's.
    """

    def __init__(
        self, probe_root="/", timeout=10.0, state_dir="", prefix="", container_name="verl", sudo_password=None
    ):
        self.probe_root = probe_root.rstrip("/")
        self.timeout = timeout
        self.state_dir = state_dir
        self.prefix = prefix
        self.container_name = container_name
        self.ray_container_name = container_name + "-ray"
        self.sudo_password = sudo_password  # that Ansible has for this user; reaches sudo's standard input only
        self.errors = []

    # What could not be read

    def note(self, probe, reason):
        entry = {"probe": probe, "reason": reason}
        if entry not in self.errors:
            self.errors.append(entry)

    def guard(self, probe, function, *arguments):
        """function(*arguments); None where it breaks, with a note, so that the other probes go on."""
        try:
            return function(*arguments)
        except Exception as exc:  # whatever is odd about this host, the facts must come back
            self.note(probe, "%s: %s" % (type(exc).__name__, exc))
            return None

    # Files

    def kernel(self, path):
        """Where a path below /sys or /proc is found."""
        return self.probe_root + path

    def file(self, path):
        """Where any other file is found."""
        return path

    def exists(self, path):
        return os.path.exists(self.file(path))

    def read(self, path, limit=65536):
        """Text of an actual path (from kernel() or file()), stripped; None where it is absent or unreadable."""
        content = self.read_bytes(path, limit)
        return None if content is None else content.decode("utf-8", "replace").strip()

    def read_bytes(self, path, limit=65536):
        try:
            # A FIFO or a device in place of a file would block: only regular files are opened.
            if not stat.S_ISREG(os.stat(path).st_mode):
                return None
            with open(path, "rb") as handle:
                return handle.read(limit)
        except OSError:
            return None

    def listdir(self, path):
        try:
            return sorted(os.listdir(path))
        except OSError:
            return []

    def inode(self, path):
        try:
            return os.stat(self.file(path)).st_ino
        except OSError:
            return None

    def changed_at(self, path):
        """When a file came to be what it is (inode change time: a package keeps its own modification time)."""
        try:
            return os.stat(self.file(path)).st_ctime
        except OSError:
            return None

    def modified_at(self, path):
        try:
            return os.stat(self.file(path)).st_mtime
        except OSError:
            return None

    def space(self, path):
        """(free, total) bytes for an unprivileged user of the file system that holds a path."""
        values = os.statvfs(self.file(path))
        return values.f_bavail * values.f_frsize, values.f_blocks * values.f_frsize

    # Commands

    def search_path(self):
        path = [part for part in os.environ.get("PATH", "").split(os.pathsep) if part.startswith("/")]
        return path + [part for part in SYSTEM_PATH if part not in path]

    def service_path(self):
        """Where a system service looks for commands."""
        return list(SYSTEM_PATH)

    def environment(self):
        env = dict(os.environ, LC_ALL="C", LANGUAGE="C", GIT_OPTIONAL_LOCKS="0", GIT_TERMINAL_PROMPT="0")
        env["PATH"] = os.pathsep.join(self.search_path())
        return env

    def which(self, name, path=None):
        for directory in path if path is not None else self.search_path():
            candidate = os.path.join(directory, name)
            if os.path.isfile(candidate) and os.access(candidate, os.X_OK):
                return candidate
        return None

    def run(self, argv, timeout=None, env=None):
        return command.run(argv, timeout=timeout or self.timeout, env=dict(self.environment(), **(env or {})))

    def run_as_root(self, argv):
        """Through sudo, never asking for a password; under `timeout`, since only root can end what runs as root."""
        limit = "%g" % self.timeout
        said = None if self.sudo_password is None else self.sudo_password + "\n"
        asking = ["sudo", "-n"] if said is None else ["sudo", "-S", "-p", ""]
        wrapped = asking + ["timeout", "-k", "1", limit] + list(argv)
        result = command.run(wrapped, timeout=self.timeout + 2, env=self.environment(), said=said)
        if result.rc == 124:
            result.rc, result.timed_out, result.error = None, True, "no answer within %s s" % limit
        return result

    # The machine and the login user

    def uname(self):
        return platform.uname()

    def cpus(self):
        try:
            return len(os.sched_getaffinity(0))
        except (AttributeError, OSError):
            return os.cpu_count() or 1

    def interpreter(self):
        """(executable, version, whether it makes virtual environments) of the Python that runs this."""
        able = all(importlib.util.find_spec(name) is not None for name in ("ensurepip", "venv"))
        return sys.executable, "%d.%d.%d" % sys.version_info[:3], able

    def identity(self):
        """(uid, name, home) of the user who runs this."""
        uid = os.getuid()
        try:
            entry = pwd.getpwuid(uid)
            return uid, entry.pw_name, entry.pw_dir
        except KeyError:
            return uid, str(uid), os.path.expanduser("~")

    def groups(self):
        """Names of the login user's groups in the user database."""
        import grp

        uid, name, _home = self.identity()
        try:
            gid = pwd.getpwuid(uid).pw_gid
        except KeyError:
            gid = os.getgid()
        return sorted(entry.gr_name for entry in grp.getgrall() if name in entry.gr_mem or entry.gr_gid == gid)

    def runtime_dir(self):
        return os.environ.get("XDG_RUNTIME_DIR") or "/run/user/%d" % self.identity()[0]

    def processes(self):
        """Command names of all processes that can be seen (at most 15 characters each)."""
        names = []
        for entry in self.listdir("/proc"):
            if entry.isdigit():
                name = self.read("/proc/%s/comm" % entry, 64)
                if name:
                    names.append(name)
        return names

    def in_namespace(self, pid):
        """(pid, parent, name) of what runs in the PID namespace of a process; raises OSError where it can't be read."""
        rows = namespace.processes(pid)
        return [(row["pid"], row["parent"], row["name"]) for row in rows if row["state"] != "Z"]

    def link_target(self, path):
        """What /tmp/ray/session_latest and its like point at; None where it is no link."""
        try:
            return os.path.realpath(path) if os.path.islink(path) else None
        except OSError:
            return None

    def default_address(self):
        """(interface, address) that the default route uses; no packet is sent."""
        address = None
        for family, target in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
            try:
                with socket.socket(family, socket.SOCK_DGRAM) as probe:
                    probe.connect((target, 9))
                    address = probe.getsockname()[0]
                    break
            except OSError:
                continue
        return (_interface_of(address) if address else None), address


def _interface_of(address):
    import fcntl
    import struct

    get_address = 0x8915  # SIOCGIFADDR
    if ":" in address:
        return _interface_of_ipv6(address)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _index, name in socket.if_nameindex():
            try:
                reply = fcntl.ioctl(probe.fileno(), get_address, struct.pack("256s", name.encode()[:15]))
            except OSError:
                continue
            if socket.inet_ntoa(reply[20:24]) == address:
                return name
    return None


def _interface_of_ipv6(address):
    packed = socket.inet_pton(socket.AF_INET6, address).hex()
    try:
        with open("/proc/net/if_inet6") as handle:
            for line in handle:
                fields = line.split()
                if len(fields) == 6 and fields[0] == packed:
                    return fields[5]
    except OSError:
        pass
    return None
