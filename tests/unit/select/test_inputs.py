"""A decision reads its declared inputs and nothing else, and these are the key under which hosts share it."""

import ast
import dataclasses
import typing
from pathlib import Path

import pytest

from tests.unit.decide.machines import known, loaded, machine, preferences, selection
from verl_provision.facts import Accelerator, Host, Python, Store, System
from verl_provision.plan import fleet
from verl_provision.select import inputs
from verl_provision.select.inputs import Preferences, SelectionFacts
from verl_provision.select.rules import RULES

SELECT = Path(inputs.__file__).parent
MODULES = sorted(path for path in SELECT.rglob("*.py") if path.name != "wanted.py")  # that one reads variables
# What code that decides may import of the rest of the project.
ALLOWED = ("verl_provision.select", "verl_provision.catalog", "verl_provision.versions", "verl_provision.decide.junk")
VALUES = {"Accelerator", "NVIDIA", "Python", "Store", "System"}  # of facts.py: parts of SelectionFacts
VALUES |= {"NO_NAMESPACES"}  # a sentence that two backends share


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SELECT)))
def test_no_module_that_decides_sees_a_whole_host(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert not any(alias.name.startswith("verl_provision") for alias in node.names), ast.unparse(node)
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("verl_provision"):
            continue
        names = {alias.name for alias in node.names}
        if node.module == "verl_provision":
            assert names <= {"versions"}, ast.unparse(node)
        elif node.module == "verl_provision.facts":
            assert names <= VALUES | ({"Host"} if path.name == "inputs.py" else set()), ast.unparse(node)
        else:
            assert node.module.startswith(ALLOWED), ast.unparse(node)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_is_given_facts_preferences_and_catalog(rule):
    given = typing.get_type_hints(rule.function)
    del given["return"]
    assert list(given)[1:] == ["facts", "preferences", "catalog"]
    assert given["facts"] is SelectionFacts and given["preferences"] is Preferences
    assert given["catalog"] is type(known())


OTHER = {bool: [True, False], str: ["another"], float: [0.5], int: [7]}


def others(value):
    """Values of the same kind that are not `value`."""
    if isinstance(value, tuple):
        return [()] if value else [("another",)]
    if isinstance(value, frozenset):
        return [value | {"another"}]
    if value is None or dataclasses.is_dataclass(value):
        return ["another"]
    return [other for other in OTHER[type(value)] if other != value]


@pytest.mark.parametrize(
    "value",
    [selection(machine()), selection(machine(docker=False)), preferences(), selection(machine()).gpus[0]],
    ids=["facts", "facts without docker", "preferences", "accelerator"],
)
def test_every_field_is_part_of_the_key(value):
    for about in dataclasses.fields(value):
        for other in others(getattr(value, about.name)):
            changed = dataclasses.replace(value, **{about.name: other})
            assert changed != value and hash(changed) != hash(value), about.name


def test_the_inputs_are_frozen_throughout():
    seen, left = set(), [SelectionFacts, Preferences, Accelerator, Python, Store, System]
    while left:
        kind = left.pop()
        seen.add(kind)
        assert kind.__dataclass_params__.frozen, kind
        for hint in typing.get_type_hints(kind).values():
            for part in [hint, *typing.get_args(hint)]:
                assert typing.get_origin(part) not in (dict, list, set), (kind, hint)
                assert part not in (dict, list, set), (kind, hint)
                if dataclasses.is_dataclass(part) and part not in seen:
                    left.append(part)
    assert Host not in seen


def test_hosts_share_a_decision_by_what_it_reads_and_by_nothing_else(monkeypatch):
    asked = []
    real = fleet.decisions.decide
    monkeypatch.setattr(fleet.decisions, "decide", lambda *given: asked.append(given) or real(*given))
    roomy, roomier = ({"engine_root": {"free_gb": size}} for size in (1500.0, 1600.0))
    hosts = {
        "one": {"facts": machine(disk=roomy), "request": {}},
        "same for the decision": {"facts": machine(disk=roomier, memory={"total_mb": 5}), "request": {}},
        "another folder, the same preferences": {"facts": machine(), "request": {"verl_prefix": "/srv/verl"}},
        "another engine": {"facts": machine(), "request": {"verl_engine": "sglang"}},
        "another driver": {"facts": machine(driver="550.163.01"), "request": {}},
    }
    fleet.plan_fleet(hosts, loaded())
    assert len(asked) == 3
