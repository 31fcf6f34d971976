"""Ten thousand random combinations of variables: each is valid, or refused by name before its host is looked at."""

import json
import random

import jsonschema
import pytest

from tests.unit.decide.machines import loaded, recorded
from verl_provision import fleet
from verl_provision.plan.fleet import plan_host
from verl_provision.variables import Request, entries, schema, secrets, settings

ABOUT = {"mode": "plan", "started": "2026-11-24T10:00:00Z", "ansible": "2.19.14", "limit": None}
FACTS = ("h100x8_580", "h100x8_550", "no_gpu")
JUNK = [None, True, False, 0, -1, 1.5, 10**30, float("nan"), "", " ", "x", "true", "~", "/", "0.9.0", "v9", "é", "\0"]
JUNK += ["a\nb", "https://a@b/c", "http://proxy:3128", [], ["a", 1], {}, {"a": "b"}, {"r.example": {"username": "a"}}]


def combination(dice: random.Random) -> dict:
    """A few variables of a host: right ones, misspelt ones, and values that fit or don't."""
    known = {name: about for name, about in entries().items() if name not in secrets()}
    names = [*known, *secrets(), *schema()["removed"], *dice.sample(settings.variables(), 5)]
    chosen = {}
    for name in dice.sample(names, dice.randint(0, 5)):
        about = known.get(name, {})
        if dice.random() < 0.15:
            at = dice.randrange(len(name))
            name = name[:at] + dice.choice("xyz_") + name[at + 1 :]
        choices = [*about.get("enum", []), *([about["default"]] if "default" in about else [])]
        chosen[name] = dice.choice(choices) if choices and dice.random() < 0.7 else dice.choice(JUNK)
    return chosen


def judge(variables: dict, facts: dict, checker: jsonschema.Draft202012Validator) -> bool:
    """Whether a combination is valid; either way everything that must hold of it does."""
    run = fleet.begin({"host": variables}, ["host"], ABOUT)
    host = run["hosts"]["host"]
    for error in host["errors"]:
        named = error["variable"].split(".")[0]
        assert named in variables, error
        assert all(error[part] for part in ("found", "needed", "fix")), error
    if host["errors"]:
        assert run["look_at"] == fleet.NO_HOSTS
        return False
    checker.validate(host["variables"])
    planned = plan_host(facts, Request.of(host["variables"]), loaded(), host["settings"])
    assert [error for error in planned["errors"] if error["rule"] in ("internal", "wishes")] == []
    assert planned["ok"] or planned["errors"] or planned["rejected"]
    return True


def try_out(count: int) -> None:
    dice, checker = random.Random(20261125), jsonschema.Draft202012Validator(schema())
    facts = [recorded(name) for name in FACTS]
    valid = sum(judge(combination(dice), dice.choice(facts), checker) for _ in range(count))
    assert count / 20 < valid < count * 19 / 20  # both kinds are met


def test_a_thousand_random_combinations_are_valid_or_refused_by_name():
    try_out(1000)


@pytest.mark.slow
def test_ten_thousand_random_combinations_are_valid_or_refused_by_name():
    try_out(10_000)


def test_a_refusal_is_plain_data():
    dice = random.Random(7)
    for _ in range(200):
        json.dumps(fleet.begin({"host": combination(dice)}, ["host"], ABOUT)["hosts"]["host"]["errors"])
