"""Facts without identities: what names a machine, a person or a place is replaced, the same by the same."""

import ipaddress
import re
from collections.abc import Callable
from typing import Any

PUBLIC = (  # hosts that everybody knows
    "docker.com", "docker.io", "nvidia.com", "nvidia.github.io", "ubuntu.com", "debian.org", "github.com", "ghcr.io",
    "nvcr.io", "quay.io", "python.org", "pypi.org", "pytorch.org", "huggingface.co", "redhat.com", "fedoraproject.org",
)  # fmt: skip
UUID = re.compile(r"\b(?:[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12})\b")
MAC = re.compile(r"\b(?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}\b|\b(?:[0-9a-fA-F]{4}:){3}[0-9a-fA-F]{4}\b")
ADDRESS = re.compile(r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F]*(?::[0-9a-fA-F]*){2,7})(?![\w.:])")
NAME = re.compile(r"(?<![\w:/.@-])(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?\.)+[a-zA-Z]{2,24}(?=[:/]|$)")
URL_HOST = re.compile(r"(?<=://)(?:[^/@\s]*@)?([^/:\s]+)")
HERE = ("127.0.0.1", "0.0.0.0", "::1", "::")
FILES = (
    "yml",
    "yaml",
    "json",
    "list",
    "sources",
    "gpg",
    "asc",
    "conf",
    "so",
    "py",
    "sif",
    "sock",
    "service",
    "toml",
    "pref",
)


class Replaced:
    """What stands for each identity that was met, in the order of meeting them."""

    def __init__(self, facts: dict[str, Any], names: tuple[str, ...] = ()):
        user = facts.get("user") or {}
        self.known: dict[str, str] = {}
        self.words = {name: "gpu-1" for name in names if len(name) > 2}
        if user.get("name") not in (None, "root"):
            self.words[str(user["name"])] = "ops"
        self.home = str(user.get("home") or "/root")
        self.new_home = "/root" if user.get("root") else "/home/ops"

    def text(self, value: str) -> str:
        """The text without identities."""
        if self.home not in ("/", "/root"):
            value = re.sub(re.escape(self.home) + r"(?=/|$)", self.new_home, value)
        value = UUID.sub(self._by(lambda number: f"00000000-0000-4000-8000-{number:012d}"), value)
        value = URL_HOST.sub(self._host, value)
        value = ADDRESS.sub(self._address, value)
        value = MAC.sub(self._by(lambda number: f"02:00:00:00:00:{number % 256:02x}"), value)
        value = NAME.sub(self._name, value)
        for word, new in self.words.items():
            value = re.sub(rf"(?<![\w-]){re.escape(word)}(?![\w-])", new, value)
        return value

    def all(self, value: Any) -> Any:
        """A document without identities."""
        if isinstance(value, dict):
            return {self.text(str(key)): self.all(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.all(inner) for inner in value]
        return self.text(value) if isinstance(value, str) else value

    def _new(self, found: str, make: Callable[[int], str]) -> str:
        if found in self.known.values():
            return found
        return self.known.setdefault(found, make(len(self.known) + 1))

    def _by(self, make: Callable[[int], str]) -> Callable[[re.Match[str]], str]:
        return lambda match: self._new(match[0], make)

    def _address(self, match: re.Match[str]) -> str:
        try:
            address = ipaddress.ip_address(match[0])
        except ValueError:
            return match[0]
        if str(address) in HERE:
            return match[0]
        form = "192.0.2.{}" if address.version == 4 else "2001:db8::{:x}"
        return self._new(match[0], lambda number: form.format(number % 255))

    def _host(self, match: re.Match[str]) -> str:
        host = match[1]
        if host.endswith(PUBLIC) or host.endswith(".invalid") or host in HERE:
            return host
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return self._new(host, "host-{}.invalid".format)
        return host

    def _name(self, match: re.Match[str]) -> str:
        name = match[0]
        if name.endswith((*PUBLIC, ".invalid")) or name.rpartition(".")[2] in FILES:
            return name
        return self._new(name, "host-{}.invalid".format)


def facts(found: dict[str, Any], names: tuple[str, ...] = ()) -> dict[str, Any]:
    """A host's facts without identities; `names` are what else the machine is called."""
    return Replaced(found, names).all(found)
