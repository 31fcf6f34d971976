"""A document that doesn't fit is refused with a sentence that says where and how."""

import copy
import json

import pytest

from verl_provision.boundary import documents, schema
from verl_provision.cli import doctor
from verl_provision.cli.progress import Run
from verl_provision.paths import ROOT

FACTS = json.loads((ROOT / "tests/fixtures/facts/h100x8_580.json").read_text())


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        (("os", "kernel"), 6, "os.kernel is a number, 6, needed string"),
        (("os", "kernel"), None, "os.kernel is null, needed string"),
        (("nvidia", "gpus", 3, "name"), ["x"], "nvidia.gpus[3].name is a list, needed string"),
        (("user", "sudo"), "sure", 'user.sudo is text, "sure", needed one of "free", "password", "none"'),
        (("cpu", "count"), -1, "cpu.count is a number, -1, needed minimum 0"),
        (("memory", "total_mb"), float("nan"), "memory.total_mb is a number beyond all bounds"),
        (("network", "address"), "10.0.0.66 } flush ruleset", "network.address is text"),
        (("images",), [{"id": "x"}], "images[0] has no engine"),
        (("os", "owner"), "x", "os.owner is unknown"),
        (("stamps",), {"docker_engine": {"key": 7}}, "stamps.docker_engine.key is a number, 7, needed string or null"),
        (("pythons",), [None] * 60_000, "pythons holds more than any honest one"),
    ],
)
def test_facts_that_are_none_are_told_by_their_first_fault(path, value, why):
    facts = copy.deepcopy(FACTS)
    at = facts
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    with pytest.raises(documents.Refused, match="this host's facts are not facts: ") as refused:
        documents.facts(facts)
    assert why in str(refused.value)


def test_facts_come_in_as_they_are_but_for_what_a_terminal_obeys():
    assert documents.facts(FACTS) == FACTS
    odd = copy.deepcopy(FACTS)
    odd["nvidia"]["gpus"][0]["name"] = "H100\x1b]0;owned\x07"
    assert documents.facts(odd)["nvidia"]["gpus"][0]["name"] == "H100\\u001b]0;owned\\u0007"


def test_of_a_host_that_was_asked_for_little_the_rest_may_be_missing():
    some = {key: FACTS[key] for key in ("schema_version", "network", "errors", "seconds")}
    assert documents.facts(some, given_only=True) == some
    with pytest.raises(documents.Refused, match="it has no os"):
        documents.facts(some)
    with pytest.raises(documents.Refused, match="network is a list"):
        documents.facts({**some, "network": []}, given_only=True)


def test_a_keyword_that_the_checks_do_not_know_is_an_error_of_ours():
    with pytest.raises(ValueError, match="uniqueItems"):
        schema._made({"type": "array", "uniqueItems": True}, {}, {})


def test_the_board_and_doctor_show_and_do_not_obey():
    run = Run(0)
    run.take({"event": "playbook_on_play_start", "event_data": {"name": "Pull the image"}}, 1)
    event = {"host": "bad", "res": {"msg": "x\x1b[2J\u202e\ngood: verified"}}
    said = run.take({"event": "runner_on_failed", "event_data": event}, 1)
    finding = doctor.finding("bad", "x\x1b[2J\u202ey", None, None)
    for line in (*said, *run.failures, *doctor.lines([finding])):
        assert "\x1b" not in line and "\u202e" not in line and "\n" not in line
