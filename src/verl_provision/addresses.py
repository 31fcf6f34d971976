"""Addresses of nodes, IPv4 and IPv6 alike: what isn't one never reaches a file or a command. Pure."""

import ipaddress
from typing import Any

NEEDED = "an IPv4 or IPv6 address that other hosts reach, as 192.0.2.11 or fd00::11"


def parse(value: Any) -> str | None:
    """The address in its usual form, None where it's none that another host can reach."""
    try:
        found = ipaddress.ip_address(value) if isinstance(value, str) else None
    except ValueError:
        return None
    found = getattr(found, "ipv4_mapped", None) or found
    if found is None or found.is_unspecified or found.is_multicast or getattr(found, "scope_id", None):
        return None
    if found.version == 6 and found.is_link_local:
        return None  # of use only with the name of an interface, which differs by host
    return str(found)


def family(address: str) -> str:
    """`IPv4` or `IPv6`."""
    return "IPv6" if ":" in address else "IPv4"
