"""One run at a time on a host: of two controllers one is refused, and a killed run keeps nobody out."""

import json
import multiprocessing
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from action_plugins.verl_claim import ActionModule
from tests.unit.container.conftest import module  # noqa: F401  (a fixture)
from verl_provision.module_utils import claim

ELSEWHERE = {"machine": "another", "boot": "b", "pid": 1, "started": 1, "who": "ops@controller2"}


@pytest.fixture
def path(tmp_path):
    """The claim's file."""
    return tmp_path / "state/run.claim"


@pytest.fixture
def run(module, path):  # noqa: F811
    """Claim the host as a controller, by the action plugin and the module."""

    def claiming(name, me=None, **more):
        def execute(module_args, task_vars=None):
            given = {**module_args, "controller": me or module_args["controller"]}
            return module("verl_claim", {key: value for key, value in given.items() if value is not None})

        plugin = ActionModule.__new__(ActionModule)
        plugin._task = type("Task", (), {"args": {"path": str(path), "run": name, **more}})
        plugin._execute_module = execute
        return plugin.run()

    return claiming


def test_the_second_of_two_controllers_is_refused_until_the_first_is_done(run, path):
    assert run("one", ELSEWHERE)["changed"]
    assert not run("one", ELSEWHERE)["changed"], "the same run again, as of another host's name for it"
    refused = run("two")
    assert refused["failed"]
    assert "at work on this host since 0 min: one of ops@controller2. Nothing was done." in refused["msg"]
    assert f"rm {path}" in refused["fix"]
    assert json.loads(path.read_text())["run"] == "one"
    assert not run("two", state="absent")["changed"], "nobody ends another's claim"
    assert run("one", ELSEWHERE, state="absent")["changed"]
    assert run("two")["changed"]


def test_of_many_at_once_one_gets_the_host(path):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda name: claim.take(str(path), f"run{name}", ELSEWHERE), range(32)))
    assert [new for _, new in answers].count(True) == 1


def test_a_killed_run_of_this_controller_is_taken_over_from_at_once(run):
    gone = subprocess.Popen(["sleep", "60"])
    me = claim.identity(gone.pid)
    assert run("one", me)["changed"]
    assert run("two")["failed"], "it lives"
    gone.kill()
    gone.wait()
    assert run("two")["changed"]


def test_a_controller_that_was_started_again_has_no_run(run):
    me = claim.identity(os.getpid())
    assert run("one", {**me, "boot": "before"})["changed"]
    assert run("two")["changed"]


def test_the_controller_is_asked_where_the_host_cannot_know(run, module, monkeypatch):  # noqa: F811
    """The host is another machine than the controller: the action plugin looks whether its own run lives."""
    mine, dead = claim.identity(os.getpid()), claim.dead
    assert run("one", {**mine, "pid": 2**22 + 1})["changed"]
    seen = []

    def asked(holder, me):
        here = me["pid"] == (multiprocessing.parent_process() or os).pid if multiprocessing.parent_process() else True
        seen.append(here)
        return dead(holder, me) if len(seen) != 1 else False  # the first look is the module's, on the host

    monkeypatch.setattr(claim, "dead", asked)
    assert run("two")["changed"]
    assert len(seen) == 2


@pytest.mark.parametrize("hours", [-7, 7, -30000])
def test_a_claim_counts_for_six_hours_and_one_dated_ahead_no_longer(run, path, hours):
    assert run("one", ELSEWHERE)["changed"]
    when = time.time() + hours * 3600
    os.utime(path, (when, when))
    assert run("two")["changed"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"run": 7}', '{"machine": []}'])
def test_half_a_claim_is_none_and_odd_ones_are_refused_with_a_message(run, path, text):
    path.parent.mkdir()
    path.write_text(text)
    answer = run("two")
    assert answer.get("changed") or "Another run is at work" in answer["msg"]


def test_pull_runs_are_kept_away_or_respected(run, path, tmp_path):
    hold = tmp_path / "pull/hold"
    hold.mkdir(parents=True)
    lock = tmp_path / "pull/lock"
    lock.write_text("")
    assert run("one", pull=str(hold))["changed"]
    assert (hold / "push").read_text() == "one\n"
    assert run("one", pull=str(hold), state="absent")["changed"]
    assert list(hold.iterdir()) == []
    held = ["flock", str(lock), "sh", "-c", "echo held; exec sleep 60"]
    puller = subprocess.Popen(held, stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert puller.stdout.readline() == b"held\n"
        answer = run("two", pull=str(hold))
        assert "A pull run is at work on this host" in answer["msg"]
        assert "systemctl status verl-provision-pull" in answer["fix"]
    finally:
        os.killpg(puller.pid, signal.SIGKILL)
        puller.wait()
    assert list(hold.iterdir()) == []
    assert not path.exists()
