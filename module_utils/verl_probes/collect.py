# Copyright the verl-provision authors
# SPDX-License-Identifier: Apache-2.0
"""All facts, group by group. A probe that breaks loses its own facts only: they are empty and `errors` says why."""

from __future__ import annotations

import time

from . import apt, engines, environment, network, nvidia, os_, pci, pull, pythons, rights, stamps, toolkit

SCHEMA_VERSION = 1
GROUPS = (
    "os",
    "python",
    "user",
    "hardware",
    "disk",
    "nvidia",
    "accelerators",
    "engines",
    "toolkit",
    "environment",
    "stamps",
    "network",
    "ray",
)


class Collector:
    """One look at one host. What several groups need (the user, PCI, the engines) is looked at once."""

    def __init__(self, host):
        self.host = host
        self._user = None
        self._pci = None
        self._engines = None

    def user(self):
        if self._user is None:
            uid, name, home = self.host.identity()
            nobody = {"name": name, "uid": uid, "home": home, "root": uid == 0}
            nobody.update(sudo="free" if uid == 0 else "none", docker_group=False)
            self._user = self.host.guard("user", rights.user, self.host) or nobody
        return self._user

    def devices(self):
        if self._pci is None:
            self._pci = self.host.guard("pci", pci.devices, self.host) or []
        return self._pci

    def engines(self):
        if self._engines is None:
            self._engines = self.host.guard("engines", engines.probe, self.host, self.user()) or engines.empty()
        return self._engines

    # Groups: each returns its top-level keys

    def get_os(self):
        host = self.host
        unknown = {"id": None, "version": None, "codename": None, "family": "other", "kernel": host.uname().release}
        unknown.update(systemd=False, pretty=None)
        found = {"os": host.guard("os", os_.operating_system, host) or unknown, "arch": host.uname().machine}
        packages = host.guard("apt", apt.probe, host)
        return {**found, "apt": packages} if packages and packages != {"sources": []} else found

    def get_python(self):
        host = self.host
        return {"python": pythons.ours(host), "pythons": host.guard("pythons", pythons.on_path, host) or []}

    def get_user(self):
        return {"user": self.user()}

    def get_hardware(self):
        host = self.host
        none = {"total_mb": None, "available_mb": None}
        return {
            "cpu": {"count": host.cpus()},
            "memory": host.guard("memory", os_.memory, host) or none,
            "shm": host.guard("shm", os_.shm, host) or {"size_mb": None},
        }

    def get_disk(self):
        host = self.host
        engines = self.engines()["engines"]
        found = {
            "engine_root": host.guard("disk", os_.room, host, _images_dir(engines["docker"])),
            "home": host.guard("disk", os_.room, host, self.user()["home"]),
            "prefix": host.guard("disk", os_.room, host, host.prefix),
        }
        if engines["podman"]["root_dir"]:
            found["podman_root"] = host.guard("disk", os_.room, host, engines["podman"]["root_dir"])
        return {"disk": found}

    def get_nvidia(self):
        host = self.host
        broken = dict(nvidia.empty(), state="error", reason="the probe itself failed, see errors", fix="report it")
        return {
            "pci": {"gpus": pci.gpus(self.devices())},
            "nvidia": host.guard("nvidia", nvidia.probe, host, self.devices()) or broken,
        }

    def get_accelerators(self):
        return {"other_accelerators": pci.others(self.devices())}

    def get_engines(self):
        found = dict(self.engines())
        del found["ray_container"]
        if not found["kept_containers"]:
            del found["kept_containers"]
        return found

    def get_toolkit(self):
        return {"toolkit": self.host.guard("toolkit", toolkit.probe, self.host) or toolkit.empty()}

    def get_environment(self):
        found = self.host.guard("environment", environment.probe, self.host, self.user())
        return found or environment.empty()

    def get_stamps(self):
        host = self.host
        found = host.guard("stamps", stamps.probe, host) or stamps.empty()
        return {**found, **(host.guard("pull", pull.probe, host) or {})}

    def get_network(self):
        none = {"default_interface": None, "address": None, "infiniband": []}
        return {"network": self.host.guard("network", network.network, self.host) or none}

    def get_ray(self):
        none = {"running": False, "session": None, "busy": False}
        found = self.host.guard("ray", network.ray, self.host) or none
        found = dict(found, container=self.engines()["ray_container"])
        service = self.host.guard("user_service", network.user_service, self.host)
        return {"ray": dict(found, user_service=service) if service else found}


def _images_dir(docker):
    return docker.get("images_dir") or docker["root_dir"] or "/var/lib/docker"


def collect(host, gather=("all",)):
    """The facts document of a host."""
    started = time.monotonic()
    collector = Collector(host)
    facts = {"schema_version": SCHEMA_VERSION}
    for group in GROUPS:
        if "all" in gather or group in gather:
            facts.update(getattr(collector, "get_" + group)())
    facts["errors"] = host.errors
    facts["seconds"] = round(time.monotonic() - started, 3)
    return facts
