"""The lab's network: a bridge with fixed addresses, so that hosts can be told where the services are."""

import ipaddress

import docker

from lab import engine, settings, topology
from lab.machine import LabError


def create() -> docker.models.networks.Network:
    """Give the lab's network, made in the first of our address ranges that's free on this machine."""
    found = find()
    if found:
        return found
    client = engine.client()
    for subnet in settings.SUBNETS:
        pool = docker.types.IPAMPool(subnet=subnet, gateway=str(ipaddress.ip_network(subnet)[1]))
        try:
            return client.networks.create(
                settings.NETWORK,
                driver="bridge",
                labels=settings.OURS,
                ipam=docker.types.IPAMConfig(pool_configs=[pool]),
                check_duplicate=True,
            )
        except docker.errors.APIError as error:
            if "overlap" not in str(error).lower():
                raise
    raise LabError(f"None of {', '.join(settings.SUBNETS)} is free here. Name a free one: VERL_LAB_SUBNET=10.9.8.0/24")


def find() -> docker.models.networks.Network | None:
    """Give the lab's network where it exists."""
    found = engine.client().networks.list(names=[f"^{settings.NETWORK}$"])
    return found[0] if found else None


def address(last: int) -> str:
    """Give the address that ends in `last`."""
    network = find()
    if not network:
        raise LabError("The lab isn't up. Start it: make lab")
    network.reload()
    return str(ipaddress.ip_network(network.attrs["IPAM"]["Config"][0]["Subnet"])[last])


def web_address() -> str:
    """Address of the web server (packages, git)."""
    return address(topology.WEB_ADDRESS)


def registry() -> str:
    """HOST:PORT of the image registry."""
    return f"{address(topology.REGISTRY_ADDRESS)}:{settings.REGISTRY_PORT}"


def attach(last: int) -> dict:
    """Arguments that put a container into the network at a fixed address."""
    client = engine.client()
    endpoint = client.api.create_endpoint_config(ipv4_address=address(last))
    return {"network": settings.NETWORK, "networking_config": {settings.NETWORK: endpoint}}
