"""The firewall of a Ray cluster: what root loads holds addresses, nothing else. Molecule gives it to the real nft."""

import ipaddress
import re
from pathlib import Path

import jinja2
import pytest
from ansible.errors import AnsibleFilterError

from filter_plugins.verl_addresses import verl_addresses

ROLE = Path(__file__).resolve().parents[3] / "roles/ray_cluster"
LINES = re.compile(
    r"""#[^\n]*|table inet verl_ray( \{)?|delete table inet verl_ray|set nodes6? \{|type ipv[46]_addr|\}
    |elements = \{ (?P<addresses>[^ ]+(, [^ ]+)*) \}|chain input \{|iif lo accept|ip saddr @nodes accept
    |ip6 saddr @nodes6 accept|type filter hook input priority filter - 1; policy accept;
    |tcp dport \{ 6379 \} reject with tcp reset""".replace("\n    |", "|")
)


def rules(*addresses):
    """The rules as the role renders them, as lines that are each what a line may be."""
    environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string((ROLE / "templates/ray.nft.j2").read_text())
    text = template.render(__ray_cluster_addresses=verl_addresses(list(addresses)), __ray_cluster_ports=[6379])
    lines = [line.strip() for line in text.splitlines()]
    assert [line for line in lines if not LINES.fullmatch(line)] == []
    for line in lines:
        for word in (LINES.fullmatch(line)["addresses"] or "").split(", "):
            assert not word or ipaddress.ip_address(word)
    assert text.count("{") == text.count("}")
    return lines


def test_ipv4_alone():
    found = rules("192.0.2.12", "192.0.2.11", "192.0.2.11")
    assert "elements = { 192.0.2.11, 192.0.2.12 }" in found
    assert "ip saddr @nodes accept" in found
    assert not any("6" in line for line in found if "addr" in line)


def test_ipv6_alone():
    found = rules("fd00::12", "FD00::11")
    assert "type ipv6_addr" in found
    assert "elements = { fd00::11, fd00::12 }" in found
    assert "ip6 saddr @nodes6 accept" in found
    assert "type ipv4_addr" not in found


def test_both():
    assert {"type ipv4_addr", "type ipv6_addr"} <= set(rules("192.0.2.11", "fd00::11"))


@pytest.mark.parametrize("word", ["192.0.2.66 } } flush ruleset", "gpu-1", "", None, 3232235777, "192.0.2.0/24", "::"])
def test_anything_else_is_an_error(word):
    with pytest.raises(AnsibleFilterError, match="ray_cluster_address"):
        verl_addresses(["192.0.2.11", word])
