# Copyright the verl-provision authors
# SPDX-License-Identifier: Apache-2.0
"""The login user's rights: root, sudo, the docker group. Nothing here can ask for a password."""

from __future__ import annotations

import re

ADMIN_GROUPS = ("sudo", "wheel", "admin")
REFUSED = re.compile(r"not in the sudoers file|may not run sudo|not allowed to (?:run|execute)|unknown user")
UNUSABLE = re.compile(r"no new privileges|must be owned by uid 0|effective uid is not 0|must have a tty|no tty present")
NEEDS_PASSWORD = re.compile(r"password is required|interactive authentication is required|askpass", re.IGNORECASE)
EVERYTHING = re.compile(r"(?m)^\s+\([^)]*\)\s+(?:[A-Z]+:\s*)*ALL\s*$")


def sudo(host):
    """free, password or none."""
    if host.identity()[0] == 0:
        return "free"
    if host.which("sudo") is None:
        return "none"
    # -k: a password typed a minute ago must not count as a free sudo.
    tried = host.run(["sudo", "-k", "-n", "true"])
    if tried.ok:
        return "free"
    if tried.timed_out:
        host.note("sudo", tried.error)
        return "none"
    said = tried.stderr + tried.stdout
    if UNUSABLE.search(said):
        host.note("sudo", tried.message())
        return "none"
    if REFUSED.search(said):
        return "none"
    listed = host.run(["sudo", "-n", "-l"])
    said = listed.stderr + listed.stdout
    if listed.ok:
        return "password" if EVERYTHING.search(listed.stdout) else "none"
    if REFUSED.search(said):
        return "none"
    if NEEDS_PASSWORD.search(said) or set(host.groups()) & set(ADMIN_GROUPS):
        return "password"
    host.note("sudo", listed.message())
    return "none"


def no_namespaces(host):
    """Whether the kernel refuses user namespaces to those without rights: no rootless engine starts then."""
    switches = ("/proc/sys/user/max_user_namespaces", "/proc/sys/kernel/unprivileged_userns_clone")
    return any(host.read(host.kernel(path), 32) == "0" for path in switches)


def user(host):
    uid, name, home = host.identity()
    may, answer = sudo(host), None
    if may != "password":
        host.sudo_password = None  # it isn't needed
    elif host.sudo_password is not None:
        answer = "accepted" if host.run_as_root(["true"]).ok else "refused"
        may = "free" if answer == "accepted" else may
    if answer == "refused":
        host.sudo_password = None  # each further try counts against the user
    found = {
        "name": name,
        "uid": uid,
        "home": home,
        "root": uid == 0,
        "sudo": may,
        "docker_group": "docker" in host.groups(),
    }
    if answer:
        found["become_password"] = answer
    if uid and no_namespaces(host):
        found["namespaces"] = False
    return found
