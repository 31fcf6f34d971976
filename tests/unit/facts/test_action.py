"""The action plugin: the same facts as the module's, by one script from standard input."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest
from ansible.errors import AnsibleActionFail

from .recorded import HOSTS, REPOSITORY
from .test_module import run_module

PLUGIN = REPOSITORY / "action_plugins/verl_host_facts.py"
spec = importlib.util.spec_from_file_location("verl_host_facts_action", PLUGIN)
plugin = importlib.util.module_from_spec(spec)
spec.loader.exec_module(plugin)


def run_script(path, interpreter=sys.executable, **arguments):
    packed = plugin.base64.b64encode(json.dumps(plugin.parameters(arguments)).encode()).decode()
    done = subprocess.run(
        ["/bin/sh", "-c", plugin.start(interpreter, ["python3.99", "python3"])],
        input=plugin.script().replace("@PARAMS@", packed),
        env=dict(os.environ, PATH=path),
        capture_output=True,
        text=True,
        timeout=120,
    )
    return plugin.answer({"rc": done.returncode, "stdout": "Welcome!\n" + done.stdout, "stderr": done.stderr})


@pytest.mark.parametrize("interpreter", [sys.executable, None])
def test_it_sees_what_the_module_sees(interpreter):
    host = HOSTS / "h100x8_550"
    path = f"{host / 'bin'}:{os.environ['PATH']}"
    arguments = {"probe_root": str(host / "tree"), "gather": ["nvidia", "stamps", "disk"], "command_timeout": 60}
    by_script, by_module = run_script(path, interpreter, **arguments), run_module(path, **arguments)
    assert by_script["changed"] is False and len(by_script["facts"]["nvidia"]["gpus"]) == 8
    for facts in (by_script["facts"], by_module["facts"]):
        facts["seconds"] = facts["nvidia"]["smi"]["seconds"] = 0
        facts["disk"] = sorted(facts["disk"])
    assert by_script["facts"] == by_module["facts"]


def test_a_path_is_the_hosts_own():
    assert plugin.parameters({"state_dir": "~/state"})["state_dir"] == "~/state"
    assert plugin.parameters({"command_timeout": "5", "gather": "os,user"})["gather"] == ["os", "user"]


def test_wrong_arguments_are_refused_before_a_connection():
    with pytest.raises(AnsibleActionFail, match="gather"):
        plugin.parameters({"gather": ["gpus"]})


def test_a_host_without_python_says_what_was_tried():
    refused = run_script("/nonexistent", None)
    assert refused["failed"] is True and "exit status 127" in refused["msg"]
    assert "python3.99 python3" in refused["msg"]


def test_an_old_python_is_named(tmp_path):
    old = tmp_path / "python"
    old.write_text(f"#!/bin/sh\n(echo 'import sys; sys.version_info = (3, 6, 9)'; cat) | {sys.executable} -\n")
    old.chmod(0o755)
    assert "Python 3.6 is too old" in run_script(os.environ["PATH"], str(old))["msg"]
