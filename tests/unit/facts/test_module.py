"""The module as Ansible runs it, and what happens when a probe breaks."""

import glob
import json
import os
import subprocess
import sys

import jsonschema
import pytest
from ansible.module_utils.verl_probes import collect as collecting

from .recorded import HOSTS, REPOSITORY, SCHEMA, RecordedHost

VALIDATOR = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
RUNNER = """
import runpy, sys
import ansible.module_utils
ansible.module_utils.__path__.append(sys.argv[1])
from ansible.module_utils.testing import patch_module_args
import json
with patch_module_args(json.loads(sys.argv[3])):
    runpy.run_path(sys.argv[2], run_name="__main__")
"""


def run_module(path=None, **arguments):
    words = [REPOSITORY / "module_utils", REPOSITORY / "library/verl_host_facts.py", json.dumps(arguments)]
    env = dict(os.environ, PATH=path) if path else None
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, *map(str, words)], capture_output=True, text=True, env=env, timeout=120
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_through_ansible_in_check_mode_on_this_machine():
    """One task, no change, every fact there and as the schema says."""
    ansible = os.path.join(os.path.dirname(sys.executable), "ansible")
    words = [ansible, "localhost", "-i", "localhost,", "-c", "local", "--check", "-o", "-m", "verl_host_facts"]
    done = subprocess.run(
        [*words, "-e", f"ansible_python_interpreter={sys.executable}"],
        cwd=REPOSITORY,
        env=dict(os.environ, ANSIBLE_LOAD_CALLBACK_PLUGINS="false", ANSIBLE_CALLBACK_RESULT_FORMAT="json"),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.partition("=>")[2])
    assert result["changed"] is False and "ansible_facts" not in result
    assert [error.message for error in VALIDATOR.iter_errors(result["facts"])] == []
    assert len(json.dumps(result["facts"])) < 16384


def test_a_recorded_tree_with_recorded_commands():
    host = HOSTS / "h100x8_550"
    result = run_module(f"{host / 'bin'}:{os.environ['PATH']}", probe_root=str(host / "tree"), gather=["nvidia"])
    facts = result["facts"]
    assert sorted(facts) == ["errors", "nvidia", "pci", "schema_version", "seconds"]
    assert facts["nvidia"]["state"] == "ok" and len(facts["nvidia"]["gpus"]) == 8
    assert facts["nvidia"]["smi"]["path"] == str(host / "bin/nvidia-smi")
    assert facts["nvidia"]["fabric_manager"]["nvswitch"] is True


def test_a_hanging_nvidia_smi_is_ended_in_time(tmp_path):
    pid = tmp_path / "pid"
    fake = tmp_path / "nvidia-smi"
    fake.write_text(f"#!/bin/sh\necho $$ >{pid}\nsleep 600\n")
    fake.chmod(0o755)
    tree = str(HOSTS / "h100x8_550/tree")
    result = run_module(f"{tmp_path}:{os.environ['PATH']}", probe_root=tree, gather=["nvidia"], command_timeout=1)
    nvidia = result["facts"]["nvidia"]
    assert (nvidia["state"], nvidia["smi"]["rc"]) == ("timeout", None)
    assert "within 6 s" in nvidia["reason"]
    assert not os.path.exists(f"/proc/{pid.read_text().strip()}/cmdline"), "the process outlived its time limit"


def test_an_unknown_group_is_refused():
    result = run_module(gather=["gpus"])
    assert result["failed"] is True and "gather" in result["msg"]


def test_without_a_gpu_nvidia_smi_is_not_run(tmp_path):
    """As root it would load a kernel module."""
    ran = tmp_path / "ran"
    fake = tmp_path / "nvidia-smi"
    fake.write_text(f"#!/bin/sh\n: >{ran}\n")
    fake.chmod(0o755)
    for tree in ("no_gpu", "driver_not_loaded"):
        path = f"{tmp_path}:{os.environ['PATH']}"
        run_module(path, probe_root=str(HOSTS / tree / "tree"), gather=["nvidia"])
        assert not ran.exists()


BROKEN = [
    "rights.user",
    "pci.devices",
    "engines.probe",
    "os_.operating_system",
    "pythons.on_path",
    "os_.memory",
    "os_.shm",
    "os_.room",
    "nvidia.probe",
    "toolkit.probe",
    "environment.probe",
    "stamps.probe",
    "network.network",
    "network.ray",
    "engines.docker.probe",
    "engines.podman.probe",
    "environment.manager",
]


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_probe_loses_only_its_own_facts(monkeypatch, name):
    def broken(*_arguments):
        raise RuntimeError("a bug in " + name)

    module = collecting
    *parents, function = name.split(".")
    for parent in parents:
        module = getattr(module, parent)
    monkeypatch.setattr(module, function, broken)
    host = RecordedHost("h100x8_550")
    facts = host.plain(collecting.collect(host))
    assert [error.message for error in VALIDATOR.iter_errors(facts)] == []
    assert any("a bug in " + name in error["reason"] for error in facts["errors"])
    if name not in ("nvidia.probe", "pci.devices"):
        assert len(facts["nvidia"]["gpus"]) == 8


@pytest.mark.skipif(not glob.glob("/root/.pyenv/versions/3.8.*/bin/python"), reason="no Python 3.8 on this machine")
def test_on_the_oldest_python():
    """The probes import and run there; the module file compiles."""
    python = glob.glob("/root/.pyenv/versions/3.8.*/bin/python")[0]
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1])\n"
        "from verl_probes.collect import collect; from verl_probes.host import Host\n"
        "compile(open(sys.argv[2]).read(), sys.argv[2], 'exec')\n"
        "print(json.dumps(collect(Host(state_dir='/nonexistent', prefix='/nonexistent'))))"
    )
    words = [python, "-c", code, REPOSITORY / "module_utils", REPOSITORY / "library/verl_host_facts.py"]
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert [error.message for error in VALIDATOR.iter_errors(json.loads(done.stdout))] == []
