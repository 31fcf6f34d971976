"""The module from outside: real venv, real pip, tiny packages."""

import json
import os
import signal
import subprocess
import time

from .tiny_index import IndexServer, write_index
from .watching import builder_pid, files_below, pips, wait_until


def test_the_first_run_builds_what_was_asked_for(built):
    first = built.first
    assert first["changed"] is True
    assert first["verl_version"] == "0.9.1"
    assert first["torch"] == "2.11.0+cpu"
    assert first["torch_cuda"] is None
    assert first["activate"] == f"source {built.prefix}/env/bin/activate"
    assert "development environment (profile cpu)" in first["msg"]
    assert list(first["stages"]) == ["environment", "torch", "verl", "check"]


def test_torch_from_its_own_index_stays_while_verl_is_installed(built):
    version = subprocess.run(
        [built.prefix / "env/bin/python", "-c", "import torch.version as t, verl; print(t.__version__)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert version.stdout.strip() == "2.11.0+cpu"


def test_stamp_and_lock_file_say_what_is_there(built):
    stamp = built.stamp()
    assert stamp["kind"] == "a development environment (profile cpu)"
    assert stamp["torch_index"] == "torch"
    assert "verl==0.9.1" in (built.prefix / "env.lock.txt").read_text().splitlines()
    assert "torch==2.11.0+cpu" in (built.prefix / "env.lock.txt").read_text().splitlines()


def test_nothing_outside_prefix_and_state_is_left(built):
    assert sorted(path.name for path in built.home.iterdir()) == ["state", "verl"]
    assert not (built.prefix / ".cache").exists()
    assert (built.prefix / ".lock").read_text() == ""


def test_the_second_run_changes_nothing_and_needs_no_index(built):
    before = files_below(built.home)
    second = built.run(pypi_index="http://127.0.0.1:1/", torch_index="http://127.0.0.1:1/whl/cpu")
    assert second["changed"] is False
    assert second["msg"] == built.first["msg"]
    assert files_below(built.home) == before


def test_another_key_for_the_same_content_only_renews_the_stamp(built):
    assert built.run(key="k1", check=True)["changed"] is True
    assert built.stamp()["key"] != "k1"
    renewed = built.run(key="k1", pypi_index="http://127.0.0.1:1/")
    assert renewed["changed"] is True
    assert built.stamp()["key"] == "k1"
    assert built.run(key="k1")["changed"] is False


DAMAGE = {
    "verl/__init__.py": "verl: lacks verl/__init__.py",
    "ray-2.60.0.dist-info/RECORD": "ray: its installation was cut off",
    "sympy-1.0.dist-info": "sympy is missing",
    "torch/version.py": "torch: lacks torch/version.py",
}


def test_damage_is_found_and_repaired(built):
    for path in DAMAGE:
        subprocess.run(["rm", "-r", built.site() / path], check=True)
    (built.site() / "~orch").mkdir()
    planned = built.run(check=True)
    assert planned["changed"] is True
    assert planned["reasons"] == sorted(DAMAGE.values(), key=planned["reasons"].index)
    assert not (built.site() / "verl/__init__.py").exists()
    assert built.run()["changed"] is True
    assert all((built.site() / path).exists() for path in DAMAGE)
    assert not (built.site() / "~orch").exists()
    assert built.run()["changed"] is False


def test_a_changed_package_of_the_users_is_left_alone(built):
    record = built.site() / "ray-2.60.0.dist-info"
    record.rename(built.site() / "ray-2.61.0.dist-info")
    moved = built.site() / "ray-2.61.0.dist-info"
    (moved / "RECORD").write_text((moved / "RECORD").read_text().replace("ray-2.60.0", "ray-2.61.0"))
    seen = built.run()
    assert seen["changed"] is False
    assert any("ray 2.61.0 (was 2.60.0)" in notice for notice in seen["notices"])


def test_an_environment_in_use_is_not_changed_under_its_users(built):
    sleeper = subprocess.Popen([built.prefix / "env/bin/python", "-c", "import time; time.sleep(60)"])
    try:
        time.sleep(0.3)
        refused = built.run(verl_version="0.9.0")
        assert refused["failed"]
        assert f"pid {sleeper.pid}" in refused["msg"]
        assert "source_environment_allow_disruption" in refused["msg"]
    finally:
        sleeper.kill()
        sleeper.wait()
    assert built.run()["changed"] is False


def test_check_mode_on_a_bare_host_changes_nothing(host):
    planned = host.run(check=True)
    assert planned["changed"] is True
    assert "would make a development environment (profile cpu)" in planned["msg"]
    assert list(host.home.iterdir()) == []


def test_a_release_that_does_not_exist_is_refused_with_the_next_command(begun):
    refused = begun.run(verl_version="0.9.99")
    assert refused["failed"]
    assert refused["stage"] == "verl"
    assert "could not install torch verl==0.9.99: the package index has no verl==0.9.99" in refused["msg"]
    assert "ERROR: No matching distribution found for verl==0.9.99" in refused["msg"]
    assert "pip index versions verl" in refused["msg"]
    assert f"Log on the host: {begun.state}/log/source_environment.log" in refused["msg"]
    assert not (begun.state / "source_environment.json").exists()
    # What was installed so far is kept: only the missing stage runs now.
    mended = begun.run()
    assert mended["changed"] is True
    assert " -m venv " not in begun.log()


def test_too_little_disk_is_refused_before_anything_is_made(host):
    refused = host.run(disk_needed_gb=1e6)
    assert refused["failed"]
    assert "GB free, needed 1000000.0 GB" in refused["msg"]
    assert list(host.home.iterdir()) == []


def test_somebody_elses_environment_is_left_alone(host):
    (host.prefix / "env").mkdir(parents=True)
    refused = host.run()
    assert refused["failed"]
    assert "wasn't made by verl-provision" in refused["msg"]
    assert list(host.prefix.iterdir()) == [host.prefix / "env"]


def test_a_build_killed_in_the_middle_of_pip_is_finished_by_the_next_run(begun):
    with IndexServer(write_index(begun.home / "index")) as server:
        server.stall = "/ray-"
        process = begun.popen(pypi_index=server.url)
        assert server.stalled.wait(60)
        assert pips(begun)
        os.kill(builder_pid(begun), signal.SIGKILL)
        process.wait()
        wait_until(lambda: not pips(begun))  # pip goes with its builder
        assert not (begun.state / "source_environment.json").exists()
        server.stall = None
        planned = begun.run(check=True)
        assert "its build didn't end" in planned["reasons"]
        repaired = begun.run(pypi_index=server.url)
    assert repaired["changed"] is True
    assert " -m venv " not in begun.log()
    assert begun.run()["changed"] is False


def test_two_runs_at_once_the_second_refuses_after_its_patience(begun):
    with IndexServer(write_index(begun.home / "index")) as server:
        server.stall = "/ray-"
        first = begun.popen(pypi_index=server.url)
        assert server.stalled.wait(60)
        refused = begun.run(pypi_index=server.url, lock_timeout=1)
        assert refused["failed"]
        assert f"pid {builder_pid(begun)}" in refused["msg"]
        assert "stage verl" in refused["msg"]
        assert "source_environment_lock_timeout" in refused["msg"]
        server.go_on.set()
        assert json.loads(first.communicate(timeout=60)[0])["changed"] is True
