"""`doctor --facts`: what names a machine, a person or a place is replaced, and the rest stays what the plan reads."""

import json

import pytest
import yaml

from tests.unit.decide.machines import RECORDED, plan, recorded
from verl_provision import anonymous
from verl_provision.boundary import documents
from verl_provision.cli import main, play

NAMES = sorted(path.stem for path in RECORDED.glob("*.json"))


def machine():
    """A host that names itself everywhere."""
    found = recorded("h100x8_580")
    found["user"].update(name="mwagner", home="/home/mwagner")
    found["nvidia"]["gpus"][0]["uuid"] = "GPU-9a1b2c3d-1111-2222-3333-444455556666"
    found["nvidia"]["processes"] = [{"pid": 7, "gpu_uuid": "GPU-9a1b2c3d-1111-2222-3333-444455556666", "memory_mb": 1}]
    found["network"]["address"] = "10.20.30.40"
    source = {"file": "/etc/apt/sources.list.d/x.list", "suite": "jammy", "signed_by": None, "keys": []}
    found["apt"] = {"sources": [{**source, "uri": "http://mirror.secret-lab.example.org/ubuntu"}]}
    found["errors"] = [
        {
            "probe": "x",
            "reason": "node7 (node7.secret-lab.example.org, 10.20.30.40, fe80::1a2b:3c4d, b8:ce:f6:01:02:03) is odd",
        }
    ]
    found["engines"]["docker"]["elsewhere"] = "node7"
    return found


def test_no_identity_is_left_and_the_same_has_the_same_name():
    told = anonymous.facts(machine(), ("node7.secret-lab.example.org", "node7"))
    written = json.dumps(told)
    for word in ("mwagner", "9a1b2c3d", "10.20.30.40", "secret-lab", "node7", "3c4d", "b8:ce"):
        assert word not in written, word
    assert told["user"]["home"] == "/home/ops"
    assert told["nvidia"]["processes"][0]["gpu_uuid"] == told["nvidia"]["gpus"][0]["uuid"]
    assert told["nvidia"]["driver_version"] == "580.95.05"


@pytest.mark.parametrize("name", NAMES)
def test_it_is_facts_still_and_the_plan_is_the_same(name):
    told = anonymous.facts(recorded(name))
    assert documents.facts(told) == told
    kept = ("ok", "backend", "profile", "image", "verl_version")
    before, after = plan(recorded(name)), plan(told)
    assert [before[key] for key in kept] == [after[key] for key in kept]
    assert list(before["steps"]) == list(after["steps"])
    assert [row["rule"] for row in before["errors"]] == [row["rule"] for row in after["errors"]]


def test_each_host_is_a_document_and_one_that_says_nothing_is_named(monkeypatch, capsys):
    answers = {"node7": {"facts": machine()}, "node8": {"msg": "no Python"}, "node9": {"facts": {"os": 1}}}
    monkeypatch.setattr(play, "gathered", lambda *_: answers)
    assert main(["doctor", "--facts", "-i", "node7,node8,node9"]) == 1
    said = capsys.readouterr()
    (document,) = yaml.safe_load_all(said.out)
    assert set(document) == {"about", "facts", "plan"} and documents.facts(document["facts"])
    assert "node8: no Python" in said.err and "node9: this host's facts are not facts" in said.err
