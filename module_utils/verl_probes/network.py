# Copyright the verl-provision authors
# SPDX-License-Identifier: Apache-2.0
"""Interface of the default route, InfiniBand, and what of Ray runs on the host."""

from __future__ import annotations

import os

RAY_DAEMONS = ("raylet", "gcs_server")
# Ray's own workers, which are there without any job (names are cut to 15 characters by the kernel).
RAY_OWN = ("ray::IDLE", "ray::DashboardA", "ray::RuntimeEnv", "ray::IDLE_Spill", "ray::IDLE_Resto")
SESSION = "/tmp/ray/session_latest"
PAM = ("/usr/lib/%s-linux-gnu/security", "/usr/lib64/security", "/usr/lib/security")  # %s: the architecture


def network(host):
    interface, address = host.default_address()
    return {
        "default_interface": interface,
        "address": address,
        "infiniband": host.listdir(host.kernel("/sys/class/infiniband")),
    }


def ray(host):
    names = host.processes()
    running = any(name in RAY_DAEMONS for name in names)
    return {
        "running": running,
        "session": host.link_target(SESSION) if running else None,
        "busy": any(name.startswith("ray::") and name not in RAY_OWN for name in names),
    }


def user_service(host):
    """What can keep Ray running without an engine: the login user's own systemd. None where there is none.

    It is there in a session, and always where the user lingers; without PAM's module it can't start.
    """
    uid, name, home = host.identity()
    runtime = host.runtime_dir()
    modules = [os.path.join(folder.replace("%s", host.uname().machine), "pam_systemd.so") for folder in PAM]
    able = host.exists(runtime + "/systemd/private") or any(host.exists(path) for path in modules)
    if not able or not host.exists("/run/systemd/system"):
        return None
    linger = host.exists("/var/lib/systemd/linger/" + name)
    found = {"linger": linger, "may_linger": linger or uid == 0 or _may_linger(host), "unit": False, "running": False}
    unit = host.ray_container_name + ".service"
    if host.exists(os.path.join(home, ".config/systemd/user", unit)):
        systemctl = host.which("systemctl")
        found["unit"] = True
        asked = [systemctl, "--user", "is-active", "--quiet", unit]
        found["running"] = bool(systemctl) and host.run(asked, env={"XDG_RUNTIME_DIR": runtime}).ok
    return found


def _may_linger(host):
    """Whether polkit lets this user switch his own lingering on without a password. Nothing is switched."""
    pkcheck = host.which("pkcheck")
    action = ["--action-id", "org.freedesktop.login1.set-self-linger", "--process", str(os.getpid())]
    return bool(pkcheck) and host.run([pkcheck] + action).ok
