"""verl_container against recorded answers: when it creates, starts, recreates, defers and refuses."""

import copy
import json
import os
import shutil

import pytest

IMAGE_ID = "sha256:" + "a" * 64
IDENT = "3f2a" + "0" * 60
# What `docker diff` says of a container in which nobody did anything but our `pip install -e`.
UNTOUCHED = """C /usr
C /usr/lib
C /usr/lib/python3
C /usr/lib/python3/dist-packages
A /usr/lib/python3/dist-packages/__editable__.verl-0.4.1.pth
A /usr/lib/python3/dist-packages/verl-0.4.1.dist-info
A /usr/lib/python3/dist-packages/verl-0.4.1.dist-info/RECORD
D /usr/lib/python3/dist-packages/verl
A /workspace
A /workspace/verl
C /root
C /root/.cache
A /root/.cache/pip
A /root/.cache/pip/selfcheck.json
C /etc
C /etc/ld.so.cache
A /usr/lib/x86_64-linux-gnu
A /usr/lib/x86_64-linux-gnu/libcuda.so.1
C /tmp
A /tmp/x
"""
WORK = UNTOUCHED + "A /root/notes.txt\n"
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
    docker.says(["ps"], out="", times=1)
    docker.says(["image", "inspect"], out=[{"Id": IMAGE_ID, "RepoDigests": [], "Config": {}}])
    docker.says(["diff"], out=UNTOUCHED)
    docker.says(["container", "inspect", "--size"], out=[{"SizeRw": 4096}])
    return docker


@pytest.fixture
def replaceable(docker, container):
    """Docker with the container, idle, which it can stop, rename and make anew."""
    docker.says(["container", "inspect"], out=[container]).says(["top"], out=TOP)
    for word in ("stop", "rename", "start", "rm", "update"):
        docker.says([word])
    return docker.says(["create"], out="new\n")


def changing(docker):
    """The calls that change anything."""
    words = ("create", "start", "stop", "rm", "rename", "kill", "update")
    return [call for call in docker.calls if call[0] in words]


def test_it_is_created_and_started_with_the_seeds_flags(module, docker, args, container, tmp_path):
    docker.says(["container", "inspect"], err="Error: No such container: verl", rc=1, times=1)
    docker.says(["create"], out=IDENT + "\n").says(["start"]).says(["container", "inspect"], out=[container])
    answer = module("verl_container", args)
    assert answer["changed"], answer
    assert answer["actions"] == ["created", "started"]
    assert changing(docker) == [
        ["create", "--runtime=nvidia", "--gpus", "all", "--net=host", "--shm-size=10g", "--cap-add=SYS_ADMIN", "-v",
         f"{tmp_path}/src:/workspace/verl", "--label", "verl-provision.home=", "--name", "verl", "verlai/verl:x",
         "sleep", "infinity"],
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
    assert answer["actions"] == ["removed", "created", "started"], answer
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


# ---- what a user has in it


def recreated(module, args, **more):
    """Run the module so that the container has to be made anew."""
    return module("verl_container", {**args, "shm_size": "64g", "known_id": IDENT, **more})


def test_a_container_with_files_outside_its_mounts_is_kept(module, fake, args, replaceable):
    replaceable.says(["diff"], out=WORK, first=True)
    answer = recreated(module, args)
    assert answer["actions"] == ["kept", "created", "started"], answer
    assert replaceable.called("rm") == []
    aside = f"verl-before-{IDENT[:12]}"
    assert answer["kept"] == {
        "name": aside, "id": IDENT, "image_id": IMAGE_ID, "size_bytes": 4096, "files": 1, "path": "/root/notes.txt",
    }  # fmt: skip
    assert replaceable.called("rename") == [["rename", IDENT, aside]]


def test_it_does_not_start_again_by_itself(module, args, replaceable, container):
    container["HostConfig"]["RestartPolicy"] = {"Name": "always"}
    replaceable.says(["container", "inspect"], out=[container], first=True).says(["diff"], out=WORK, first=True)
    replaceable.says(["container", "inspect", "--size"], out=[{"SizeRw": 1}], first=True)
    assert "kept" in recreated(module, args, restart="always")["actions"]
    assert replaceable.called("update") == [["update", "--restart=no", IDENT]]


def test_a_second_one_with_files_is_left_as_it_is(module, fake, args, container):
    docker = fake("docker")
    old = "9" * 64
    docker.says(["ps"], out=f"{old}\tverl-before-{old[:12]}\n")
    docker.says(["image", "inspect"], out=[{"Id": IMAGE_ID, "RepoDigests": [], "Config": {}}])
    docker.says(["container", "inspect"], out=[container]).says(["top"], out=TOP).says(["diff"], out=WORK)
    kept = {"id": old, "name": f"verl-before-{old[:12]}"}
    answer = recreated(module, args, kept=kept)
    assert (answer["changed"], answer["kept"]) == (False, kept)
    assert "/root/notes.txt" in answer["deferred"]["because"]
    assert kept["name"] in answer["deferred"]["because"]
    assert "verl_discard_container_changes" in answer["deferred"]["fix"]
    assert changing(docker) == []


def test_what_was_kept_is_removed_where_that_is_asked_and_the_next_is_kept(module, fake, args, container):
    docker = fake("docker")
    old = "9" * 64
    docker.says(["ps"], out=f"{old}\tverl-before-{old[:12]}\n").says(["diff"], out=WORK)
    docker.says(["image", "inspect"], out=[{"Id": IMAGE_ID, "RepoDigests": [], "Config": {}}])
    docker.says(["container", "inspect", "--size"], out=[{"SizeRw": 4096}])
    docker.says(["container", "inspect", old], out=[{"Id": old, "State": {"Running": False}}])
    docker.says(["container", "inspect"], out=[container]).says(["top"], out=TOP)
    for word in ("stop", "rename", "create", "start", "rm"):
        docker.says([word])
    answer = recreated(module, args, kept={"id": old, "name": f"verl-before-{old[:12]}"}, discard_kept=True)
    assert answer["actions"] == ["discarded", "kept", "created", "started"]
    assert docker.called("rm") == [["rm", "-f", old]]
    assert answer["kept"]["id"] == IDENT


def test_one_that_a_killed_run_left_aside_with_files_is_kept_and_named(module, fake, args, container):
    docker = fake("docker")
    old = "9" * 64
    aside = copy.deepcopy(container) | {"Id": old, "Name": f"/verl-before-{old[:12]}"}
    docker.says(["ps"], out=f"{old}\tverl-before-{old[:12]}\n").says(["diff"], out=WORK)
    docker.says(["image", "inspect"], out=[{"Id": IMAGE_ID, "RepoDigests": [], "Config": {}}])
    docker.says(["container", "inspect", "--size"], out=[{"SizeRw": 4096}])
    docker.says(["container", "inspect", old], out=[aside])
    docker.says(["container", "inspect"], out=[container])
    answer = module("verl_container", args)
    assert answer["actions"] == ["kept"]
    assert answer["kept"]["path"] == "/root/notes.txt"
    assert changing(docker) == []
    again = module("verl_container", {**args, "kept": answer["kept"]})
    assert (again["changed"], again["kept"]) == (False, answer["kept"])


HOME = {"huggingface": "/root/.cache/huggingface", "root-data": "/root/data", "data": "/data"}


def test_a_new_container_gets_mounts_for_what_people_keep(module, docker, args, container, tmp_path):
    docker.says(["container", "inspect"], err="Error: No such container: verl", rc=1, times=1)
    docker.says(["create"], out=IDENT + "\n").says(["start"]).says(["container", "inspect"], out=[container])
    own = [*args["volumes"], f"{tmp_path}:/data"]
    module("verl_container", {**args, "volumes": own, "home": f"{tmp_path}/verl/home/verl"})
    create = docker.called("create")[0]
    mounts = [create[at + 1] for at, word in enumerate(create) if word == "-v"]
    home = f"{tmp_path}/verl/home/verl"
    assert mounts == [*own, f"{home}/huggingface:/root/.cache/huggingface", f"{home}/root-data:/root/data"]
    assert f"verl-provision.home={home}" in create
    assert sorted(path.name for path in (tmp_path / "verl/home/verl").iterdir()) == ["huggingface", "root-data"]


def test_a_container_is_not_made_anew_for_these_mounts(module, docker, args, container, tmp_path):
    docker.says(["container", "inspect"], out=[container])
    answer = module("verl_container", {**args, "home": f"{tmp_path}/home"})
    assert (answer["changed"], answer["differences"]) == (False, [])
    container["Config"]["Labels"] = {"verl-provision.home": "/elsewhere"}
    container["Mounts"].append({"Type": "bind", "Source": "/elsewhere/data", "Destination": "/data", "RW": True})
    docker.says(["ps"], first=True).says(["container", "inspect"], out=[container], first=True)
    assert module("verl_container", {**args, "home": f"{tmp_path}/home"})["differences"] == []
    container["Mounts"][-1]["Source"] = "/mnt/theirs"
    docker.says(["ps"], first=True).says(["container", "inspect"], out=[container], first=True)
    docker.says(["top"], out=TOP).says(["diff"], out=UNTOUCHED)
    answer = module("verl_container", {**args, "home": f"{tmp_path}/home"}, check=True)
    assert [difference["option"] for difference in answer["differences"]] == ["volumes"]


def test_old_data_moves_into_the_new_mounts(module, args, replaceable, tmp_path):
    replaceable.says(
        ["diff"], out=UNTOUCHED + "A /root/data\nA /root/data/gsm8k\nA /root/data/gsm8k/train.parquet\n", first=True
    )
    replaceable.holds(IDENT, "/root/data", {"gsm8k/train.parquet": "rows"})
    answer = recreated(module, args, home=f"{tmp_path}/home")
    assert answer["actions"] == ["removed", "created", "started"], answer
    assert (tmp_path / "home/root-data/gsm8k/train.parquet").read_text() == "rows"
    words = [call[0] for call in replaceable.calls]
    assert words.index("stop") < words.index("rename") < words.index("create") < words.index("rm")
    assert [path.name for path in (tmp_path / "home").iterdir() if path.name.startswith(".")] == []


def test_data_that_a_killed_run_had_copied_already_is_not_copied_over_nor_kept_twice(
    module, args, replaceable, tmp_path
):
    replaceable.says(["diff"], out=UNTOUCHED + "A /root/data\nA /root/data/x\n", first=True)
    replaceable.holds(IDENT, "/root/data", {"x": "rows"})
    there = tmp_path / "home/root-data/x"
    there.parent.mkdir(parents=True)
    there.write_text("rows")
    os.utime(there, (1, 1))
    (there.parent / "newer").write_text("made since")
    assert recreated(module, args, home=f"{tmp_path}/home")["actions"] == ["removed", "created", "started"]
    assert (there.parent / "newer").exists()


def test_data_that_differs_from_what_the_mount_holds_is_kept_in_its_container(module, args, replaceable, tmp_path):
    replaceable.says(["diff"], out=UNTOUCHED + "A /root/data\nA /root/data/x\n", first=True)
    replaceable.holds(IDENT, "/root/data", {"x": "rows"})
    there = tmp_path / "home/root-data/x"
    there.parent.mkdir(parents=True)
    there.write_text("other rows")
    answer = recreated(module, args, home=f"{tmp_path}/home")
    assert (answer["actions"][0], answer["kept"]["path"]) == ("kept", "/root/data/x")
    assert there.read_text() == "other rows"


def test_data_that_does_not_fit_stops_everything_before_it_begins(module, args, replaceable, tmp_path, monkeypatch):
    replaceable.says(["diff"], out=UNTOUCHED + "A /root/data\nA /root/data/x\n", first=True)
    replaceable.holds(IDENT, "/root/data", {"x": "rows"})
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(10, 8, 2))
    answer = recreated(module, args, home=f"{tmp_path}/home")
    assert answer["failed"]
    assert "/root/data" in answer["msg"]
    assert "training_container_home" in answer["fix"]
    assert changing(replaceable) == []


def test_where_the_copy_fails_the_old_one_goes_on(module, args, replaceable, tmp_path):
    replaceable.says(["diff"], out=UNTOUCHED + "A /root/data\nA /root/data/x\n", first=True)
    replaceable.says(["cp", f"{IDENT}:/root/data/."], err="input/output error", rc=1)
    replaceable.holds(IDENT, "/root/data", {"x": "rows"})
    answer = recreated(module, args, home=f"{tmp_path}/home")
    assert answer["failed"]
    assert "back in its place" in answer["msg"]
    assert [call[0] for call in changing(replaceable)] == ["stop", "start"]
    assert list((tmp_path / "home").iterdir()) == []


def test_where_the_layer_cannot_be_read_nothing_is_touched(module, args, replaceable):
    replaceable.says(["diff"], err="Error response from daemon: i/o timeout", rc=1, first=True)
    assert recreated(module, args)["failed"]
    assert changing(replaceable) == []


def test_a_labelled_container_is_ours_though_the_stamp_is_gone(module, args, replaceable, container):
    container["Config"]["Labels"] = {"verl-provision.home": ""}
    replaceable.says(["container", "inspect"], out=[container], first=True)
    assert recreated(module, args, known_id="")["actions"] == ["removed", "created", "started"]
