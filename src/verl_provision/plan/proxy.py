"""Which hosts are reached through the proxy, and whether Docker's daemon has it yet."""

import ipaddress
from collections.abc import Iterable

from verl_provision.catalog.references import registry
from verl_provision.facts import Docker

HERE = ("localhost", "127.0.0.1", "::1")
HUB_API = "registry-1.docker.io"  # where docker.io is spoken to


def registry_of(reference: str) -> str:
    """The host (without a port) that an image is pulled from."""
    host = registry(reference)
    return HUB_API if host in ("docker.io", "index.docker.io") else host.rpartition(":")[0] or host


def direct(host: str, without: Iterable[str]) -> bool:
    """Whether `no_proxy` says that a host is reached without the proxy: by name, domain, address or network."""
    for name in (*HERE, *without):
        if host == name or host.endswith("." + name.lstrip(".")):
            return True
        try:
            if ipaddress.ip_address(host) in ipaddress.ip_network(name, strict=False):
                return True
        except ValueError:
            continue
    return False


def daemon_has(docker: Docker, proxy: str) -> bool:
    """Whether the daemon pulls through this proxy already; docker info masks a login, so that isn't compared."""
    return all(bare(found) == bare(proxy) for found in docker.proxies)


def bare(url: str) -> str:
    """A proxy's address without scheme and login."""
    return url.partition("://")[2].rpartition("@")[2].rstrip("/")
