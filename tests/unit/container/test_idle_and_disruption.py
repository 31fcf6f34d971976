"""Who works on a host, and what is done or left then."""

import os
import subprocess

import pytest

ID = "1" * 64
OURS = "2" * 64


@pytest.fixture
def lib(monkeypatch):
    """The functions under test, on a machine without Ray."""
    from ansible.module_utils.verl_container import idle

    monkeypatch.setattr(idle, "ray_work", lambda proc="/proc": [])
    return idle


@pytest.fixture
def docker(fake, lib, monkeypatch):
    """An engine under a systemd that only takes notes."""
    from ansible.module_utils.verl_container import cli

    docker = fake("docker")
    systemctl = fake("systemctl")
    docker.systemctl = systemctl
    monkeypatch.setattr(cli, "which", lambda name: f"/fake/{name}" if name == "docker" else None)
    real = __import__("os").path.isdir
    monkeypatch.setattr("os.path.isdir", lambda path: path == "/run/systemd/system" or real(path))
    return docker


def busy(lib, docker):
    """What the check says."""
    from ansible.module_utils.verl_container import cli

    return [reason["kind"] for reason in lib.busy([cli.Engine("docker")])]


def test_an_idle_host(lib, docker):
    docker.says(["ps"], out="")
    assert busy(lib, docker) == []


def test_our_own_container_with_nothing_in_it_is_idle(lib, docker, recorded):
    docker.says(["ps"], out=f"{OURS}\tverl\timage\n").says(["top"], out="PID STAT COMMAND\n1 Ss sleep infinity\n")
    assert busy(lib, docker) == []


def test_a_shell_in_our_container_is_work(lib, docker):
    from pathlib import Path

    top = (Path(__file__).parent / "recorded" / "docker-20.10" / "top-busy.txt").read_text()
    docker.says(["ps"], out=f"{OURS}\tverl\timage\n").says(["top"], out=top)
    assert busy(lib, docker) == ["own_container"]


def test_an_init_of_the_engine_is_not_work(lib, docker):
    top = "PID STAT COMMAND\n1 Ss /sbin/docker-init -- sleep infinity\n7 S sleep infinity\n"
    docker.says(["ps"], out=f"{OURS}\tverl\timage\n").says(["top"], out=top)
    assert busy(lib, docker) == []


def test_somebody_elses_container_is_work(lib, docker):
    docker.says(["ps"], out=f"{ID}\tjob\tother\n")
    assert busy(lib, docker) == ["container"]


def test_what_can_not_be_read_is_work(lib, docker):
    docker.says(["ps"], err="permission denied while trying to connect", rc=1)
    assert busy(lib, docker) == ["unknown"]


def test_a_dead_daemon_without_any_container_process_is_idle(lib, docker, monkeypatch):
    docker.says(["ps"], err="Cannot connect to the Docker daemon at unix:///var/run/docker.sock", rc=1)
    monkeypatch.setattr(lib, "daemon_gone", lambda engine, proc="/proc": True)
    assert busy(lib, docker) == []
    monkeypatch.setattr(lib, "daemon_gone", lambda engine, proc="/proc": False)
    assert busy(lib, docker) == ["unknown"]


def test_gpu_processes_and_a_hanging_nvidia_smi(lib, fake, monkeypatch):
    from ansible.module_utils.verl_container import cli

    smi = fake("nvidia-smi").says(["--query-compute-apps"], out="")
    smi.script[0]["argv"] = []
    smi.script[0]["out"] = "4711, python3, 1024 MiB\n"
    smi._save()
    assert lib.gpu_processes() == (["pid 4711 python3"], None)
    monkeypatch.setattr(cli, "run", lambda argv, timeout=0, **kw: (124, "", "no answer within 20 s"))
    assert lib.gpu_processes()[1] is not None


def test_rays_idle_workers_are_not_work(tmp_path):
    from ansible.module_utils.verl_container import idle

    for pid, command in (
        (1, b"ray::IDLE\0"),
        (2, b"ray::DashboardAgent\0"),
        (3, b"ray::WorkerDict.update\0"),
        (4, b"x\0"),
    ):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "cmdline").write_bytes(command)
    assert idle.ray_work(str(tmp_path)) == ["ray::WorkerDict.update"]


INFO = {"Runtimes": {"nvidia": {}}, "LiveRestoreEnabled": True, "Swarm": {"LocalNodeState": "inactive"}}


@pytest.mark.parametrize("action", ["restart", "daemon_reload", "gate"])
def test_what_could_harm_a_job_is_left_for_an_idle_host(module, docker, action):
    docker.says(["ps"], out=f"{ID}\tjob\tother\n")
    answer = module("verl_disruption", {"action": action, "because": "--gpus needs it"})
    assert (answer["done"], answer["changed"]) == (False, False)
    assert "container job (other) is running" in answer["deferred"]["because"]
    assert answer["deferred"]["because"].startswith("--gpus needs it, but ")
    assert docker.systemctl.calls == []


def test_it_is_done_where_it_is_allowed(module, docker):
    docker.says(["ps"], out=f"{ID}\tjob\tother\n").says(["info"], out=INFO)
    docker.systemctl.says(["restart", "docker"])
    assert module("verl_disruption", {"action": "restart", "allowed": True})["changed"]
    assert docker.systemctl.calls[1:] == [["restart", "docker"]]


def ran(running, policy):
    """What docker says of a container."""
    return [{"State": {"Running": running, "Pid": 7}, "HostConfig": {"RestartPolicy": {"Name": policy}}}]


def test_containers_that_the_engine_starts_again_are_awaited(module, docker):
    docker.says(["ps"], out=f"{ID}\tjob\tother\n").says(["info"], out=INFO)
    docker.systemctl.says(["restart", "docker"])
    docker.says(["container", "inspect"], out=ran(True, "always"), times=1)
    docker.says(["container", "inspect"], out=ran(False, "always"), times=1)
    docker.says(["container", "inspect"], out=ran(True, "always"))
    assert module("verl_disruption", {"action": "restart", "allowed": True})["changed"]
    assert len(docker.called("container", "inspect")) == 3


def test_a_container_that_does_not_come_back_fails_the_host(module, docker):
    docker.says(["ps"], out=f"{ID}\tjob\tother\n").says(["info"], out=INFO)
    docker.systemctl.says(["restart", "docker"])
    docker.says(["container", "inspect"], out=ran(True, "unless-stopped"), times=1)
    docker.says(["container", "inspect"], out=ran(False, "unless-stopped"))
    answer = module("verl_disruption", {"action": "restart", "allowed": True, "timeout": 0})
    assert answer["failed"] and answer["msg"].startswith("job ran before the restart of docker")


def test_a_container_without_a_restart_policy_ends_as_allowed(module, docker):
    docker.says(["ps"], out=f"{ID}\tjob\tother\n").says(["info"], out=INFO)
    docker.systemctl.says(["restart", "docker"])
    docker.says(["container", "inspect"], out=ran(True, "no"), times=1)
    assert module("verl_disruption", {"action": "restart", "allowed": True})["changed"]


def test_a_unit_with_another_file_beside_it_is_read_again_first(module, docker):
    docker.says(["ps"], out="").says(["info"], out=INFO)
    docker.systemctl.says(["show"], out="yes\n").says(["daemon-reload"]).says(["restart", "docker"])
    assert module("verl_disruption", {"action": "restart"})["changed"]
    assert docker.systemctl.calls[1:] == [["daemon-reload"], ["restart", "docker"]]


def test_systemd_is_never_reloaded_under_running_containers(module, docker):
    docker.says(["ps"], out="").says(["info"], out=INFO)
    docker.systemctl.says(["show"], out="yes\n").says(["is-active"]).says(["reload"]).says(["restart"])
    docker.systemctl.says(["daemon-reload"])
    assert module("verl_disruption", {"action": "live_restore_restart"})["changed"]
    assert ["daemon-reload"] not in docker.systemctl.calls
    assert docker.systemctl.calls[-1] == ["restart", "docker"]


def test_check_mode_does_nothing(module, docker):
    docker.says(["ps"], out="")
    assert module("verl_disruption", {"action": "restart"}, check=True)["changed"]
    assert docker.systemctl.calls == []


def test_a_reload_needs_no_idle_host_and_waits_for_the_runtime(module, docker):
    docker.says(["ps"], out=f"{ID}\tjob\tother\n")
    docker.says(["info"], out={"Runtimes": {}}, times=1).says(["info"], out=INFO)
    docker.systemctl.says(["is-active"]).says(["reload", "docker"])
    assert module("verl_disruption", {"action": "reload", "expect_runtimes": ["nvidia"]})["changed"]
    assert docker.systemctl.calls[-1] == ["reload", "docker"]
    assert len(docker.called("info")) == 2


def test_a_runtime_that_does_not_come_is_said(module, docker):
    docker.says(["info"], out={"Runtimes": {}})
    docker.systemctl.says(["is-active"]).says(["reload", "docker"])
    answer = module("verl_disruption", {"action": "reload", "expect_runtimes": ["nvidia"], "timeout": 0})
    assert answer["failed"]
    assert "does not know the runtime nvidia" in answer["msg"]


def test_a_daemon_that_is_down_is_started_after_a_reset(module, docker):
    docker.says(["info"], out=INFO)
    docker.systemctl.says(["is-active"], rc=3).says(["reset-failed"]).says(["start", "docker"])
    assert module("verl_disruption", {"action": "reload"})["changed"]
    assert docker.systemctl.calls[1:] == [["reset-failed", "docker", "docker.socket"], ["start", "docker"]]


def test_the_start_limit_is_reset(module, docker):
    docker.says(["ps"], out="").says(["info"], out=INFO)
    said = "Job for docker.service failed. start-limit-hit"
    docker.systemctl.says(["restart", "docker"], err=said, rc=1, times=1).says(["reset-failed"]).says(["restart"])
    assert module("verl_disruption", {"action": "restart"})["changed"]
    assert docker.systemctl.calls[1:] == [
        ["restart", "docker"],
        ["reset-failed", "docker", "docker.socket"],
        ["restart", "docker"],
    ]


def test_live_restore_is_looked_at_before_the_restart(module, docker):
    docker.says(["info"], out={**INFO, "LiveRestoreEnabled": False})
    docker.systemctl.says(["is-active"]).says(["reload", "docker"])
    answer = module("verl_disruption", {"action": "live_restore_restart", "timeout": 0})
    assert answer["failed"]
    assert "Nothing was restarted" in answer["msg"]
    assert not docker.systemctl.called("restart")


def test_a_dockerd_that_reads_its_settings_late_is_waited_for(module, docker):
    docker.says(["info"], out={**INFO, "LiveRestoreEnabled": False}, times=1).says(["info"], out=INFO)
    docker.says(["ps"], out="")
    docker.systemctl.says(["is-active"]).says(["reload", "docker"]).says(["restart"])
    assert module("verl_disruption", {"action": "live_restore_restart"})["changed"]


def test_containers_keep_their_processes_or_it_is_an_error(module, docker):
    docker.says(["info"], out=INFO).says(["ps"], out=f"{ID}\tjob\tother\n")
    docker.says(["container", "inspect"], out=[{"State": {"Pid": 7}}])
    docker.systemctl.says(["is-active"]).says(["reload"]).says(["restart"])
    assert module("verl_disruption", {"action": "live_restore_restart"})["changed"]
    docker.script = [rule for rule in docker.script if rule["argv"] != ["container", "inspect"]]
    docker.says(["container", "inspect"], out=[{"State": {"Pid": 7}}], times=1)
    docker.says(["container", "inspect"], out=[{"State": {"Pid": 8}}])
    assert "did not survive" in module("verl_disruption", {"action": "live_restore_restart"})["msg"]


def test_a_rootless_docker_is_asked_where_the_systems_cannot_be(lib, monkeypatch, tmp_path):
    from ansible.module_utils.verl_container import cli

    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    assert cli.docker_host(system="/nowhere") == {}
    (tmp_path / "docker.sock").touch()
    assert cli.docker_host(system="/nowhere") == {"DOCKER_HOST": f"unix://{tmp_path}/docker.sock"}
    assert cli.docker_host(system=str(tmp_path)) == {}, "the system's own can be used"
    monkeypatch.setenv("DOCKER_HOST", "tcp://elsewhere:2375")
    assert cli.docker_host(system="/nowhere") == {}, "the user said where"


def test_what_runs_in_a_rootless_container_without_a_cgroup(lib, docker):
    """`docker top` fails there (seen with rootless Docker 26.1 on cgroups v1): /proc says it."""
    said = "Error response from daemon: unable to get all container pids: lstat : no such file or directory"
    docker.says(["top"], err=said, rc=1)
    docker.says(["container", "inspect"], out=[{"Id": OURS, "State": {"Running": True, "Pid": os.getpid()}}])
    with subprocess.Popen(["/bin/sleep", "60"]) as job:
        inside = lib.processes_in(cli_engine(), OURS)
        job.kill()
    assert "/bin/sleep 60" in inside


def test_a_container_that_cannot_be_looked_into_is_not_idle(lib, docker):
    docker.says(["ps"], out=f"{OURS}\tverl\timage\n").says(["top"], err="Error response from daemon: odd", rc=1)
    docker.says(["container", "inspect"], out=[{"Id": OURS, "State": {"Running": True, "Pid": 2**22 + 1}}])
    assert busy(lib, docker) == ["unknown"]


def cli_engine():
    """Docker's command line."""
    from ansible.module_utils.verl_container import cli

    return cli.Engine("docker")
