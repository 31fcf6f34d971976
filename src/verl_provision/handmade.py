"""Facts made by hand: a machine described in a few words, in the shape that verl_host_facts gives."""

import difflib
from dataclasses import dataclass
from typing import Any

from verl_provision import catalog as catalogs
from verl_provision.catalog import products

FABRIC = {"installed": True, "active": True, "nvswitch": False}  # of a board whose switches are no PCI devices
EVERYTHING_FITS_GB = 2000.0
PODMAN_ROOT = "/home/user/.local/share/containers/storage"
NOBODY_KNOWS = {"cpu": None, "pci_ids": [], "open_kernel_modules": "optional", "memory_gb": [], "extra_services": []}


class UnknownGpu(ValueError):
    """A GPU that neither catalog/gpus.yml nor catalog/vendors.yml knows."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What a person says about a machine."""

    gpu: str | None = None
    gpu_count: int = 8
    driver: str | None = None
    arch: str | None = None
    docker: bool = True
    sudo: bool = True
    podman: bool = False
    apptainer: bool = False
    compute_capability: str | None = None  # of a GPU that the catalog doesn't know
    disk_gb: float = EVERYTHING_FITS_GB  # free, for engines and in the home alike


def facts(machine: Machine, catalog: dict[str, Any]) -> dict[str, Any]:
    """The facts of a healthy machine of this kind. Raises UnknownGpu."""
    found = _healthy(machine)
    if not machine.gpu_count or (machine.gpu is None and machine.compute_capability is None):
        return found
    vendor = _other_vendor(machine.gpu, catalog) if machine.gpu else None
    if vendor:
        name, product = vendor
        found["other_accelerators"][name] = {"present": True, "name": product, "devices": machine.gpu_count}
        return found
    product = catalogs.gpu(catalog, machine.gpu) if machine.gpu else None
    if product is None and machine.compute_capability is None:
        raise UnknownGpu(_unknown(str(machine.gpu), catalog))
    product = product or {**NOBODY_KNOWS, "name": machine.gpu or "a GPU"}
    if machine.compute_capability:
        product = {**product, "compute_capability": machine.compute_capability}
    found["arch"] = machine.arch or product["cpu"] or "x86_64"
    found["pci"]["gpus"] = [
        {
            "address": f"0000:{index + 16:02x}:00.0",
            "vendor": "10de",
            "device": (product["pci_ids"] or ["0000"])[0],
            "driver": "nvidia" if machine.driver else None,
        }
        for index in range(machine.gpu_count)
    ]
    found["nvidia"] |= _nvidia(machine, product)
    if (machine.docker or machine.podman) and machine.driver:
        found["toolkit"] = {
            "installed": True,
            "version": catalog["cuda"]["toolkit"]["default_version"],
            "packages": {},
            "mode": "auto",
            "cdi_specs": ["/var/run/cdi/nvidia.yaml"],
        }
    if machine.docker and machine.driver:
        found["engines"]["docker"] |= {"runtimes": ["nvidia", "runc"], "gpus_flag": True}
    return found


def _nvidia(machine: Machine, product: dict[str, Any]) -> dict[str, Any]:
    if machine.driver is None:
        return {"state": "not_installed", "reason": "no driver is installed", "fix": "Name one with --driver."}
    flavour = {"required": "open", "no": "proprietary"}.get(product["open_kernel_modules"])
    return {
        "state": "ok",
        "driver_version": machine.driver,
        "userspace_version": machine.driver,
        "module_on_disk": machine.driver,
        "kernel_modules": flavour,
        **({"fabric_manager": FABRIC | {"version": machine.driver}} if "nvlsm" in product["extra_services"] else {}),
        "gpus": [
            {
                "index": index,
                "uuid": f"GPU-{index:08d}",
                "name": product["name"],
                "memory_mb": max(product["memory_gb"]) * 1024 if product["memory_gb"] else None,
                "compute_capability": product["compute_capability"],
                "mig": None,
                "mig_devices": 0,
            }
            for index in range(machine.gpu_count)
        ],
    }


def _healthy(machine: Machine) -> dict[str, Any]:
    root = {"free_gb": machine.disk_gb, "total_gb": machine.disk_gb}
    return {
        "schema_version": 1,
        "os": {
            "id": "ubuntu",
            "version": "24.04",
            "codename": "noble",
            "family": "debian",
            "kernel": "6.8.0",
            "systemd": True,
            "pretty": "Ubuntu 24.04",
        },
        "arch": machine.arch or "x86_64",
        "python": {"version": "3.12.3", "executable": "/usr/bin/python3", "venv": True},
        "pythons": [{"version": "3.12.3", "executable": "/usr/bin/python3.12", "venv": True}],
        "user": {
            "name": "user",
            "uid": 1000,
            "home": "/home/user",
            "root": False,
            "sudo": "free" if machine.sudo else "none",
            "docker_group": machine.docker,
        },
        "cpu": {"count": 64},
        "memory": {"total_mb": 1_000_000, "available_mb": 950_000},
        "shm": {"size_mb": 500_000},
        "disk": {
            "engine_root": {"path": "/var/lib/docker", **root},
            "home": {"path": "/home/user", **root},
            **({"podman_root": {"path": PODMAN_ROOT, **root}} if machine.podman else {}),
        },
        "pci": {"gpus": []},
        "nvidia": {
            "state": "none",
            "reason": None,
            "fix": None,
            "driver_version": None,
            "userspace_version": None,
            "module_on_disk": None,
            "kernel_modules": None,
            "reboot_pending": False,
            "umd_cuda": None,
            "smi": {"path": None, "rc": None, "seconds": None},
            "gpus": [],
            "processes": [],
            "fabric_manager": {"installed": False, "active": None, "version": None, "nvswitch": False},
        },
        "other_accelerators": {
            "amd": {"present": False, "name": None, "devices": 0},
            "ascend": {"present": False, "name": None, "devices": 0},
        },
        "engines": {
            "docker": {
                "installed": machine.docker,
                "version": "28.3.0" if machine.docker else None,
                "reachable": machine.docker,
                "reason": None if machine.docker else "docker is not on PATH",
                "with_sudo": machine.docker and machine.sudo,
                "rootless": False,
                "host": None,
                "root_dir": "/var/lib/docker" if machine.docker else None,
                "storage_driver": "overlay2" if machine.docker else None,
                "cgroup_driver": "systemd" if machine.docker else None,
                "runtimes": ["runc"] if machine.docker else [],
                "default_runtime": "runc" if machine.docker else None,
                "live_restore": False if machine.docker else None,
                "swarm": False if machine.docker else None,
                "gpus_flag": False if machine.docker else None,
                "cdi": False if machine.docker else None,
                "cdi_devices": [],
                "daemon_json": {"path": None, "parsed": None, "error": None, "newer_than_engine": None},
                "running": [],
                "started_at": None,
            },
            "podman": {
                "installed": machine.podman,
                "version": "5.4.2" if machine.podman else None,
                "rootless": True,
                "subids": machine.podman,
                "root_dir": PODMAN_ROOT if machine.podman else None,
                "running": [],
            },
            "apptainer": {"installed": machine.apptainer, "version": "1.4.1" if machine.apptainer else None},
        },
        "toolkit": {"installed": False, "version": None, "packages": {}, "mode": None, "cdi_specs": []},
        "images": [],
        "container": None,
        "managers": {"conda": None, "mamba": None, "micromamba": None, "uv": None},
        "source_environment": None,
        "verl_checkout": None,
        "stamps": {},
        "verification": None,
        "network": {"default_interface": None, "address": None, "infiniband": []},
        "ray": {"running": False, "session": None, "busy": False, "container": None},
        "errors": [],
        "seconds": 0,
    }


def _other_vendor(name: str, catalog: dict[str, Any]) -> tuple[str, str] | None:
    """(amd or ascend, product) where the name is one of theirs."""
    for vendor, about in catalog["vendors"]["vendors"].items():
        for product in about["products"]:
            if any(products.is_a(name, alias) for alias in (product["name"], *product["aliases"])):
                return vendor, product["name"]
    return None


def _unknown(name: str, catalog: dict[str, Any]) -> str:
    known = [product["name"] for product in catalog["gpus"]["products"]]
    spelled = {alias: product["name"] for product in catalog["gpus"]["products"] for alias in product["aliases"]}
    near = difflib.get_close_matches(name.lower(), spelled, n=1, cutoff=0.6)
    hint = f"did you mean {spelled[near[0]]}? " if near else ""
    return f"unknown GPU {name!r}; {hint}known: {', '.join(known)}"
