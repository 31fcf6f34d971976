"""verl_container against recorded answers: when it creates, starts, recreates, defers and refuses."""

import copy
import json

import pytest

IMAGE_ID = "sha256:" + "a" * 64
IDENT = "3f2a" + "0" * 60
TOP = "PID STAT COMMAND\n4711 Ss sleep infinity\n"


@pytest.fixture
def args(tmp_path):
    """The module's options; the mount exists."""
    (tmp_path / "src").mkdir()
    return {"name": "verl", "image": "verlai/verl:x", "volumes": [f"{tmp_path}/src:/workspace/verl"]}


@pytest.fixture
def container(recorded, tmp_path):
    """The container that those options make, running."""
    found = copy.deepcopy(recorded("docker-20.10/container-gpus-all.json")[0])
    found.update(Id=IDENT, Image=IMAGE_ID)
    found["HostConfig"].update(Runtime="nvidia", Devices=[], Ulimits=None, SecurityOpt=None)
    found["Config"].update(Env=None, Labels={})
    found["Mounts"][0].update(Mode="", RW=True, Source=f"{tmp_path}/src")
    found["State"].update(Running=True, Pid=4711, StartedAt="2026-11-24T10:00:00Z")
    return found


@pytest.fixture
def docker(fake):
    """Docker with the image."""
    docker = fake("docker")
    docker.says(["ps"], out="")
    docker.says(["image", "inspect"], out=[{"Id": IMAGE_ID, "RepoDigests": [], "Config": {}}])
    return docker


def changing(docker):
    """The calls that change anything."""
    words = ("create", "start", "stop", "rm", "rename", "kill")
    return [call for call in docker.calls if call[0] in words]


def test_it_is_created_and_started_with_the_seeds_flags(module, docker, args, container, tmp_path):
    docker.says(["container", "inspect"], err="Error: No such container: verl", rc=1, times=1)
    docker.says(["create"], out=IDENT + "\n").says(["start"]).says(["container", "inspect"], out=[container])
    answer = module("verl_container", args)
    assert answer["changed"], answer
    assert answer["actions"] == ["created", "started"]
    assert changing(docker) == [
        ["create", "--runtime=nvidia", "--gpus", "all", "--net=host", "--shm-size=10g", "--cap-add=SYS_ADMIN", "-v",
         f"{tmp_path}/src:/workspace/verl", "--name", "verl", "verlai/verl:x", "sleep", "infinity"],
        ["start", "verl"],
    ]  # fmt: skip
    assert answer["command_line"]["shell"] == "docker exec -it verl bash"


def test_check_mode_shows_the_command_and_does_nothing(module, docker, args):
    docker.says(["container", "inspect"], err="Error: No such container: verl", rc=1)
    answer = module("verl_container", args, check=True)
    assert answer["changed"]
    assert "docker create --runtime=nvidia --gpus all" in answer["diff"]["after"]["create"]
    assert changing(docker) == []


def test_check_mode_on_a_host_without_an_engine_plans_the_container(module, fake, args):
    assert module("verl_container", args, check=True)["actions"] == ["created"]


@pytest.mark.parametrize("request_", ["gpus_all", "runtime_env"])
def test_one_as_wanted_is_left_alone(module, docker, args, container, request_):
    docker.says(["container", "inspect"], out=[container])
    answer = module("verl_container", {**args, "gpu_request": request_})
    assert not answer["changed"]
    assert (answer["differences"], answer["actions"], answer["deferred"]) == ([], [], None)
    assert answer["container"]["pid"] == 4711
    assert changing(docker) == []


def test_one_that_is_stopped_is_started(module, docker, args, container):
    stopped = copy.deepcopy(container)
    stopped["State"]["Running"] = False
    docker.says(["container", "inspect"], out=[stopped], times=1).says(["start"])
    docker.says(["container", "inspect"], out=[container])
    assert module("verl_container", args)["actions"] == ["started"]
    assert changing(docker) == [["start", "verl"]]


def test_a_running_one_is_started_anew_where_its_gpus_come_from_another_toolkit(module, docker, args, container):
    docker.says(["container", "inspect"], out=[container]).says(["top"], out=TOP).says(["stop"]).says(["start"])
    answer = module("verl_container", {**args, "restart_running": True})
    assert (answer["changed"], answer["actions"]) == (True, ["stopped", "started"])
    assert [call[0] for call in changing(docker)] == ["stop", "start"]


def test_one_in_which_something_runs_is_not_started_anew(module, docker, args, container):
    docker.says(["container", "inspect"], out=[container]).says(["top"], out=TOP + "4801 Sl python3 -m verl.trainer\n")
    answer = module("verl_container", {**args, "restart_running": True})
    assert (answer["changed"], answer["deferred"]["action"]) == (False, "restart")
    assert changing(docker) == []


def test_one_in_which_something_runs_is_not_recreated(module, docker, args, container):
    docker.says(["container", "inspect"], out=[container]).says(["top"], out=TOP + "4801 Sl python3 -m verl.trainer\n")
    answer = module("verl_container", {**args, "shm_size": "64g", "known_id": IDENT})
    assert not answer["changed"]
    assert "python3 -m verl.trainer" in answer["deferred"]["because"]
    assert "shm_size" in answer["deferred"]["because"]
    assert changing(docker) == []


def test_a_zombie_is_nobody(module, docker, args, container):
    docker.says(["container", "inspect"], out=[container]).says(["top"], out=TOP + "4801 Z [python3] <defunct>\n")
    docker.says(["stop"]).says(["rename"]).says(["create"], out="new\n").says(["start"]).says(["rm"])
    answer = module("verl_container", {**args, "shm_size": "64g", "known_id": IDENT})
    assert answer["actions"] == ["removed", "created", "started"]
    assert [call[0] for call in changing(docker)] == ["stop", "rename", "create", "start", "rm"]


def test_another_image_is_a_difference(module, docker, args, container):
    container["Image"] = "sha256:" + "b" * 64
    docker.says(["container", "inspect"], out=[container]).says(["top"], out=TOP)
    answer = module("verl_container", {**args, "known_id": IDENT}, check=True)
    assert [difference["option"] for difference in answer["differences"]] == ["image"]
    assert answer["changed"]
    assert changing(docker) == []


def test_where_the_new_one_does_not_start_the_old_one_comes_back(module, docker, args, container):
    docker.says(["container", "inspect"], out=[container]).says(["top"], out=TOP)
    docker.says(["stop"]).says(["rename"]).says(["create"], out="new\n").says(["rm"])
    docker.says(["start", "verl"], err='could not select device driver "" with capabilities: [[gpu]]', rc=1)
    docker.says(["start", IDENT])
    answer = module("verl_container", {**args, "shm_size": "64g", "known_id": IDENT})
    assert answer["failed"]
    assert "back in its place" in answer["msg"]
    assert "NVIDIA_VISIBLE_DEVICES=all" in answer["fix"]
    assert changing(docker)[-3:] == [["rm", "-f", "verl"], ["rename", IDENT, "verl"], ["start", IDENT]]


def test_somebody_elses_container_is_refused(module, docker, args, container):
    docker.says(["container", "inspect"], out=[container]).says(["top"], out=TOP)
    answer = module("verl_container", {**args, "shm_size": "64g", "known_id": "another"})
    assert answer["failed"]
    assert "did not make" in answer["msg"]
    assert changing(docker) == []


def test_a_missing_mount_is_refused_instead_of_made_as_roots(module, docker, args):
    docker.says(["container", "inspect"], err="Error: No such container: verl", rc=1)
    answer = module("verl_container", {**args, "volumes": ["/nowhere/at/all:/workspace/verl"]})
    assert answer["failed"]
    assert answer["fix"] == "mkdir -p /nowhere/at/all"


def test_a_container_that_a_killed_run_left_aside_comes_back(module, fake, args, container):
    docker = fake("docker")
    docker.says(["ps"], out=f"{IDENT}\tverl-before-{IDENT[:12]}\n{'9' * 64}\tverl-before-mine\n")
    docker.says(["image", "inspect"], out=[{"Id": IMAGE_ID, "RepoDigests": [], "Config": {}}])
    docker.says(["container", "inspect"], err="Error: No such container: verl", rc=1, times=1)
    docker.says(["container", "inspect"], out=[container]).says(["rename"])
    assert module("verl_container", args)["differences"] == []
    assert changing(docker) == [["rename", IDENT, "verl"]]


def test_secret_values_are_nowhere(module, docker, args, container):
    docker.says(["container", "inspect"], err="Error: No such container: verl", rc=1, times=1)
    docker.says(["create"], out=IDENT + "\n").says(["start"]).says(["container", "inspect"], out=[container])
    answer = module("verl_container", {**args, "secret_env": {"HF_TOKEN": "hf_canary"}})
    assert "hf_canary" not in json.dumps(answer)
    assert "hf_canary" not in json.dumps(docker.calls)
    assert "HF_TOKEN" in docker.called("create")[0]


def test_the_daemons_errors_come_with_the_next_command(module, fake, args):
    fake("docker").says(["ps"], err="permission denied while trying to connect to the Docker daemon socket", rc=1)
    answer = module("verl_container", args)
    assert answer["failed"]
    assert "docker group" in answer["fix"]
