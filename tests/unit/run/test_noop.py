"""A healthy fleet costs next to nothing: facts of a few KB, one execution a host, the same few tasks whatever its size.

The hosts are recorded ones after a run that did everything. Their Python is a stand-in that counts how often it is
started and answers with those facts; all else is the project's own `site.yml`.
"""

import copy
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.unit.decide.machines import recorded, settle
from verl_provision import fleet

ROOT = Path(__file__).resolve().parents[3]
ABOUT = {"mode": "apply", "started": "2026-11-24T10:00:00Z", "ansible": "2.19.14", "limit": None}
LIMIT = 8 * 1024  # bytes; 8 GPUs and every stamp take about 6,000
PYTHON = """#!/bin/sh
cat > {place}/{name}.last
echo run >> {place}/{name}.runs
cat {place}/{name}.json
"""


def healthy(name):
    """A recorded host's facts after a run that did everything in its plan."""
    facts = recorded(name)
    for _ in range(3):  # what one plan brings may be what the next one asks for
        hostvars = {"host": {"__verl_facts": {"facts": facts}}}
        planned = fleet.plan(hostvars, fleet.begin(hostvars, ["host"], ABOUT))["hosts"]["host"]
        if not planned["steps"] and not planned["verification"]["needed"]:
            return facts
        facts = settle(copy.deepcopy(facts), planned)
    raise AssertionError(planned["steps"])


@pytest.mark.parametrize("name", ["h100x8_550", "h100x8_580"])
def test_the_facts_of_a_healthy_host_with_eight_gpus_are_a_few_kilobytes(name):
    facts = healthy(name)
    assert len(facts["nvidia"]["gpus"]) == 8 and len(facts["stamps"]) >= 4
    assert len(json.dumps({"changed": False, "facts": facts})) < LIMIT


def site(place, hosts):
    """Run the main job; the executions by host, and the controller's tasks."""
    answer = json.dumps({"changed": False, "facts": healthy("h100x8_580")})
    inventory = {}
    for name in hosts:
        (place / f"{name}.json").write_text(answer + "\n")
        python = place / f"{name}.python"
        python.write_text(PYTHON.format(place=place, name=name))
        python.chmod(0o755)
        inventory[name] = {"ansible_connection": "local", "ansible_python_interpreter": str(python)}
    (place / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": inventory}}))
    argv = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(place / "hosts.yml"), "site.yml"]
    argv += ["-e", f"run_report_directory={place}/reports"]
    done = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    assert done.returncode == 0, done.stdout
    report = json.loads((place / "reports/latest/report.json").read_text())
    assert {host["state"] for host in report["hosts"].values()} == {"verified"} and len(report["hosts"]) == len(hosts)
    runs = {name: len((place / f"{name}.runs").read_text().split()) for name in hosts}
    return runs, re.findall(r"^TASK \[(.*)\]", done.stdout, re.MULTILINE)


def test_a_run_with_nothing_to_do_is_one_execution_a_host_and_a_handful_of_tasks(tmp_path):
    told = []
    for number in (1, 6):
        place = tmp_path / str(number)
        place.mkdir()
        names = [f"gpu-{index:02}" for index in range(number)]
        runs, tasks = site(place, names)
        assert runs == dict.fromkeys(names, 1)
        told.append(tasks)
    assert told[0] == told[1] and len(told[0]) <= 9, told
