"""The report: a state for every host, whatever happened to it, and a document that keeps its schema."""

import json
from pathlib import Path

import jsonschema
import pytest

from verl_provision.report import build, html, latest, markdown, text, view

SCHEMA = json.loads((Path(__file__).resolve().parents[3] / "catalog/schema/report.json").read_text())
CHECK = {"id": "import.verl", "ok": True, "found": "0.9.1", "needed": "0.9.1", "fix": "", "seconds": 5.2}
PASSED = {"passed": True, "level": "import", "reached": "import", "checks": [CHECK], "versions": {}, "by_stamp": False,
          "key": "k", "verified_at": "2026-11-24T10:04:00Z"}  # fmt: skip
ERROR = {"rule": "driver_state", "found": "none", "needed": "a driver", "where": "/sys", "fix": "Install one."}


def run(mode="apply"):
    about = {"id": "20261124T100000Z", "version": "0.1.0", "ansible": "2.19.14", "started": "2026-11-24T10:00:00Z"}
    return {**about, "limit": None, "mode": mode, "hosts": {"gpu-1": {}}, "look_at": ["gpu-1"]}


def plan(ok=True, steps=("source_environment",), needed=True):
    return {
        "ok": ok,
        "profile": "cpu",
        "backend": "source",
        "verl_version": "0.9.1",
        "image": None,
        "why": ["no GPU"],
        "steps": {step: {"reason": "absent", "needs": [], "disruption": "none", "args": {}} for step in steps},
        "verification": {"level": "import", "needed": needed, "reason": "verified at T", "passed_at": "T"},
        "deferred": [],
        "warnings": [],
        "errors": [] if ok else [ERROR],
        "decision": "d1",
    }


def fleet(planned=None, unlooked=None):
    hosts = {} if planned is None else {"gpu-1": planned}
    return {"hosts": hosts, "unlooked": unlooked or {}, "decisions": {}, "machines": {}}


def report(mode="apply", planned=None, unlooked=None, drained=(), **variables):
    about = {**fleet(planned, unlooked), "drained": drained}
    document = build.build({"gpu-1": variables}, run(mode), about, "2026-11-24T10:04:09Z")
    jsonschema.validate(document, SCHEMA)
    assert text.report_lines(document, "reports/x/report.json")
    return document


DEFERRED = {"step": "disruption", "by": "rolling", "reason": "not begun: 1 of 1 failed", "fix": "Run again."}
FAILURE = {"step": "source_environment", "task": "Build", "message": "disk full"}


@pytest.mark.parametrize(
    ("state", "ok", "given"),
    [
        ("verified", True, {"planned": plan(), "verification_result": PASSED}),
        ("verified", True, {"planned": plan(steps=(), needed=False)}),
        ("failed", False, {"planned": plan(), "__verl_failure": FAILURE}),
        ("failed", False, {"planned": plan(), "__verl_failure": FAILURE, "verification_result": PASSED}),
        ("unreachable", False, {"planned": plan(), "__verl_failure": {**FAILURE, "unreachable": True}}),
        ("failed", False, {"planned": plan()}),
        ("refused", False, {"planned": plan(ok=False)}),
        ("unreachable", False, {"unlooked": {"gpu-1": {"state": "unreachable", "reason": "no route to host"}}}),
        ("failed", False, {}),
        ("planned", True, {"planned": plan(), "mode": "check"}),
        ("planned", True, {"planned": plan(), "mode": "plan"}),
        ("refused", False, {"planned": plan(ok=False), "mode": "plan"}),
        ("verified", True, {"planned": plan(steps=(), needed=False), "mode": "check"}),
        ("failed", False, {"planned": plan(), "mode": "check", "__verl_failure": FAILURE}),
        ("deferred", False, {"planned": plan(), "__verl_deferred": DEFERRED}),
        ("failed", False, {"planned": plan(), "__verl_deferred": DEFERRED, "__verl_failure": FAILURE}),
        ("planned", True, {"planned": plan(steps=(), needed=False), "mode": "plan", "drained": ["gpu-1"]}),
        ("verified", True, {"planned": plan(steps=(), needed=False), "drained": ["gpu-1"]}),
    ],
)
def test_states(state, ok, given):
    document = report(**given)
    assert document["hosts"]["gpu-1"]["state"] == state
    assert document["ok"] is ok
    assert build.verdicts(document)["gpu-1"]["well"] is ok


def test_a_host_that_was_not_begun_says_why_and_what_to_do_in_every_form():
    document = report(planned=plan(), __verl_deferred=DEFERRED)
    document["hosts"]["gpu-1"]["plan"]["steps"] = {}
    assert document["hosts"]["gpu-1"]["reason"] == "disruption: not begun: 1 of 1 failed. Run again."
    (entry,) = view.view(document)["todo"]
    assert (entry["id"], entry["state"], entry["fix"]) == ("disruption", "deferred", "Run again.")
    for shown in (markdown.render(document), html.render(document)):
        assert "not begun: 1 of 1 failed" in shown


def test_a_refusal_names_found_needed_where_and_the_next_command():
    reason = report(planned=plan(ok=False))["hosts"]["gpu-1"]["reason"]
    assert reason == "driver_state (/sys): found none, needed a driver. Install one."


def test_a_failed_check_shows_its_fix_and_a_skipped_one_is_not_called_ok():
    failed = {**CHECK, "ok": False, "found": "0.8.0", "fix": "Run again."}
    skipped = {**CHECK, "id": "devices.count", "ok": None, "found": "no GPU here"}
    document = report(
        planned=plan(),
        __verl_failure=FAILURE,
        verification_result={**PASSED, "passed": False, "checks": [failed, skipped]},
    )
    lines = "\n".join(text.report_lines(document, "r.json"))
    assert "FAILED  import.verl: 0.8.0; needed 0.9.1. Run again." in lines
    assert "skipped devices.count: no GPU here" in lines


def test_a_run_without_hosts_is_not_ok():
    empty = {**run(), "hosts": {}}
    assert build.build({}, empty, fleet(), "2026-11-24T10:00:01Z")["ok"] is False


def test_the_report_is_shown_where_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert latest.shown(tmp_path / "reports", "one") == "reports/one/report.json"
    assert latest.shown("/srv/reports", "one") == "/srv/reports/one/report.json"
