"""Every filter and module is documented: ansible-doc renders it, and the filters' examples run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
BIN = Path(sys.executable).parent
FILTERS = sorted(path.stem for path in (ROOT / "filter_plugins").glob("*.py"))
MODULES = sorted(path.stem for path in (ROOT / "library").glob("*.py"))
ACTIONS = sorted(path.stem for path in ROOT.glob("action_plugins/verl_*.py"))


def ansible(command, *arguments):
    """Run one of Ansible's commands in the repository."""
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_DEPRECATION_WARNINGS": "1"}
    argv = [str(BIN / command), *arguments]
    return subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def documented():
    """What ansible-doc knows of everything, in two calls."""
    found = {}
    for kind, names in (("filter", FILTERS), ("module", MODULES)):
        run = ansible("ansible-doc", "--json", "-t", kind, *names)
        assert run.returncode == 0, run.stderr
        found |= json.loads(run.stdout)
    return found


@pytest.mark.parametrize("name", [*FILTERS, *MODULES])
def test_ansible_doc_renders(documented, name):
    about = documented[name]
    assert about["doc"]["short_description"]
    assert about["examples"].strip()
    assert about["return"]


def test_an_action_plugin_has_the_page_of_a_module_and_reads_its_answer():
    assert ACTIONS == MODULES


@pytest.mark.parametrize("name", FILTERS)
def test_a_filters_examples_run(documented, name, tmp_path):
    tasks = yaml.safe_load(documented[name]["examples"])
    play = [{"name": name, "hosts": "localhost", "gather_facts": False, "tasks": tasks}]
    (tmp_path / "examples.yml").write_text(yaml.safe_dump(play))
    run = ansible("ansible-playbook", str(tmp_path / "examples.yml"))
    assert run.returncode == 0, run.stdout + run.stderr
    assert "DEPRECATION" not in run.stdout + run.stderr


def test_the_modules_examples_are_understood_by_the_modules(documented, tmp_path):
    """In check mode on this machine: a module may refuse what isn't here, never an option that its example uses."""
    tasks = []
    for name in MODULES:
        for task in yaml.safe_load(documented[name]["examples"]):
            tasks.append({key: value for key, value in task.items() if key not in ("become", "delegate_to")})
    play = [{"name": "Examples", "hosts": "localhost", "gather_facts": False, "ignore_errors": True, "tasks": tasks}]
    (tmp_path / "examples.yml").write_text(yaml.safe_dump(play))
    where = ["-e", f"ansible_remote_tmp={tmp_path}/ansible"]
    run = ansible("ansible-playbook", "--check", *where, str(tmp_path / "examples.yml"))
    said = run.stdout + run.stderr
    assert run.returncode == 0, said
    for fault in ("Unsupported parameters", "missing required arguments", "MODULE FAILURE", "Traceback"):
        assert fault not in said, said


@pytest.mark.parametrize("name", MODULES)
def test_a_modules_examples_are_tasks_with_options_it_has(documented, name):
    options = documented[name]["doc"].get("options", {})
    for task in yaml.safe_load(documented[name]["examples"]):
        assert task["name"]
        given = task.get(name) or {}
        unknown = set(given) - set(options)
        assert not unknown, f"the example of {name} uses {unknown}"
