"""The site's own variables (catalog/schema/site.json): read, checked and refused by name."""

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from verl_provision import schemas
from verl_provision.boundary.text import visible
from verl_provision.catalog.yaml_file import read as read_yaml
from verl_provision.paths import CATALOG

SCHEMA = CATALOG / "schema/site.json"
TABLE = CATALOG / "render.yml"


def entries() -> dict[str, dict[str, Any]]:
    """Every variable's own schema, by name."""
    return schemas.read(SCHEMA)["properties"]


def table() -> dict[str, Any]:
    """catalog/render.yml: what differs by vendor."""
    return read_yaml(TABLE)


def value(text: str) -> Any:
    """A value from the command line: YAML, so that numbers, lists and mappings can be given; else the text itself."""
    if re.fullmatch(r"[\d:-]+", text) and ":" in text:
        return text  # a time: YAML would make seconds of it
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return text
    return text if found is None or not isinstance(found, str | int | bool | list | dict) else found


def check(target: str, given: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """All variables with their values, and what is wrong with those that are given."""
    known = entries()
    own = {name for name, about in known.items() if target in about["targets"]}
    values = {name: about["default"] for name, about in known.items()}
    errors = []
    for name, found in given.items():
        if name not in known:
            near = difflib.get_close_matches(str(name), sorted(own), n=1)
            hint = f"Did you mean `{near[0]}`?" if near else "See docs/slurm.md and docs/kubernetes.md."
            errors.append(problem(name, "an unknown variable", f"one of {', '.join(sorted(own))}", hint))
        elif name not in own:
            needed = f"a variable that {target} reads: {', '.join(sorted(own))}"
            reads = ", ".join(known[name]["targets"])
            errors.append(problem(name, f"a variable of {reads} alone", needed, "Leave it out."))
        else:
            # A version such as 1.6 and a partition such as 7 are text. Of a time without quotes YAML makes seconds.
            number = isinstance(found, int | float) and not isinstance(found, bool) and name != "time"
            found = str(found) if number and known[name]["type"] in ("string", ["string", "null"]) else found
            values[name] = found
            if not printable(found):
                errors.append(problem(name, "a control character", "printable text on one line", f"See `{name}`."))
                continue
            for wrong in schemas.problems(schemas.checker(SCHEMA, "properties", name), found, visible_in_short(name)):
                where = ".".join((name, *wrong.path))
                errors.append(problem(where, wrong.found, wrong.needed, wrong.fix or f"See `{name}`."))
    return values, errors + secret_values(values)


def printable(value: Any) -> bool:
    """Whether all text in a value stays on its line: `$` in a pattern lets a last newline through."""
    if isinstance(value, Mapping):
        return all(map(printable, (*value, *value.values())))
    if isinstance(value, list):
        return all(map(printable, value))
    return not isinstance(value, str) or (value.isprintable() or value == "")


def secret_values(values: Mapping[str, Any]) -> list[dict[str, str]]:
    """A variable of `env` whose name says that it is a secret: its value would stand in the file."""
    names = re.compile(table()["secret_names"], re.IGNORECASE)
    found = values["env"] if isinstance(values["env"], Mapping) else {}
    return [
        problem(
            f"env.{name}", "a value of what looks like a secret", "its name alone", f'Use --set "secrets=[{name}]".'
        )
        for name in found
        if isinstance(name, str) and names.search(name)
    ]


def visible_in_short(name: str) -> Any:
    """How a refused value is shown; not at all in `env`, where somebody may have put a password."""
    return (lambda value: "a value of another form") if name == "env" else (lambda value: visible(schemas.shown(value)))


def problem(where: str, found: str, needed: str, fix: str) -> dict[str, str]:
    """What is wrong with one variable."""
    return {"rule": "site", "found": f"{where}: {found}", "needed": needed, "where": "--set or --site", "fix": fix}


def read(file: Path) -> dict[str, Any]:
    """The variables in a site's file. Raises CatalogError, or ValueError where it holds no mapping."""
    found = read_yaml(file)
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise ValueError(f"{file}: needed a mapping of the site's variables to values")
    return found
