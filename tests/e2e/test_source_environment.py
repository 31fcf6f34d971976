"""The source environment's builds that take a while: the module alone, and the role through ansible-playbook.

Real venv and real pip, an index of tiny packages on this machine. The build from the real index is in test_local.py.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.unit.source_environment.conftest import (  # noqa: F401  (fixtures)
    bare_environment,
    begun,
    built,
    host,
    indexes,
)
from tests.unit.source_environment.tiny_index import IndexServer, write_index
from tests.unit.source_environment.watching import builder_pid, command_line, files_below, pips, wait_until

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.e2e


# -- the module -------------------------------------------------------------------------------------------------------


def test_a_python_that_no_longer_runs_starts_over(built):  # noqa: F811
    python = built.prefix / "env/bin/python"
    python.unlink()
    python.symlink_to("/nonexistent/python")
    assert "the environment's Python doesn't run" in built.run(check=True)["reasons"]
    assert built.run()["changed"] is True
    assert built.run()["changed"] is False


def test_two_runs_at_once_the_second_waits_and_finds_it_done(begun):  # noqa: F811
    with IndexServer(write_index(begun.home / "index")) as server:
        server.stall = "/ray-"
        first = begun.popen(pypi_index=server.url)
        assert server.stalled.wait(60)
        second = begun.popen(pypi_index=server.url)
        time.sleep(1.5)
        assert second.poll() is None
        server.go_on.set()
        outcomes = [json.loads(process.communicate(timeout=60)[0]) for process in (first, second)]
    assert [outcome["changed"] for outcome in outcomes] == [True, False]
    assert " -m venv " not in begun.log()


def test_a_build_in_the_background_is_watched_from_outside(begun):  # noqa: F811
    with IndexServer(write_index(begun.home / "index")) as server:
        server.stall = "/ray-"
        started = begun.run(action="start", pypi_index=server.url)
        assert started["finished"] is False
        assert server.stalled.wait(60)
        seen = begun.run(action="wait", build_id=started["build_id"], wait_seconds=1)
        assert seen["finished"] is False
        assert seen["progress"]["stage"] == "verl"
        assert seen["progress"]["building"] is True
        busy = begun.run(action="start", pypi_index=server.url)
        assert f"pid {builder_pid(begun)}" in busy["busy"]
        server.go_on.set()
        done = begun.run(action="wait", build_id=started["build_id"], wait_seconds=60)
    assert done["finished"] is True
    assert done["changed"] is True
    assert done["verl_version"] == "0.9.1"


def test_a_background_build_that_was_killed_is_told(begun):  # noqa: F811
    with IndexServer(write_index(begun.home / "index")) as server:
        server.stall = "/ray-"
        started = begun.run(action="start", pypi_index=server.url)
        assert server.stalled.wait(60)
        os.kill(builder_pid(begun), signal.SIGKILL)
        told = begun.run(action="wait", build_id=started["build_id"], wait_seconds=60)
    assert told["failed"]
    assert "was killed" in told["msg"]
    assert "it goes on where it stopped" in told["msg"]


def test_a_build_that_takes_too_long_is_stopped_and_kept(begun):  # noqa: F811
    with IndexServer(write_index(begun.home / "index")) as server:
        server.stall = "/ray-"
        refused = begun.run(pypi_index=server.url, timeout=6)
        assert refused["failed"]
        assert "longer than 6 s" in refused["msg"]
        wait_until(lambda: not pips(begun))


def test_an_unreachable_torch_index_is_a_notice(begun):  # noqa: F811
    result = begun.run(torch_index="http://127.0.0.1:1/whl/cpu", index_timeout=2)
    assert not result.get("failed"), result
    assert result["torch"] == "2.11.0+cu130"
    assert "127.0.0.1:1 can't be reached" in result["notices"][0]
    assert "default package index" in result["notices"][0]
    assert begun.stamp()["torch_index"] == "default"


def test_no_password_of_an_index_is_shown_or_logged(begun):  # noqa: F811
    with IndexServer(write_index(begun.home / "index")) as server:
        secret = "canary-password"
        url = server.url.replace("http://", f"http://user:{secret}@")
        process = begun.popen(pypi_index=url, torch_index="")
        seen = set()
        while process.poll() is None:
            for pid in filter(str.isdigit, os.listdir("/proc")):
                words = command_line(pid)
                if b"pip" in words and str(begun.prefix).encode() in words and b"patch_module_args" not in words:
                    seen.add(words)
            time.sleep(0.02)
        out, err = process.communicate()
    assert json.loads(out)["changed"] is True
    assert any(b"install" in words for words in seen)
    assert not any(secret.encode() in words for words in seen)
    assert secret not in out + err + begun.log()
    assert not [path for path in files_below(begun.prefix) if secret in path.read_text(errors="replace")]


def test_another_release_replaces_verl_and_keeps_torch(built):  # noqa: F811
    torch = (built.site() / "torch/version.py").stat().st_mtime_ns
    changed = built.run(verl_version="0.9.0")
    assert (changed["verl_version"], changed["torch"]) == ("0.9.0", "2.11.0+cpu")
    assert (built.site() / "torch/version.py").stat().st_mtime_ns == torch
    assert built.run()["verl_version"] == "0.9.1"


def test_a_torch_index_without_the_release_is_a_notice(begun):  # noqa: F811
    result = begun.run(torch="2.12.0")
    assert result["torch"] == "2.12.0+cu130"
    assert "has no torch 2.12.0 (newest: 2.11.0+cpu)" in result["notices"][0]


# -- the role ---------------------------------------------------------------------------------------------------------

PLAY = """
- name: Build
  hosts: all
  connection: local
  gather_facts: false
  tasks:
    - name: Apply the role
      ansible.builtin.include_role:
        name: source_environment
"""


def play(home, *arguments, index=None, **inputs):
    """ansible-playbook with the role alone, as a process group of its own."""
    playbook = home.home / "play.yml"
    playbook.write_text(PLAY)
    options = {**home.options, **({"pypi_index": index, "torch_index": ""} if index else {}), **inputs}
    variables = {f"source_environment_{name}": value for name, value in options.items()}
    variables["ansible_python_interpreter"] = sys.executable
    return subprocess.Popen(
        [
            Path(sys.executable).parent / "ansible-playbook",
            "-i",
            "one,",
            playbook,
            "-e",
            json.dumps(variables),
            *arguments,
        ],
        cwd=ROOT,
        env={**home.environ(), "PYTHONUNBUFFERED": "1", "ANSIBLE_LOCAL_TEMP": str(home.home / "tmp")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def changed(output):
    return int(re.search(r"changed=(\d+)", output).group(1))


def test_the_role_shows_progress_builds_once_and_then_changes_nothing(begun):  # noqa: F811
    checked = play(begun, "--check")
    output = checked.communicate(timeout=120)[0]
    assert checked.returncode == 0, output
    assert "would make a development environment (profile cpu)" in output
    assert not (begun.state / "source_environment.json").exists()
    with IndexServer(write_index(begun.home / "index")) as server:
        server.stall = "/ray-"
        first = play(begun, index=server.url)
        assert server.stalled.wait(60)
        time.sleep(11)
        server.go_on.set()
        output = first.communicate(timeout=120)[0]
    assert first.returncode == 0, output
    assert re.search(r"one: source_environment: 0:\d\d  stage verl", output)
    assert changed(output) == 1
    second = play(begun, index="http://127.0.0.1:1/")
    output = second.communicate(timeout=120)[0]
    assert second.returncode == 0, output
    assert changed(output) == 0


def test_a_run_killed_with_all_its_processes_is_repaired_by_the_next(begun):  # noqa: F811
    with IndexServer(write_index(begun.home / "index")) as server:
        server.stall = "/ray-"
        first = play(begun, index=server.url)
        assert server.stalled.wait(60)
        os.killpg(first.pid, signal.SIGKILL)
        os.kill(builder_pid(begun), signal.SIGKILL)
        first.communicate()
        wait_until(lambda: not pips(begun))
        server.stall = None
        again = play(begun, index=server.url)
        output = again.communicate(timeout=120)[0]
    assert again.returncode == 0, output
    assert changed(output) == 1
    assert begun.stamp()["verl_version"] == "0.9.1"


def test_a_build_goes_on_when_its_run_is_killed_and_the_next_run_joins_it(begun):  # noqa: F811
    with IndexServer(write_index(begun.home / "index")) as server:
        server.stall = "/ray-"
        first = play(begun, index=server.url)
        assert server.stalled.wait(60)
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()
        second = play(begun, index=server.url)
        time.sleep(4)
        server.go_on.set()
        output = second.communicate(timeout=120)[0]
    assert second.returncode == 0, output
    assert "waits for another run's build (pid " in output
    assert changed(output) == 0
    assert begun.stamp()["verl_version"] == "0.9.1"


def test_two_runs_at_once_the_second_refuses_naming_the_first(begun):  # noqa: F811
    with IndexServer(write_index(begun.home / "index")) as server:
        server.stall = "/ray-"
        first = play(begun, index=server.url)
        assert server.stalled.wait(60)
        pid = builder_pid(begun)
        second = play(begun, index=server.url, lock_timeout=2)
        output = second.communicate(timeout=120)[0]
        assert second.returncode == 2
        assert f"another run is building {begun.prefix}/env (pid {pid}" in " ".join(output.split())
        server.go_on.set()
        output = first.communicate(timeout=120)[0]
    assert first.returncode == 0, output
