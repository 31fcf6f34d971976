"""The example pipelines: commands that exist, actions pinned by commit, no key in a pull request's hands."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from verl_provision.cli import parser

ROOT = Path(__file__).resolve().parents[3]
PIPELINE = ROOT / "examples/github-actions/fleet.yml"
WORKFLOW = yaml.load(PIPELINE.read_text(), yaml.BaseLoader)  # `on` stays a word
JOBS = WORKFLOW["jobs"]
CATALOG = yaml.load((PIPELINE.parent / "catalog.yml").read_text(), yaml.BaseLoader)
STEPS = [(name, step) for name, job in (JOBS | CATALOG["jobs"]).items() for step in job["steps"]]


def commands(step):
    """The words of each call of verl-provision in a step."""
    return [shlex.split(line)[1:] for line in step.get("run", "").splitlines() if line.startswith("verl-provision ")]


def test_each_event_has_its_job():
    assert set(WORKFLOW["on"]) == {"pull_request", "push", "schedule"}
    assert set(JOBS) == {"check", "plan", "apply", "drift"}
    for event, job in (("pull_request", "check"), ("push", "plan"), ("push", "apply"), ("schedule", "drift")):
        assert f"github.event_name == '{event}'" in JOBS[job]["if"]


@pytest.mark.parametrize(("name", "words"), [(name, words) for name, step in STEPS for words in commands(step)])
def test_its_commands_are_understood(name, words):
    arguments = parser().parse_args(words)
    assert arguments.command == {"plan": "plan", "apply": "up", "drift": "plan", "compare": "catalog"}[name]
    assert getattr(arguments, "detailed_exitcode", False) is (name == "drift")


def test_the_catalog_is_compared_every_week():
    assert set(CATALOG["on"]) == {"schedule", "workflow_dispatch"} and CATALOG["permissions"] == {"contents": "read"}
    assert any(words[:2] == ["catalog", "check"] for _, step in STEPS for words in commands(step))


def test_actions_are_pinned_by_commit():
    for _, step in STEPS:
        assert "uses" not in step or re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", step["uses"])


def test_what_a_pull_request_wrote_runs_without_secrets_and_away_from_the_fleet():
    """An inventory is code: its Jinja, its plugins and its scripts run where it is read."""
    exposed = [job for job in JOBS.values() if "pull_request" in job["if"]]
    assert exposed == [JOBS["check"]]
    assert "pull_request_target" not in WORKFLOW["on"]
    for job in exposed:
        assert "secrets." not in yaml.dump(job)
        assert "environment" not in job
        assert job["runs-on"].startswith("ubuntu-")


def test_rights_are_few_and_nothing_is_applied_before_its_plan_was_approved():
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert not any("permissions" in job for job in JOBS.values())
    assert JOBS["apply"]["environment"] == "fleet"
    assert JOBS["apply"]["needs"] == "plan"
    assert all(job.get("environment") for job in JOBS.values() if "secrets." in yaml.dump(job))


def test_no_expression_is_pasted_into_a_shell_and_every_step_is_known():
    for _, step in STEPS:
        assert ("run" in step) != ("uses" in step)
        assert "${{" not in step.get("run", "")
        assert set(step) <= {"name", "uses", "run", "env", "if", "with"}
