# Copyright the verl-provision authors
# SPDX-License-Identifier: Apache-2.0
"""Interface of the default route, InfiniBand, and what of Ray runs on the host."""

from __future__ import annotations

import os
import re

RAY_DAEMONS = ("raylet", "gcs_server")
# Ray's own workers, which are there without any job (names are cut to 15 characters by the kernel).
RAY_OWN = ("ray::IDLE", "ray::DashboardA", "ray::RuntimeEnv", "ray::IDLE_Spill", "ray::IDLE_Resto")
RDMA = "/sys/class/infiniband"
LINKS = {"InfiniBand": "infiniband", "Ethernet": "roce"}
MOST_PORTS = 64
SESSION = "/tmp/ray/session_latest"
PAM = ("/usr/lib/%s-linux-gnu/security", "/usr/lib64/security", "/usr/lib/security")  # %s: the architecture


def network(host):
    interface, address = host.default_address()
    found = {
        "default_interface": interface,
        "address": address,
        "infiniband": host.listdir(host.kernel(RDMA)),
    }
    ports = [port for name in found["infiniband"] for port in _rdma_ports(host, name)][:MOST_PORTS]
    return dict(found, rdma=ports) if ports else found


def _rdma_ports(host, device):
    """Ports of a device for RDMA: InfiniBand, or RoCE where the link is Ethernet."""
    folder = host.kernel("%s/%s/ports" % (RDMA, device))
    for number in host.listdir(folder):
        link, state, rate = (
            host.read(os.path.join(folder, number, name), 64) for name in ("link_layer", "state", "rate")
        )
        speed = re.match(r"(\d+)", rate or "")
        if link in LINKS:
            yield {
                "device": device,
                "link": LINKS[link],
                "up": (state or "").endswith("ACTIVE"),
                "gbps": int(speed.group(1)) if speed else None,
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
