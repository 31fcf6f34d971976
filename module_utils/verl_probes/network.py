# Copyright the verl-provision authors
# SPDX-License-Identifier: Apache-2.0
"""Interface of the default route, InfiniBand, and what of Ray runs on the host."""

from __future__ import annotations

RAY_DAEMONS = ("raylet", "gcs_server")
# Ray's own workers, which are there without any job (names are cut to 15 characters by the kernel).
RAY_OWN = ("ray::IDLE", "ray::DashboardA", "ray::RuntimeEnv", "ray::IDLE_Spill", "ray::IDLE_Resto")
SESSION = "/tmp/ray/session_latest"


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
