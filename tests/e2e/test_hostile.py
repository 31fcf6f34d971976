"""A host that answers whatever it likes: it harms nobody else, and the controller obeys nothing of it."""

import json
import re

import pytest
import yaml

from tests.e2e.hostile_fleet import GOOD, HostileFleet
from tests.e2e.recorded_machine import ROOT
from verl_provision.boundary.text import UNSAFE

pytestmark = pytest.mark.e2e

RECORDED = json.loads((ROOT / "tests/fixtures/facts/no_gpu.json").read_text())


@pytest.mark.parametrize("pipelining", ["True", "False"])
def test_no_order_in_the_facts_is_obeyed(tmp_path, pipelining):
    """Failed at ccb61cd: the next exchange with good-1 ran the command on the controller."""
    fleet = HostileFleet(tmp_path)
    answer = {"changed": False, "facts": RECORDED, **fleet.orders()}
    said = fleet.play({"bad": answer}, "playbooks/plan.yml", ANSIBLE_PIPELINING=pipelining)
    assert not fleet.canary.exists(), said
    hosts = fleet.report()["hosts"]
    assert {name: hosts[name]["state"] for name in GOOD} == dict.fromkeys(GOOD, "planned"), said
    assert fleet.status != 0, "what preflight asked the bad host has no answer"


@pytest.mark.parametrize("pipelining", ["True", "False"])
def test_no_order_in_the_answer_of_any_module_is_obeyed(tmp_path, pipelining):
    """Even where facts become variables (Ansible's default) and a task runs once for all hosts."""
    fleet, tasks = HostileFleet(tmp_path), []
    for module in sorted(ROOT.glob("library/*.py")):
        examples = re.search(r'^EXAMPLES = r?"""(.*?)"""', module.read_text(), re.MULTILINE | re.DOTALL)[1]
        task = next(task for task in yaml.safe_load(examples) if module.stem in task)
        if module.stem in ("verl_drain", "verl_report_files"):  # they run on the controller and ask no host
            continue
        tasks.append({"name": module.stem, module.stem: task[module.stem], "delegate_to": "bad", "run_once": True})
        tasks[-1] |= {"register": f"it_{module.stem}", "ignore_errors": True, "ignore_unreachable": True}
    seen = {
        "name": "What is known now",
        "ansible.builtin.copy": {
            "content": "{{ [groups, hostvars[inventory_hostname], ansible_facts] | to_json }}",
            "dest": f"{tmp_path}/{{{{ inventory_hostname }}}}.known",
        },
        "delegate_to": "localhost",
    }
    play = [{"hosts": "all", "gather_facts": False, "tasks": [*tasks, seen]}]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(play))
    answer = {"changed": True, "facts": RECORDED, **fleet.orders()}
    environment = {"ANSIBLE_PIPELINING": pipelining, "ANSIBLE_INJECT_FACT_VARS": "True"}
    said = fleet.play({"bad": answer}, str(tmp_path / "play.yml"), **environment)
    assert fleet.status == 0, said
    assert not fleet.canary.exists() and "obeyed" not in said and "Removed unexpected" not in said, said
    for name in (*GOOD, "bad"):
        groups, variables, facts = json.loads((tmp_path / f"{name}.known").read_text())
        assert groups == {"all": ["bad", *GOOD], "ungrouped": ["bad", *GOOD]}
        assert variables["ansible_connection"] == "local" and "verl_drain_before" not in variables
        assert facts == {}
        assert all("add_host" not in variables[f"it_{task['name']}"] for task in tasks)


def payloads(fleet: HostileFleet) -> dict[str, object]:
    """What a host may answer to everything it is asked, by the host's name."""

    def facts(**changes):
        return {"changed": False, "facts": {**RECORDED, **changes}}

    owned = "\x1b]0;owned\x07\x1b[2J\u202e\n| good-1 | verified |"
    template = f"{{{{ lookup('ansible.builtin.pipe', 'touch {fleet.canary}') }}}}"
    answers = [{"id": "x", "ok": True, "data": {"digest": "sha256:x --privileged"}}, None, 3, {"id": ["x"]}]
    checks = [{"id": 3, "ok": "yes"}, None, "x"]
    deep = '{"changed": false, "facts": ' + "[" * 50_000
    return {
        "orders": {**facts(), **fleet.orders(), "answers": answers, "checks": checks, "passed": True},
        "failed": {"failed": True, "msg": owned, "fix": owned, **fleet.orders()},
        "types": facts(os=[], nvidia="x"),
        "surrogate": facts(arch="\ud800"),
        "escapes": facts(user={**RECORDED["user"], "name": owned}),
        "template": facts(user={**RECORDED["user"], "name": template, "home": f"/home/{template}"}),
        "template_failed": {"failed": True, "msg": template, "fix": template},
        "numbers": '{"changed": false, "facts": {"schema_version": 1' + "0" * 5000 + ', "seconds": NaN}}',
        "deep": deep + "]" * 50_000 + "}",
        "cut": deep[:1000],
        "wide": facts(errors=[{"probe": "x", "reason": "x" * 100}] * 40_000),
        "list": [facts()],
        "null": facts() | {"facts": None},
        "text": owned,
        "silent": "",
    }


@pytest.mark.parametrize("playbook", [("playbooks/plan.yml",), ("site.yml", "--check")], ids=lambda words: words[0])
def test_whatever_hosts_answer_the_others_are_planned(tmp_path, playbook):
    fleet = HostileFleet(tmp_path)
    hostile = payloads(fleet)
    said = fleet.play(hostile, *playbook)
    assert fleet.status != 0, said
    assert not fleet.canary.exists(), said
    hosts = fleet.report()["hosts"]
    assert set(hosts) == {*GOOD, *hostile}
    assert {name: hosts[name]["state"] for name in GOOD} == dict.fromkeys(GOOD, "planned"), said
    believed = {"orders", "escapes", "template"}  # their facts are facts
    assert {hosts[name]["state"] for name in set(hostile) - believed} == {"refused", "failed"}
    assert "this host's facts are not facts: os is a list, needed object" in hosts["types"]["reason"]
    assert "this host's facts are not facts: arch is text" in hosts["surrogate"]["reason"]
    assert "longer than any honest one" in hosts["wide"]["reason"]
    shown = [said, *(path.read_text() for path in (fleet.place / "reports/latest").resolve().glob("report.*"))]
    for text in shown:  # the property test looks for lines that a host adds
        assert not re.search(f"[{UNSAFE}]", text), re.search(f".*[{UNSAFE}].*", text)
