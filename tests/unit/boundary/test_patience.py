"""A host that says for ever that it is at work is given up: the action plugins that wait have a deadline."""

import importlib.util
import time
from types import SimpleNamespace

import pytest

from tests.unit.boundary.test_answer import ROOT

DAY = 86400
PULLING = {"changed": True, "pulling": True, "progress": "1 B of 2 B"}
BUILDING = {"start": {"build_id": "x"}, "wait": {"progress": {"stage": "torch"}}}
BUSY = {"start": {"busy": "pid 1"}, "wait": {}, "build": {"failed": True, "msg": "busy for 600 s", "fix": "wait"}}
JOB = {"ansible_job_id": "1.2", "started": 1, "finished": 0}
IMAGE = {"name": "verlai/verl:x", "timeout": 600}
SIF = {"file": "~/x.sif", "name": "verlai/verl:x", "timeout": 100, "attempts": 5}
CASES = {
    "verl_image": (IMAGE, lambda asked, module: PULLING),
    "verl_sif": (SIF, lambda asked, module: JOB if module or "phase" not in asked else PULLING),
    "verl_source_environment": ({"timeout": 600}, lambda asked, module: BUILDING[asked["action"]]),
    "verl_source_environment busy": ({"lock_timeout": 600}, lambda asked, module: BUSY[asked["action"]]),
}


class Clock:
    """Time that passes only where somebody waits, or asks a host."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "sleep", self.pass_by)

    def pass_by(self, seconds):
        self.now += seconds


@pytest.mark.parametrize("answers_in", [0.1, 10], ids=["at once", "as it should"])
@pytest.mark.parametrize("name", CASES)
def test_a_host_that_is_at_work_for_ever_is_given_up(name, answers_in, monkeypatch):
    file = f"{name.split()[0]}.py"
    spec = importlib.util.spec_from_file_location(name, ROOT / "action_plugins" / file)
    plugin = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plugin)
    args, said = CASES[name]
    clock, asked = Clock(monkeypatch), []

    def execute(module_name=None, module_args=None, task_vars=None, **more):
        clock.pass_by(answers_in)
        asked.append(module_args)
        assert clock.now < DAY and len(asked) < 9000, "it would wait for ever"
        return dict(said(module_args, module_name))

    action = object.__new__(plugin.ActionModule)
    action._task = SimpleNamespace(args=args, check_mode=False, async_val=0)
    action._execute_module = execute
    action.get_shell_option = lambda name, default: default
    answer = action.run(task_vars={"inventory_hostname": "gpu-1"})
    assert answer["failed"] is True
    assert "600 s" in answer["msg"] and answer["fix"]
    assert 600 <= clock.now < 900
    assert len(asked) < 1500, "a host that answers at once is not asked without a pause"
