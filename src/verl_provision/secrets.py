"""Secrets: which variables they are, and whether they have the right shape. No value of one is ever in a message."""

import difflib
import json
import re
from functools import lru_cache
from typing import Any

from verl_provision.wishes import SCHEMA as WISHES
from verl_provision.wishes import Error, unset

SCHEMA = WISHES.with_name("secrets.json")
HOW = "Take it from a vault or the environment (docs/secrets.md)"


@lru_cache(maxsize=1)
def schema() -> dict[str, Any]:
    """catalog/schema/secrets.json, the one list of all secrets."""
    return json.loads(SCHEMA.read_text(encoding="utf-8"))


def names() -> tuple[str, ...]:
    """The variables that hold secrets."""
    return tuple(schema()["properties"])


def check(raw: dict[str, Any]) -> tuple[list[str], list[Error]]:
    """`(names of the secrets that are given, what is wrong with their shape)`; `null`, empty and `{}` are not given."""
    given, errors = [], []
    for name, about in schema()["properties"].items():
        value = raw.get(name)
        if unset(value) or value == {}:
            continue
        given.append(name)
        errors += _faults(value, _resolved(about), name)
    return given, errors


def _resolved(about: dict[str, Any]) -> dict[str, Any]:
    return schema()["$defs"][about["$ref"].rpartition("/")[2]] if "$ref" in about else about


def _faults(value: Any, about: dict[str, Any], where: str) -> list[Error]:
    if about["type"] == "string":
        return _string_faults(value, about, where)
    if not isinstance(value, dict):
        return [_error(where, _kind(value), _shape(about), HOW)]
    known, more = about.get("properties", {}), about.get("additionalProperties")
    errors = [
        _error(f"{where}.{name}", "nothing", "a value", HOW) for name in about.get("required", []) if name not in value
    ]
    for name, inner in value.items():
        spelt = f"{where}.{name}"
        if name in known:
            errors += _faults(inner, known[name], spelt)
        elif not isinstance(more, dict):
            near = difflib.get_close_matches(name, known, n=1)
            errors.append(_error(spelt, "an unknown key", _shape(about), f"Did you mean `{(near or list(known))[0]}`?"))
        elif not re.search(about["keys"], name):
            errors.append(_error(spelt, "no name of a registry", "a host, as registry.example.org:5000", "Correct it"))
        else:
            errors += _faults(inner, _resolved(more), spelt)
    return errors


def _string_faults(value: Any, about: dict[str, Any], where: str) -> list[Error]:
    if unset(value):
        return [_error(where, "nothing", "a value", "Is the environment variable set that it is taken from?")]
    if not isinstance(value, str):
        return [_error(where, _kind(value), "text", "Put it in quotes")]
    if not re.search(about["pattern"], value):
        return [_error(where, "a value with white space or a colon where none can be", "the bare value", HOW)]
    return []


def _shape(about: dict[str, Any]) -> str:
    known = about.get("properties")
    return f"a mapping of {' and '.join(known)}" if known else "a mapping of registry to username and password"


def _kind(value: Any) -> str:
    kinds = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "a mapping"}
    return kinds.get(type(value), type(value).__name__)


def _error(where: str, found: str, needed: str, fix: str) -> Error:
    return {"variable": where, "found": found, "needed": needed, "fix": fix if fix.endswith("?") else fix + "."}
