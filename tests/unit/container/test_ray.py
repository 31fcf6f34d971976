"""Modules verl_ray and verl_ray_unit: what can't be reached is named, a node that works isn't let go or restarted."""

import json
import os
import shlex
import socket

import pytest

ID = "3" * 64
NODES = [
    {"name": "gpu-1", "address": "127.0.0.1", "gpus": 8},
    {"name": "gpu-2", "address": "127.0.0.2", "gpus": 8},
]
IDLE = "PID STAT COMMAND\n1 Ss ray start --head --block\n7 Sl raylet\n9 Sl ray::IDLE\n"


@pytest.fixture
def open_port():
    """A port that somebody listens on."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def closed_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def said(alive):
    ids = {address: address for address in alive}
    return "verl-ray " + json.dumps({"alive": alive, "ids": ids}) + "\n"


def test_a_port_that_answers_is_reached(module, open_port):
    target = {"node": "gpu-1", "address": "127.0.0.1", "port": open_port, "what": "GCS"}
    assert not module("verl_ray", {"action": "reach", "targets": [target], "timeout": 5})["failed"]


def test_one_that_does_not_is_named_with_its_node_and_what_it_is(module):
    port = closed_port()
    target = {"node": "gpu-1", "address": "127.0.0.1", "port": port, "what": "GCS"}
    answer = module("verl_ray", {"action": "reach", "targets": [target], "timeout": 0})
    assert answer["failed"]
    assert f"gpu-1 (127.0.0.1) port {port} (GCS): refused" in answer["msg"]


def test_ready_counts_nodes_and_gpus(module, fake):
    fake("docker").says(["exec", "verl-ray"], out=said({"127.0.0.1": 8, "127.0.0.2": 8}))
    answer = module("verl_ray", {"action": "ready", "gcs": "127.0.0.1:6379", "nodes": NODES, "timeout": 5})
    assert (answer["failed"], answer["gpus"]) == (False, 16)


def test_a_node_that_is_missing_or_short_of_gpus_is_named(module, fake):
    fake("docker").says(["exec", "verl-ray"], out=said({"127.0.0.1": 7}))
    answer = module("verl_ray", {"action": "ready", "gcs": "127.0.0.1:6379", "nodes": NODES, "timeout": 0})
    assert answer["failed"]
    assert "gpu-1 (127.0.0.1) has 7 GPUs, planned are 8" in answer["msg"]
    assert "gpu-2 (127.0.0.2) has not joined" in answer["msg"]


def test_check_mode_waits_for_nobody(module):
    args = {"action": "ready", "gcs": "127.0.0.1:1", "nodes": NODES, "timeout": 300}
    assert module("verl_ray", args, check=True)["changed"] is False


OURS = {"verl-provision.home": "/home/ops/verl/home/verl"}


def leaving(fake, processes, changes="", containers="", labels=OURS):
    docker = fake("docker")
    inspected = {"Id": ID, "State": {"Running": True}, "Config": {"Labels": labels}}
    docker.says(["container", "inspect"], out=[inspected])
    docker.says(["diff"], out=changes)
    docker.says(["ps"], out=containers)
    docker.says(["top"], out=processes)
    docker.says(["exec", "verl-ray", "python3"], out=said({"127.0.0.2": 8}))
    for argv in (["exec", "verl-ray", "ray"], ["stop"], ["rm"], ["rename"], ["update"]):
        docker.says(argv)
    return docker


def test_a_node_is_drained_then_removed(module, fake):
    docker = leaving(fake, IDLE)
    answer = module("verl_ray", {"action": "leave", "gcs": "127.0.0.1:6379", "address": "127.0.0.2"})
    assert answer["changed"]
    (drain,) = docker.called("exec", "verl-ray", "ray", "drain-node")
    assert "DRAIN_NODE_REASON_IDLE_TERMINATION" in drain
    assert docker.called("rm")


def test_a_node_on_which_an_actor_runs_stays(module, fake):
    docker = leaving(fake, IDLE + "12 Sl ray::Trainer.step\n")
    answer = module("verl_ray", {"action": "leave", "gcs": "127.0.0.1:6379", "address": "127.0.0.2"})
    assert answer["failed"]
    assert "ray::Trainer.step" in answer["msg"]
    assert not docker.called("stop")
    assert not docker.called("exec", "verl-ray", "ray")


LEAVE = {"action": "leave", "gcs": "127.0.0.1:6379", "address": "127.0.0.2"}
NOTES = "C /root\nA /root/notes.txt\nA /tmp/ray/x\n"
KEPT = f"{'e' * 64}\tverl-ray-before-{'e' * 12}\n"


def test_a_container_that_somebody_has_files_in_is_kept_when_its_node_leaves(module, fake):
    docker = leaving(fake, IDLE, NOTES)
    assert module("verl_ray", LEAVE)["changed"]
    assert docker.called("rename", "verl-ray", f"verl-ray-before-{ID[:12]}")
    assert docker.called("update", "--restart=no")
    assert not docker.called("rm")


def test_a_second_one_with_files_is_left_as_it_is(module, fake):
    docker = leaving(fake, IDLE, NOTES, KEPT)
    answer = module("verl_ray", LEAVE)
    assert "/root/notes.txt" in answer["msg"] and "verl_discard_container_changes" in answer["fix"]
    assert not (docker.called("stop") or docker.called("rm") or docker.called("rename"))


def test_what_was_kept_goes_where_that_is_asked(module, fake):
    docker = leaving(fake, IDLE, NOTES, KEPT)
    assert module("verl_ray", {**LEAVE, "discard_kept": True}, check=True)["changed"]
    assert not docker.called("rm")
    assert module("verl_ray", {**LEAVE, "discard_kept": True})["changed"]
    assert [call[-1] for call in docker.called("rm")] == [f"verl-ray-before-{'e' * 12}", "verl-ray"]


def test_somebodys_own_container_of_that_name_is_refused(module, fake):
    docker = leaving(fake, IDLE, labels={})
    assert "docker rename verl-ray verl-ray-own" in module("verl_ray", LEAVE)["fix"]
    assert not (docker.called("stop") or docker.called("rm") or docker.called("rename"))
    assert module("verl_ray", {**LEAVE, "known_id": ID})["changed"]  # of 0.1.0, which gave it no label


# ---- the unit of a source environment


@pytest.fixture
def home(tmp_path, monkeypatch, fake):
    """A login user with an environment that has Ray, whose systemd answers and takes notes."""
    from ansible.module_utils.verl_container import idle

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(idle, "ray_work", lambda proc="/proc": [])
    folder = tmp_path / "verl/env/bin"
    folder.mkdir(parents=True)
    (folder / "ray").touch()
    return tmp_path


def systemd(fake, active="inactive"):
    systemctl = fake("systemctl")
    systemctl.says(["--user", "is-active"], out=active + "\n", rc=0 if active == "active" else 3)
    for verb in ("show", "daemon-reload", "enable", "start", "restart", "disable"):
        systemctl.says(["--user", verb])
    return systemctl


def path_of(home):
    return home / ".config/systemd/user/verl-ray.service"


def wanted(home, **changes):
    command = ["ray", "start", "--head", '--resources={"100%": 1}', "--block"]
    environment = {"NCCL_SOCKET_IFNAME": "eth0", "ODD": 'a "b" $C 5% \\ d'}
    prefix = str(home / "verl")
    return {"prefix": prefix, "workdir": prefix, "command": command, "environment": environment, **changes}


def enable(home):
    wants = path_of(home).parent / "default.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / "verl-ray.service").symlink_to(path_of(home))


def test_a_unit_is_written_enabled_and_started(module, fake, home):
    systemctl = systemd(fake)
    answer = module("verl_ray_unit", wanted(home))
    assert answer["actions"] == ["written", "enabled", "started"]
    assert [call[1] for call in systemctl.calls] == ["show", "daemon-reload", "enable", "start"]
    text = path_of(home).read_text()
    lines = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    assert (lines["Restart"], lines["WantedBy"]) == ("always", "default.target")
    # systemd's quoting is that of the shell here, but for its own two characters.
    assert shlex.split(lines["ExecStart"].replace("$$", "$").replace("%%", "%")) == [
        f"{home}/verl/env/bin/ray", *wanted(home)["command"][1:],
    ]  # fmt: skip
    given = dict(
        shlex.split(line.removeprefix("Environment=").replace("%%", "%"))[0].split("=", 1)
        for line in text.splitlines()
        if line.startswith("Environment=")
    )
    assert given["ODD"] == wanted(home)["environment"]["ODD"]
    assert given["PATH"].startswith(f"{home}/verl/env/bin:")
    assert "CONDA_PREFIX" not in given


def test_the_same_again_changes_nothing(module, fake, home):
    systemd(fake)
    module("verl_ray_unit", wanted(home))
    enable(home)
    systemctl = systemd(fake, "active")
    before = len(systemctl.calls)
    answer = module("verl_ray_unit", wanted(home))
    assert (answer["changed"], answer["actions"]) == (False, [])
    assert [call[1] for call in systemctl.calls[before:]] == ["is-active"]


def test_one_that_ended_is_started_and_not_written(module, fake, home):
    systemd(fake)
    module("verl_ray_unit", wanted(home))
    enable(home)
    assert module("verl_ray_unit", wanted(home))["actions"] == ["started"]


def test_a_unit_under_which_a_job_runs_is_left_until_it_ends(module, fake, home, monkeypatch):
    from ansible.module_utils.verl_container import idle

    systemd(fake)
    module("verl_ray_unit", wanted(home))
    enable(home)
    systemctl, text = systemd(fake, "active"), path_of(home).read_text()
    monkeypatch.setattr(idle, "ray_work", lambda proc="/proc": ["ray::Trainer.step"])
    other = wanted(home, environment={"NCCL_DEBUG": "INFO"})
    answer = module("verl_ray_unit", other)
    assert answer["changed"] is False
    assert "ray::Trainer.step" in answer["deferred"]["because"]
    assert path_of(home).read_text() == text
    assert not systemctl.called("--user", "restart")
    assert module("verl_ray_unit", {**other, "disruption_allowed": True})["actions"] == ["written", "restarted"]
    assert systemctl.called("--user", "restart")


def test_check_mode_writes_and_starts_nothing(module, fake, home):
    systemctl = systemd(fake)
    answer = module("verl_ray_unit", wanted(home), check=True)
    assert answer["actions"] == ["written", "enabled", "started"]
    assert "ExecStart=" in answer["diff"]["after"]
    assert systemctl.calls == []
    assert not path_of(home).exists()


def test_an_environment_without_ray_is_named(module, fake, home):
    systemd(fake)
    (home / "verl/env/bin/ray").unlink()
    answer = module("verl_ray_unit", wanted(home))
    assert answer["failed"]
    assert f"there is no {home}/verl/env/bin/ray" in answer["msg"]


def test_a_user_without_a_manager_is_told_what_to_ask_for(module, fake, home, monkeypatch):
    from ansible.module_utils.verl_container import unit

    monkeypatch.setattr(unit, "STARTS", 0.0)
    fake("systemctl").says(["--user", "show"], err="Failed to connect to bus: No such file or directory", rc=1)
    answer = module("verl_ray_unit", wanted(home))
    assert answer["failed"]
    assert "Failed to connect to bus" in answer["msg"]
    assert "sudo loginctl enable-linger" in answer["msg"]


def test_ray_of_a_source_environment_is_asked_with_its_own_python_and_token(module, home, fake):
    systemd(fake)
    python = home / "verl/env/bin/python3"
    alive = said({"127.0.0.1": 8, "127.0.0.2": 8})
    python.write_text(f"#!/bin/sh\n[ \"$RAY_AUTH_TOKEN_PATH\" = /token ] || exit 3\nprintf '%s' {shlex.quote(alive)}\n")
    python.chmod(0o755)
    args = {"action": "ready", "engine": "source", "prefix": str(home / "verl"), "nodes": NODES, "timeout": 0}
    assert module("verl_ray", {**args, "token_file": "/token"})["gpus"] == 16
    answer = module("verl_ray", args)
    assert "Ray in unit verl-ray does not answer: exit 3" in answer["msg"]
    assert "journalctl --user -n 50 -u verl-ray" in answer["msg"]


def test_a_unit_is_drained_and_removed_unless_it_works(module, fake, home, monkeypatch):
    from ansible.module_utils.verl_container import idle

    systemd(fake)
    module("verl_ray_unit", wanted(home))
    systemctl = systemd(fake, "active")
    notes = home / "drained"
    for name, text in (
        ("python3", f"printf '%s' {shlex.quote(said({'127.0.0.2': 8}))}"),
        ("ray", f'echo "$@" > {notes}'),
    ):
        (home / "verl/env/bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (home / "verl/env/bin" / name).chmod(0o755)
    args = {"action": "leave", "engine": "source", "prefix": str(home / "verl"), "address": "127.0.0.2"}
    monkeypatch.setattr(idle, "ray_work", lambda proc="/proc": ["ray::Trainer.step"])
    assert "ray::Trainer.step" in module("verl_ray", args)["msg"]
    assert path_of(home).exists()
    monkeypatch.setattr(idle, "ray_work", lambda proc="/proc": [])
    assert module("verl_ray", args)["changed"]
    assert "drain-node" in notes.read_text()
    assert systemctl.called("--user", "disable", "--now", "verl-ray.service")
    assert not os.path.exists(path_of(home))
    assert module("verl_ray", args)["changed"] is False
