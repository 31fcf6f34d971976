"""A host that an earlier release converged is left as it is: no step is planned for it, now and ever after."""

import json
from pathlib import Path

import pytest
import yaml

from verl_provision import fleet

CONVERGED = sorted((Path(__file__).resolve().parents[2] / "fixtures/converged").glob("*/*.json"))
ABOUT = {"mode": "apply", "started": "2026-12-01T10:00:00Z", "ansible": "2.19.4", "limit": None}


def planned(recorded, folder, facts=None):
    """Its plan, with the variables and the catalog's entry of the image that it was made with."""
    overlay = folder / "overlay.yml"
    overlay.write_text(yaml.safe_dump(recorded["overlay"]))
    variables = {**recorded["variables"], "verl_catalog_extra": str(overlay)}
    hostvars = {"host": {**variables, "__verl_facts": {"facts": facts or recorded["facts"]}}}
    run = fleet.begin(hostvars, ["host"], ABOUT)
    return fleet.plan(hostvars, run)["hosts"]["host"]


@pytest.mark.parametrize("path", CONVERGED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_no_step_is_planned(path, tmp_path):
    recorded = json.loads(path.read_text())
    plan = planned(recorded, tmp_path)
    assert (plan["errors"], plan["steps"], plan["deferred"]) == ([], {}, [])
    assert plan["ok"]


@pytest.mark.parametrize("path", CONVERGED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_without_its_state_files_all_of_it_would_be_planned(path, tmp_path):
    recorded = json.loads(path.read_text())
    facts = {**recorded["facts"], "stamps": {}, "container": None}
    assert planned(recorded, tmp_path, facts)["steps"]


@pytest.mark.parametrize("path", CONVERGED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_its_state_files_are_the_facts(path):
    recorded = json.loads(path.read_text())
    state = {name.removesuffix(".json"): content for name, content in recorded["state"].items()}
    assert state.pop("verification") == recorded["facts"]["verification"]
    assert state == recorded["facts"]["stamps"]
