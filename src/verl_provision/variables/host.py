"""A host's variables, picked out of the inventory and read; hosts that say the same share what was read."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from verl_provision import catalog
from verl_provision.plain import to_plain
from verl_provision.variables import settings
from verl_provision.variables.parse import parse
from verl_provision.variables.schema import Error, error


@dataclass(frozen=True, slots=True)
class Variables:
    """What a user asks for on one host. Shared between hosts: never changed in place."""

    values: dict[str, Any]  # every `verl_*` variable that is no secret, defaults filled in
    given: frozenset[str]  # the `verl_*` variables that the inventory sets
    secrets: tuple[str, ...]  # the names of those that are given
    settings: dict[str, dict[str, Any]]  # by role; of secrets only the names
    errors: tuple[Error, ...]


class Reader:
    """Reads hosts of one run."""

    def __init__(self) -> None:
        self._known: dict[str, Variables] = {}
        self._catalogs: dict[tuple[str, ...], list[Error]] = {}

    def read(self, variables: Mapping[Any, Any]) -> Variables:
        """One host's variables; nothing has been connected to yet."""
        raw, errors = collect(variables)
        key = repr(sorted(raw.items()))
        if key not in self._known:
            self._known[key] = self._read(raw)
        found = self._known[key]
        return replace(found, errors=(*errors, *found.errors)) if errors else found

    def _read(self, raw: dict[str, Any]) -> Variables:
        asked = {name: raw[name] for name in raw if name.startswith("verl_") and not settings.role_of(name)}
        roles, errors = settings.read_all({name: raw[name] for name in raw if name not in asked})
        parsed = parse(asked, settings.variables())
        errors += [*parsed.errors, *self._overlay(parsed.values["verl_catalog_extra"])]
        return Variables(parsed.values, frozenset(asked), parsed.secrets, roles, tuple(errors))

    def _overlay(self, files: list[str]) -> list[Error]:
        """What is wrong with a host's own catalog entries."""
        key = tuple(files)
        if files and key not in self._catalogs:
            self._catalogs[key] = []
            try:
                catalog.load(extra=files)
            except catalog.CatalogError as problem:
                self._catalogs[key] = [
                    {
                        "variable": "verl_catalog_extra",
                        "found": str(problem),
                        "needed": "files that follow catalog/schema/images.json",
                        "fix": "Mend the file; docs/catalog.md shows an entry.",
                    }
                ]
        return self._catalogs.get(key, [])


def collect(variables: Mapping[Any, Any]) -> tuple[dict[str, Any], list[Error]]:
    """`(ours among a host's variables, with plain values; what is wrong with those that have none)`."""
    raw: dict[str, Any] = {}
    errors: list[Error] = []
    said = variables.get("ansible_facts")  # Ansible makes variables of a host's facts, unless it is told not to
    said = said if isinstance(said, Mapping) else {}
    for key in sorted(variables, key=str):
        if not isinstance(key, str):
            errors.append(_not_a_name(key, variables))
        elif is_ours(str(key)) and key in said:
            errors.append(_said_by_the_host(str(key)))
        elif is_ours(str(key)):
            try:
                raw[str(key)] = to_plain(variables[key])
            except Exception as problem:  # a template that fails, a vault without its password
                errors.append(_unreadable(str(key), problem))
    return raw, errors


@lru_cache(maxsize=4096)
def is_ours(name: str) -> bool:
    """Whether a variable is meant for us: by its prefix, or a role's misspelt."""
    if name.endswith(settings.RESULT):
        return False
    return name.startswith("verl_") or bool(settings.role_of(name) or settings.meant(name))


def _not_a_name(key: Any, variables: Mapping[Any, Any]) -> Error:
    return error(str(key), variables[key], "a name that is text", "Put the name in quotes, or remove the variable.")


def _said_by_the_host(name: str) -> Error:
    """A host asks nothing for itself, such as a command that the controller runs."""
    return {
        "variable": name,
        "found": "a value among the facts that the host gave of itself",
        "needed": "a value from the inventory or the command line",
        "fix": "Clear the fact cache (ansible-playbook --flush-cache), and see which module on that host says so.",
    }


def _unreadable(name: str, problem: Exception) -> Error:
    return {
        "variable": name,
        "found": f"a value that can't be worked out: {' '.join(str(problem).split())[:300]}",
        "needed": "a value that is known before any host is looked at",
        "fix": "Correct it, or give the vault's password (--ask-vault-pass).",
    }
