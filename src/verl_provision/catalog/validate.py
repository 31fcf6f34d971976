"""Check entries against the schemas in catalog/schema/. Only overlays and the tests need this."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from verl_provision.catalog.errors import CatalogError, Fault, shown

MISSING = "python3 -m pip install 'jsonschema>=4.23'"
# section -> where its entries' schema is inside the file's schema
ENTRY = {
    "images": ("images", ("$defs", "image")),
    "releases": ("releases", ("$defs", "release")),
    "gpus": ("gpus", ("properties", "products", "items")),
    "managers": ("managers", ("properties", "managers", "items")),
}


def faults_of(section: str, entry: Any, file: str, item: str, schemas: Path) -> list[Fault]:
    """What is wrong with one entry of a section."""
    checker = _checker(section, str(schemas))
    errors = sorted(
        checker.iter_errors(entry), key=lambda error: ([str(part) for part in error.absolute_path], error.message)
    )
    faults: list[Fault] = []
    for error in errors:
        deepest = _deepest(error)
        faults += _absent(deepest, file, item) if deepest.validator == "required" else [_fault(deepest, file, item)]
    return list(dict.fromkeys(faults))


def _absent(error: Any, file: str, item: str) -> list[Fault]:
    """A fault for each field that is missing (jsonschema reports them one by one, and each time all of them)."""
    path, fields = [str(part) for part in error.absolute_path], error.schema.get("properties", {})
    faults = []
    for name in error.validator_value:
        if name not in error.instance:
            about = fields.get(name, {}).get("description", "").rstrip(".")
            faults.append(
                Fault(file, item, ".".join([*path, name]), "nothing", f"a value ({about})" if about else "a value")
            )
    return faults


def _fault(error: Any, file: str, item: str) -> Fault:
    """jsonschema's error in our words."""
    field = ".".join(str(part) for part in error.absolute_path)
    kind, wanted = error.validator, error.validator_value
    if kind == "additionalProperties":
        odd = sorted(str(name) for name in error.instance if name not in error.schema.get("properties", {}))
        known = ", ".join(sorted(error.schema.get("properties", {}))) or "no such key"
        return Fault(file, item, f"{field}.{odd[0] if odd else ''}".strip("."), "an unknown field", f"one of {known}")
    fix = ""
    if kind == "enum":
        needed = f"one of {', '.join('null' if value is None else str(value) for value in wanted)}"
    elif kind == "type":
        kinds = wanted if isinstance(wanted, list) else [wanted]
        needed = " or ".join(kinds)
        if "string" in kinds and isinstance(error.instance, int | float) and not isinstance(error.instance, bool):
            fix = "Put it in quotes"
    elif kind == "pattern":
        needed = f"text like {wanted}"
    else:
        needed = f"{kind} {shown(wanted)}"
    return Fault(file, item, field, shown(error.instance), needed, fix)


def _deepest(error: Any) -> Any:
    """Of `X or null` the complaint about X."""
    while error.validator == "anyOf" and error.context:
        real = [inner for inner in error.context if inner.validator_value != "null"]
        error = max(real or error.context, key=lambda inner: len(inner.absolute_path))
    return error


@cache
def _checker(section: str, schemas: str) -> Any:
    try:
        from jsonschema import Draft202012Validator
    except ImportError:
        fault = Fault(
            "verl_catalog_extra", "", "", "no Python package jsonschema", "jsonschema, to check it", f"Run: {MISSING}"
        )
        raise CatalogError([fault]) from None
    name, path = ENTRY[section]
    whole = json.loads((Path(schemas) / f"{name}.json").read_text())
    part = whole
    for step in path:
        part = part[step]
    return Draft202012Validator({**part, "$defs": whole.get("$defs", {})})
