"""A step is added by touching only the files that docs/extending.md names: here to a copy of the project."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from tests.e2e.recorded_machine import ROOT
from tests.e2e.site_fleet import SiteFleet

pytestmark = pytest.mark.e2e

PLANNER = """
from verl_provision.plan.keys import step_key
from verl_provision.plan.steps.step import Step, applied_hash


def plan(host, request, decision, context):
    args = context.args("toy", path=f"{context.prefix}/toy", note="{{ not a template }}")
    step = Step(args, step_key("toy", args))
    return step if applied_hash(host, "toy") == step.config_hash else step.because("there is no toy")
"""
ROW = '    "verl_shell": Row('
TASKS = """
- copy: {content: "{{ toy_note }}", dest: "{{ log }}.{{ inventory_hostname }}", mode: "0644"}
- verl_stamp: {path: "{{ toy_state_dir }}/toy.json", key: "{{ toy_key }}"}
"""
FILES = {
    "src/verl_provision/plan/steps/toy.py": PLANNER,
    "roles/toy/tasks/main.yml": TASKS,
    "roles/toy/defaults/main.yml": "toy_note: a default\n",
    "roles/toy/meta/main.yml": "galaxy_info: {role_name: toy}\n",
    "roles/toy/meta/argument_specs.yml": yaml.safe_dump(
        {
            "argument_specs": {
                "main": {
                    "options": {f"toy_{name}": {"type": "str"} for name in ("path", "note", "state_dir", "key")},
                    "short_description": "A toy",
                }
            }
        }
    ),
}
NEEDED = (
    "src", "catalog", "playbooks", "roles", "library", "module_utils", "doc_fragments", "filter_plugins",
    "action_plugins", "callback_plugins",
)  # fmt: skip
TABLE = "src/verl_provision/plan/steps/__init__.py"


@pytest.fixture
def project(tmp_path):
    """A copy of what a run needs, with the toy in it."""
    copy = tmp_path / "project"
    copy.mkdir()
    for name in NEEDED:
        shutil.copytree(ROOT / name, copy / name)
    shutil.copy(ROOT / "ansible.cfg", copy)
    for name, text in FILES.items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text(text)
    table = copy / TABLE
    text = table.read_text().replace("    training_container,\n", "    toy,\n    training_container,\n", 1)
    table.write_text(text.replace(ROW, f'    "toy": Row("Bring a toy", "toy", toy.plan),\n{ROW}', 1))
    return copy


def test_the_page_names_the_files_that_a_step_needs():
    page = (ROOT / "docs/extending.md").read_text().partition("## A step\n")[2].partition("\n## ")[0]
    named = re.findall(r"`([^`]+)` \|", page)
    for path in (*FILES, TABLE):
        generic = path.replace("/toy.py", "/<step>.py").replace("roles/toy/", "roles/<step>/")
        assert any(generic == name or (name.endswith("/") and generic.startswith(name)) for name in named), path


def test_a_step_that_is_added_is_planned_applied_and_settled(project, tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    fleet = SiteFleet(place, "h100x8_580", {"gpu-1": {}}, root=project, verl_backend="docker")
    run = fleet.run()
    (planned,) = fleet.planned()
    assert planned["hosts"]["gpu-1"]["steps"]["toy"]["reason"] == "there is no toy", run.stdout
    assert Path(f"{fleet.log}.gpu-1").read_text() == "{{ not a template }}", run.stdout
    timeline = [part["name"] for part in fleet.report()["run"]["timeline"]]
    assert "Bring a toy" in timeline
    fleet.run()
    assert "toy" not in fleet.planned()[-1]["hosts"]["gpu-1"]["steps"]
