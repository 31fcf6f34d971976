"""What the user wishes: read `verl_*` variables, fill in defaults, cast strings, refuse by name. Stdlib only."""

import difflib
import json
import math
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from verl_provision.paths import CATALOG

SCHEMA = CATALOG / "schema/wishes.json"
_TRUE = {"true", "yes", "on", "1", "y", "t"}
_FALSE = {"false", "no", "off", "0", "n", "f"}
_UNSET = {"", "none", "null", "~"}
# What may carry a password isn't repeated in a message: by the variable's name, and in an address.
_SECRET = re.compile(r"token|passw|secret|login|credential|api_?key|proxy")
_USER_PART = re.compile(r"://[^/\s]*@")

Error = dict[str, Any]


@lru_cache(maxsize=1)
def schema() -> dict[str, Any]:
    """catalog/schema/wishes.json, the one list of all wishes."""
    return json.loads(SCHEMA.read_text(encoding="utf-8"))


def defaults() -> dict[str, Any]:
    """Every wish with its default value."""
    return {name: _copy(about["default"]) for name, about in schema()["properties"].items()}


def parse(raw: Any, also: Iterable[str] = ()) -> tuple[dict[str, Any], list[Error]]:
    """Return `(wishes, errors)`: all wishes with defaults filled in, and `{variable, found, needed, fix}` per fault.

    Only `verl_*` names are looked at; a faulty one keeps its default. `also` are variables that are no wishes and may
    have been meant by an unknown name. Never raises.
    """
    known = schema()["properties"]
    wishes, errors = defaults(), []
    if not isinstance(raw, dict):
        return wishes, [
            _error("verl_*", raw, "a mapping of variable names to values", "Give the variables as a mapping.")
        ]
    for name, value in raw.items():
        if not isinstance(name, str) or not name.startswith("verl_"):
            continue
        if name not in known:
            errors.append(_unknown(name, value, also))
            continue
        value, needed = _read(value, known[name])
        if needed is None:
            wishes[name] = value
        else:
            errors.append(_error(name, value, needed, _fix(name, value, known[name])))
    return wishes, errors


def _read(value: Any, about: dict[str, Any]) -> tuple[Any, str | None]:
    """Cast `value` to what the schema asks for; the second value says what would be right where it isn't."""
    kinds = about["type"] if isinstance(about["type"], list) else [about["type"]]
    given = value
    if isinstance(value, str):
        value = value.strip()
        if unset(value) and "none" not in about.get("enum", []):
            value = None
    if value is None:
        return (_copy(about["default"]), None)
    kind = kinds[0]
    value = _cast(value, kind)
    good = value is not None and _in_range(value, about)
    return (value, None) if good else (given, describe(about))


def unset(value: Any) -> bool:
    """Whether a variable's value says that there is none."""
    return value is None or (isinstance(value, str) and value.strip().lower() in _UNSET)


def _cast(value: Any, kind: str) -> Any:
    if kind == "boolean":
        if isinstance(value, str):
            return True if value.lower() in _TRUE else False if value.lower() in _FALSE else None
        return value if isinstance(value, bool) else None
    if kind in ("integer", "number"):
        return _number(value, kind)
    if kind == "array":
        value = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        good = isinstance(value, list) and all(isinstance(item, str) and item for item in value)
        return value if good else None
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):  # `verl_version: 0.9` in YAML is a float
        return str(value)
    return value if isinstance(value, str) else None


def _number(value: Any, kind: str) -> int | float | None:
    if isinstance(value, str):
        try:
            value = float(value) if re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", value, re.ASCII) else None
        except (ValueError, OverflowError):
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    if kind == "integer":
        return int(value) if value == int(value) else None
    return int(value) if value == int(value) else float(value)


def _in_range(value: Any, about: dict[str, Any]) -> bool:
    if "enum" in about and value not in about["enum"]:
        return False
    if "pattern" in about and not re.search(about["pattern"], value, re.ASCII):
        return False
    if isinstance(value, str) and ("\n" in value or "\0" in value):
        return False
    if "minimum" in about and value < about["minimum"]:
        return False
    if "exclusiveMinimum" in about and value <= about["exclusiveMinimum"]:
        return False
    return not ("maximum" in about and value > about["maximum"])


def describe(about: dict[str, Any]) -> str:
    """What values a wish takes, in words."""
    if "enum" in about:
        return "one of " + ", ".join(about["enum"])
    if "words" in about:
        return about["words"]
    kind = about["type"][0] if isinstance(about["type"], list) else about["type"]
    words = {"boolean": "true or false", "array": "a list of files", "integer": "a whole number", "number": "a number"}
    said = words.get(kind, "a string")
    if "exclusiveMinimum" in about:
        said += f" above {about['exclusiveMinimum']}"
    if "minimum" in about:
        said += f" of at least {about['minimum']}"
    if "unit" in about:
        said += f" ({about['unit']})"
    if "pattern" in about:
        said += f" matching {about['pattern']}"
    return said


def _fix(name: str, value: Any, about: dict[str, Any]) -> str:
    near = difflib.get_close_matches(str(value).lower(), about.get("enum", []), n=1, cutoff=0.5)
    if near:
        return f"Did you mean `{name}: {near[0]}`?"
    return f"Set `{name}` to {describe(about)}, or leave it out."


def _unknown(name: str, value: Any, also: Iterable[str]) -> Error:
    now = schema()["removed"].get(name)
    if now:
        return _error(name, value, f"{now}, its name today", f"Rename it to `{now}`.")
    near = difflib.get_close_matches(name, [*schema()["properties"], *also], n=1, cutoff=0.6)
    fix = f"Did you mean `{near[0]}`?" if near else "See catalog/schema/wishes.json for the list, or leave it out."
    found = shown("".join([name, *near]), value)  # what was meant may be a secret
    return {"variable": name, "found": found, "needed": "a variable that exists", "fix": fix}


def _error(name: str, value: Any, needed: str, fix: str) -> Error:
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


def _copy(value: Any) -> Any:
    return list(value) if isinstance(value, list) else value
