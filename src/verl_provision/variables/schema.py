"""catalog/schema/variables.json, the one list of all variables, and its entries in words."""

import difflib
import json
import re
from functools import cache
from typing import Any

from verl_provision import schemas
from verl_provision.paths import CATALOG

SCHEMA = CATALOG / "schema/variables.json"
# What may carry a password isn't repeated in a message: by the variable's name, and in an address.
_SECRET = re.compile(r"token|passw|secret|login|credential|api_?key|proxy")
_USER_PART = re.compile(r"://[^/\s]*@")

Error = dict[str, Any]  # {variable, found, needed, fix}


def schema() -> dict[str, Any]:
    """The schema as it lies there."""
    return schemas.read(SCHEMA)


@cache
def entries() -> dict[str, dict[str, Any]]:
    """Each variable's own schema by name, secrets too; what it refers to is in it."""
    shared = schema()["$defs"]
    return {
        name: {**shared[about["$ref"].rpartition("/")[2]], **about} if "$ref" in about else about
        for name, about in schema()["properties"].items()
    }


@cache
def secrets() -> tuple[str, ...]:
    """The variables that hold secrets."""
    return tuple(name for name, about in entries().items() if about.get("writeOnly"))


def defaults() -> dict[str, Any]:
    """Every variable that is no secret, with its default."""
    return {name: _copy(about["default"]) for name, about in entries().items() if not about.get("writeOnly")}


def _copy(value: Any) -> Any:
    return list(value) if isinstance(value, list) else value


def describe(about: dict[str, Any]) -> str:
    """What values a variable takes, in words."""
    if "enum" in about:
        return "one of " + ", ".join(about["enum"])
    if "words" in about:
        return about["words"]
    words = {"boolean": "true or false", "array": "a list of files", "integer": "a whole number", "number": "a number"}
    said = words.get(kind_of(about), "a string")
    if "exclusiveMinimum" in about:
        said += f" above {about['exclusiveMinimum']}"
    if "minimum" in about:
        said += f" of at least {about['minimum']}"
    if "unit" in about:
        said += f" ({about['unit']})"
    if "pattern" in about:
        said += f" matching {about['pattern']}"
    return said


def kind_of(about: dict[str, Any]) -> str:
    """The type of an entry, beside null."""
    return about["type"][0] if isinstance(about["type"], list) else about["type"]


def error(name: str, value: Any, needed: str, fix: str) -> Error:
    """What is wrong with a variable's value."""
    return {"variable": name, "found": shown(name, value), "needed": needed, "fix": fix}


def shown(name: str, value: Any) -> str:
    """A value as a message shows it: short, and nothing of it where it may be a secret."""
    if _SECRET.search(name.lower()):
        return "a value"
    found = repr(value) if isinstance(value, str) else _short(value)
    return _USER_PART.sub("://***@", found)[:200]


def _short(value: Any) -> str:
    try:
        return json.dumps(value, default=lambda odd: type(odd).__name__)
    except (ValueError, TypeError, RecursionError):
        return type(value).__name__


def nearest(name: str, known: Any, otherwise: str, *, cutoff: float = 0.6, put: str = "{}") -> str:
    """The fix for a name or a value that nobody knows: the one that was probably meant, or `otherwise`."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=cutoff)
    return f"Did you mean `{put.format(near[0])}`?" if near else otherwise
