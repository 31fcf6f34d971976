"""Settings: role variables that a user sets himself, checked against the roles' argument_specs."""

import difflib
from functools import lru_cache
from typing import Any

import yaml

from verl_provision.paths import ROOT
from verl_provision.variables.schema import Error, error, nearest

ROLES = ROOT / "roles"
RESULT = ("_result", "_ready")  # what a role leaves behind carries its name too


@lru_cache(maxsize=1)
def specs() -> dict[str, dict[str, Any]]:
    """`{role: {variable: its argument spec}}` of all roles."""
    found = {}
    for path in sorted(ROLES.glob("*/meta/argument_specs.yml")):
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"].values()
        found[path.parents[1].name] = {name: spec for entry in entries for name, spec in entry["options"].items()}
    return found


@lru_cache(maxsize=32)
def open_variables(role: str) -> frozenset[str]:
    """A role's variables that hold no secret."""
    return frozenset(name for name, spec in specs()[role].items() if not _secret(spec))


def _secret(spec: dict[str, Any]) -> bool:
    return any(about.get("no_log") for about in (spec, *spec.get("options", {}).values()))


def variables() -> list[str]:
    """Every role's variables."""
    return [name for options in specs().values() for name in options]


def role_of(variable: str) -> str | None:
    """The role whose variable this is meant to be."""
    return next((role for role in specs() if variable.startswith(role + "_")), None)


@lru_cache(maxsize=4096)
def meant(variable: str) -> str | None:
    """The role's variable that was probably meant by a name that is no role's: the role misspelt, the rest right."""
    for role, options in specs().items():
        for name in options:
            rest = name.removeprefix(role)
            if name != variable and variable.endswith(rest):
                given = variable.removesuffix(rest).lower()
                alike = abs(len(given) - len(role)) <= 1
                if alike and difflib.SequenceMatcher(None, given, role).ratio() >= 0.9:
                    return name
    return None


def misspelt(variable: str, value: Any, name: str) -> Error:
    """A variable that has the name of a role almost."""
    fix = f"Did you mean `{name}`? If not, give it a name that can't be taken for it."
    return error(variable, value, "a variable that exists", fix)


def read_all(given: dict[str, Any]) -> tuple[dict[str, dict[str, Any]], list[Error]]:
    """`(settings by role as a plan may know them, what is wrong)` of variables that are a role's or meant to be."""
    found: dict[str, dict[str, Any]] = {}
    errors: list[Error] = []
    for name, value in given.items():
        role = role_of(name)
        if role is None:
            errors.append(misspelt(name, value, str(meant(name))))
            continue
        value, wrong = read(role, name, value)
        if wrong:
            errors.append(wrong)
        else:
            found.setdefault(role, {})[name] = public(role, name, value)
    return found, errors


def read(role: str, variable: str, value: Any) -> tuple[Any, Error | None]:
    """`(the value as the role's own types have it, what is wrong with it)`."""
    spec = specs()[role].get(variable)
    if spec is None:
        fix = nearest(variable, specs()[role], f"docs/roles/{role}.md lists what the role takes.")
        return value, error(variable, value, f"a variable of role {role}", fix)
    outer = {name: part for name, part in spec.items() if name != "options"}
    cast, fits = _cast(outer, value)
    if fits and "options" in spec:  # apart: Ansible's own check raises on the options of what is no mapping
        dummy, fits = _cast(spec, value)
    if fits:
        return value if spec["type"] == "path" else cast, None  # a path's ~ is the host's
    wrong = error(variable, value, needed(spec), f"Correct `{variable}`, or leave it out.")
    return value, {**wrong, "found": "a value"} if spec.get("no_log") else wrong


def _cast(spec: dict[str, Any], value: Any) -> tuple[Any, bool]:
    from ansible.module_utils.common.arg_spec import ArgumentSpecValidator  # takes longer to import than a plan to make

    result = ArgumentSpecValidator({"it": {**spec, "required": False}}).validate({"it": value})
    return result.validated_parameters.get("it"), not result.error_messages


def needed(spec: dict[str, Any]) -> str:
    """What values a variable takes, in words."""
    if "choices" in spec:
        return "one of " + ", ".join(str(choice) for choice in spec["choices"])
    words = {
        "bool": "true or false", "int": "a whole number", "float": "a number", "dict": "a mapping", "list": "a list",
        "path": "a path",
    }  # fmt: skip
    return words.get(spec["type"], "text")


def public(role: str, variable: str, value: Any) -> Any:
    """What a plan may know of a setting: of a secret, only that it is there and, in a mapping, under which names."""
    spec = specs()[role][variable]
    if not _secret(spec):
        return value
    return sorted(str(name) for name in value) if isinstance(value, dict) else bool(value)
