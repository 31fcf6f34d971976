"""What a mirror of the fleet's images has to hold, and how each host's engine can be made to use it. Pure."""

from collections.abc import Mapping
from typing import Any

from verl_provision import versions
from verl_provision.catalog.references import registry

NOBODY = ["all:!all"]  # a pattern that matches no host


def plan(fleet: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """`{images: [{ref, digest}], clients: [NAME], registries: {NAME: []}}`; images as hosts want them, each once.

    `clients` are the hosts that pull by Docker, `registries` those that the mirror stands in for on a host: none where
    its engine can't be told so.
    """
    wanted = {}
    for host in fleet["hosts"].values():
        if host["image"]:
            wanted.setdefault(
                host["image"]["ref"], {"ref": host["image"]["ref"], "digest": host["image"]["digest"] or ""}
            )
    origins = sorted({registry(ref) for ref in wanted})
    clients = [name for name, host in fleet["hosts"].items() if host["image"] and host["backend"] == "docker"]
    registries = {name: origins if reads_hosts_toml(facts.get(name)) else [] for name in clients}
    return {"images": list(wanted.values()), "clients": clients or NOBODY, "registries": registries}


def reads_hosts_toml(facts: Any) -> bool:
    """Docker from 28.0 on with the containerd store; the older store asks registry-mirrors, for Docker Hub alone."""
    docker = (((facts or {}).get("engines") or {}).get("docker")) or {}
    found = docker.get("version")
    return bool(found) and versions.compare(found, "28.0.0") >= 0 and docker.get("storage_driver") == "overlayfs"
