"""Checks made of a JSON Schema, fast enough for 10,000 hosts: the schema stays the only source.

The library jsonschema takes 30 ms for one host's facts; fastjsonschema takes 140 ms to compile their schema, in every
run. These take 0.1 ms and 2 ms; a property test holds them equal to jsonschema's verdict, on what JSON can hold.
"""

import json
import re
from collections.abc import Callable
from functools import cache, reduce
from typing import Any

from verl_provision.boundary.answer import kind
from verl_provision.boundary.text import visible
from verl_provision.paths import ROOT

Check = Callable[[Any], bool]
# The values of a keyword `type`: Python's types of a JSON value, where a boolean is no number.
TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int, float),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
SAYS_NOTHING = {"$schema", "$id", "title", "description", "$defs", "then", "required", "additionalProperties"}


def compiled(name: str, part: str = "", given_only: bool = False) -> Check:
    """The check of catalog/schema/NAME.json, or of a part of it; `given_only`: without what has to be there."""
    whole, schema = _schema(name, part)
    return _made({**schema, "required": []} if given_only else schema, whole, {})


@cache
def _schema(name: str, part: str) -> tuple[dict[str, Any], dict[str, Any]]:
    whole = json.loads((ROOT / f"catalog/schema/{name}.json").read_text(encoding="utf-8"))
    return whole, whole["$defs"][part] if part else whole


def _made(schema: dict[str, Any], whole: dict[str, Any], made: dict[str, Check]) -> Check:
    """One check of all keywords of a schema."""
    checks: list[Check] = []
    if "properties" in schema or "additionalProperties" in schema or "required" in schema:
        checks.append(_object(schema, whole, made))
    for keyword, value in schema.items():
        if keyword == "properties" or keyword in SAYS_NOTHING:
            continue
        checks.append(_keyword(keyword, value, schema, whole, made))
    return reduce(_both, checks) if checks else lambda value: True


def _both(first: Check, second: Check) -> Check:
    return lambda value: first(value) and second(value)


def _keyword(keyword: str, wanted: Any, schema: dict[str, Any], whole: dict[str, Any], made: dict[str, Check]) -> Check:
    match keyword:
        case "$ref":
            return _reference(wanted, whole, made)
        case "type":
            return _type([wanted] if isinstance(wanted, str) else wanted)
        case "const" | "enum":
            allowed = {(type(item) is bool, item) for item in (wanted if keyword == "enum" else [wanted])}
            return lambda value: _simple(value) and (type(value) is bool, value) in allowed
        case "pattern":
            search = re.compile(wanted).search
            return lambda value: type(value) is not str or search(value) is not None
        case "minLength":
            return lambda value: type(value) is not str or len(value) >= wanted
        case "maxLength":
            return lambda value: type(value) is not str or len(value) <= wanted
        case "minimum":
            return lambda value: type(value) not in (int, float) or value >= wanted
        case "maximum":
            return lambda value: type(value) not in (int, float) or value <= wanted
        case "minItems":
            return lambda value: type(value) is not list or len(value) >= wanted
        case "maxItems":
            return lambda value: type(value) is not list or len(value) <= wanted
        case "maxProperties":
            return lambda value: type(value) is not dict or len(value) <= wanted
        case "propertyNames":
            named = _made(wanted, whole, made)
            return lambda value: type(value) is not dict or all(map(named, value))
        case "items":
            check = _made(wanted, whole, made)
            return lambda value: type(value) is not list or all(map(check, value))
        case "oneOf" | "anyOf":
            checks = [_made(item, whole, made) for item in wanted]
            if keyword == "anyOf":
                return lambda value: any(check(value) for check in checks)
            return lambda value: sum(check(value) for check in checks) == 1
        case "if":
            first, then = _made(wanted, whole, made), _made(schema["then"], whole, made)
            return lambda value: not first(value) or then(value)
    raise ValueError(f"the boundary doesn't know JSON Schema's keyword {keyword}")


def _simple(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)


def _type(names: list[str]) -> Check:
    kinds = frozenset(known for name in names for known in TYPES[name])
    if "integer" not in names or "number" in names:
        return lambda value: type(value) in kinds
    # JSON has one kind of number: 1.0 is an integer.
    return lambda value: type(value) in kinds and (type(value) is not float or value.is_integer())


def _object(schema: dict[str, Any], whole: dict[str, Any], made: dict[str, Check]) -> Check:
    find = {name: _made(part, whole, made) for name, part in schema.get("properties", {}).items()}.get
    needed = frozenset(schema.get("required", ()))
    rest = schema.get("additionalProperties", True)
    other: Check = (lambda value: rest) if isinstance(rest, bool) else _made(rest, whole, made)

    def check(value: Any) -> bool:
        if type(value) is not dict:
            return True
        for name, item in value.items():
            if not find(name, other)(item):
                return False
        return needed <= value.keys()

    return check


def _reference(pointer: str, whole: dict[str, Any], made: dict[str, Check]) -> Check:
    if pointer not in made:
        made[pointer] = lambda value: made[f"{pointer} made"](value)
        made[f"{pointer} made"] = _made(_at(pointer, whole), whole, made)
    return made[pointer]


def _at(pointer: str, whole: dict[str, Any]) -> dict[str, Any]:
    found = whole
    for part in pointer.removeprefix("#/").split("/"):
        found = found[part]
    return found


def fault(name: str, value: Any, part: str = "", given_only: bool = False) -> str:
    """Where and how a value that failed its check is wrong: the first place, in words."""
    whole, schema = _schema(name, part)
    return _fault({**schema, "required": []} if given_only else schema, whole, value, "")


def _fault(schema: dict[str, Any], whole: dict[str, Any], value: Any, path: str) -> str:
    schema = {**_at(schema["$ref"], whole), **schema} if "$ref" in schema else schema
    if isinstance(value, dict):
        for key in schema.get("required", ()):
            if key not in value:
                return f"{path or 'it'} has no {key}"
        for key, item in value.items():
            inner = schema.get("properties", {}).get(key, schema.get("additionalProperties", True))
            if inner is False:
                return f"{_joined(path, key)} is unknown"
            if inner is not True and not _kept(inner, whole)(item):
                return _fault(inner, whole, item, _joined(path, key))
    if isinstance(value, list) and "items" in schema:
        for number, item in enumerate(value):
            if not _kept(schema["items"], whole)(item):
                return _fault(schema["items"], whole, item, f"{path}[{number}]")
    wrong = [
        keyword
        for keyword, wanted in schema.items()
        if keyword not in (*SAYS_NOTHING, "properties", "items")
        and not _keyword(keyword, wanted, schema, whole, {})(value)
    ]
    needed = {key: wanted for key, wanted in schema.items() if key in wrong}
    return f"{path or 'it'} is {_shown(value)}, needed {_words(needed)}"


def _joined(path: str, key: str) -> str:
    return f"{path}.{visible(key)[:60]}".lstrip(".")


_checks: dict[int, Check] = {}  # by the part of a schema, which `_schema` keeps alive


def _kept(part: dict[str, Any], whole: dict[str, Any]) -> Check:
    if id(part) not in _checks:
        _checks[id(part)] = _made(part, whole, {})
    return _checks[id(part)]


def _shown(value: Any) -> str:
    """What a value is; a short one itself, too."""
    text = json.dumps(value)
    return f"{kind(value)}, {text}" if isinstance(value, str | int | float) and len(text) <= 60 else kind(value)


def _words(needed: dict[str, Any]) -> str:
    if "type" in needed:
        return " or ".join([needed["type"]] if isinstance(needed["type"], str) else needed["type"])
    if "enum" in needed:
        return "one of " + ", ".join(json.dumps(item) for item in needed["enum"])
    return ", ".join(f"{key} {json.dumps(wanted)[:120]}" for key, wanted in needed.items()) or "another value"
