"""Read `verl_*` variables: cast what `-e` gave as text, check by the schema, fill in defaults, refuse by name."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean

from verl_provision import schemas
from verl_provision.variables import schema as listed
from verl_provision.variables.schema import Error, error

_UNSET = {"", "none", "null", "~"}
_KINDS = {str: "a value", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "a mapping"}
EMPTY = "nothing in it"


@dataclass(frozen=True, slots=True)
class Parsed:
    """What `verl_*` variables say. One that is refused has its default here."""

    values: dict[str, Any]  # of every variable that is no secret
    secrets: tuple[str, ...]  # the names of those that are given; their values stay in the inventory
    errors: tuple[Error, ...]


def parse(raw: Any, also: Iterable[str] = ()) -> Parsed:
    """Read a mapping of variables; names that don't start with `verl_` are left alone. Never raises.

    `also` are variables of others that an unknown name may have been meant for.
    """
    values, given, errors = listed.defaults(), set(), []
    if not isinstance(raw, dict):
        fix = "Give the variables as a mapping."
        return Parsed(values, (), (error("verl_*", raw, "a mapping of variable names to values", fix),))
    for name, value in raw.items():
        if not isinstance(name, str) or not name.startswith("verl_"):
            continue
        about = listed.entries().get(name)
        if about is None:
            errors.append(_unknown(name, value, also))
        elif about.get("writeOnly"):
            if not (unset(value) or value == {}):
                given.add(name)
                errors += _secret(name, value)
        elif not (unset(value) and "none" not in about.get("enum", [])) and value is not None:
            value = _cast(value, listed.kind_of(about))
            if _checker(name).is_valid(value) and _printable(value):
                values[name] = value
            else:
                errors.append(_refused(name, raw[name], about))
    return Parsed(values, tuple(name for name in listed.secrets() if name in given), tuple(errors))


def unset(value: Any) -> bool:
    """Whether a variable's value says that there is none."""
    return value is None or (isinstance(value, str) and value.strip().lower() in _UNSET)


def _checker(name: str) -> Any:
    return schemas.checker(listed.SCHEMA, "properties", name)


def _cast(value: Any, kind: str) -> Any:
    """The value as its type, where it can be that: text of `-e`, and `verl_version: 0.9`, which YAML reads as a float.

    Whatever can't stays as it is: the schema refuses it.
    """
    if isinstance(value, str):
        value = value.strip()
        if kind == "array":
            return [part.strip() for part in value.split(",") if part.strip()]
        if kind == "boolean":
            try:
                return boolean(value)
            except TypeError:
                return value
    if kind in ("integer", "number"):
        return _number(value)
    if kind == "string" and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value


def _number(value: Any) -> Any:
    if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", value, re.ASCII):
        value = float(value)
    if isinstance(value, float):
        if not math.isfinite(value):  # no number that a schema could judge
            return str(value)
        return int(value) if value == int(value) else value
    return value


def _printable(value: Any) -> bool:
    """Whether text has no line breaks and other characters that nobody sees."""
    return all(item.isprintable() for item in (value if isinstance(value, list) else [value]) if isinstance(item, str))


def _refused(name: str, value: Any, about: dict[str, Any]) -> Error:
    said = listed.describe(about)
    otherwise = f"Set `{name}` to {said}, or leave it out."
    fix = listed.nearest(str(value).lower(), about.get("enum", []), otherwise, cutoff=0.5, put=f"{name}: {{}}")
    return error(name, value, said, fix)


def _unknown(name: str, value: Any, also: Iterable[str]) -> Error:
    now = listed.schema()["removed"].get(name)
    if now:
        return error(name, value, f"{now}, its name today", f"Rename it to `{now}`.")
    fix = listed.nearest(name, [*listed.entries(), *also], "docs/variables.md lists them all; or leave it out.")
    found = listed.shown(name + fix, value)  # what was meant may be a secret
    return {"variable": name, "found": found, "needed": "a variable that exists", "fix": fix}


def _secret(name: str, value: Any) -> list[Error]:
    """What is wrong with a secret's shape; nothing of it is in the message."""
    errors = []
    for problem in schemas.problems(_checker(name), _without_unset(value), _hidden):
        needed = problem.needed
        fix = f"{problem.fix or 'Take it from a vault or the environment (docs/secrets.md)'}."
        if problem.found == EMPTY:
            needed, fix = "a value", "Is the environment variable set that it is taken from?"
        spelt = ".".join([name, *problem.path])
        errors.append({"variable": spelt, "found": problem.found, "needed": needed, "fix": fix.replace("?.", "?")})
    return errors


def _without_unset(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_unset(inner) for key, inner in value.items()}
    return None if unset(value) else value


def _hidden(value: Any) -> str:
    return EMPTY if value is None else _KINDS.get(type(value), type(value).__name__)
