"""The JSON Schemas in catalog/schema/: their validators, and what jsonschema finds wrong, in our words."""

import difflib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

MISSING = "the Python package jsonschema is missing on the controller. Run: python3 -m pip install 'jsonschema>=4.23'"
LONGEST = 160


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a value, and where inside it."""

    path: tuple[str, ...]
    found: str
    needed: str
    fix: str = ""


def shown(value: Any) -> str:
    """A value as a message shows it: short, and on one line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


@cache
def read(file: Path) -> dict[str, Any]:
    """A schema file."""
    return json.loads(file.read_text(encoding="utf-8"))


@cache
def checker(file: Path, *part: str) -> Any:
    """The validator of a schema file, or of the part that these keys lead to."""
    try:
        from jsonschema import Draft202012Validator
    except ImportError:
        raise ModuleNotFoundError(MISSING) from None
    whole = inner = read(file)
    for key in part:
        inner = inner[key]
    return Draft202012Validator({**inner, "$defs": whole.get("$defs", {})})


def problems(validator: Any, value: Any, show: Callable[[Any], str] = shown) -> list[Problem]:
    """All that is wrong with a value; `show` puts what was found into a message."""
    found: list[Problem] = []
    for error in validator.iter_errors(value):
        error = _deepest(error)
        path = tuple(str(part) for part in error.absolute_path)
        if "propertyNames" in error.absolute_schema_path:
            found.append(Problem((*path, error.instance), "a name of another form", needed(error)))
        elif error.validator in ("required", "additionalProperties"):
            found += _fields(error, path)
        else:
            found.append(Problem(path, show(error.instance), needed(error), _quotes(error)))
    return sorted(dict.fromkeys(found), key=lambda problem: problem.path)


def needed(error: Any) -> str:
    """What would be right, in words: the schema's own (`words`), or from the keyword that was broken."""
    kind, wanted = error.validator, error.validator_value
    if "words" in error.schema:
        return error.schema["words"]
    if kind == "enum":
        return f"one of {', '.join('null' if value is None else str(value) for value in wanted)}"
    if kind == "type":
        return " or ".join(wanted if isinstance(wanted, list) else [wanted])
    return f"text like {wanted}" if kind == "pattern" else f"{kind} {shown(wanted)}"


def _fields(error: Any, path: tuple[str, ...]) -> list[Problem]:
    """The fields that are missing, or unknown: jsonschema reports them one by one, and each time all of them."""
    known = error.schema.get("properties", {})
    if error.validator == "required":
        about = {name: known.get(name, {}).get("description", "").rstrip(".") for name in error.validator_value}
        return [
            Problem((*path, name), "nothing", f"a value ({words})" if words else "a value")
            for name, words in about.items()
            if name not in error.instance
        ]
    wanted = error.schema.get("words") or f"one of {', '.join(sorted(known)) or 'no such key'}"
    found = []
    for name in sorted(str(name) for name in error.instance if name not in known):
        near = difflib.get_close_matches(name, known, n=1)
        found.append(Problem((*path, name), "an unknown field", wanted, f"Did you mean `{near[0]}`?" if near else ""))
    return found


def _quotes(error: Any) -> str:
    number = isinstance(error.instance, int | float) and not isinstance(error.instance, bool)
    return "Put it in quotes" if error.validator == "type" and "string" in error.validator_value and number else ""


def _deepest(error: Any) -> Any:
    """Of `X or null` the complaint about X."""
    while error.validator == "anyOf" and error.context:
        real = [inner for inner in error.context if inner.validator_value != "null"]
        error = max(real or error.context, key=lambda inner: len(inner.absolute_path))
    return error
