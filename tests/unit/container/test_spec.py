"""Wanted and found containers compared, on what real engines recorded."""

import copy

import pytest


@pytest.fixture
def lib():
    """The functions under test."""
    from ansible.module_utils.verl_container import spec

    return spec


def options(**more):
    """The module's options for the seed's container."""
    return {
        "gpu_request": "gpus_all", "runtime": "nvidia", "network": "host", "ipc": "", "shm_size": "10g",
        "cap_add": ["SYS_ADMIN"], "security_opt": [], "volumes": ["/tmp/conv/src:/workspace/verl"], "devices": [],
        "ulimits": [], "env": {}, "labels": {}, "workdir": "", "restart": "no", "command": ["sleep", "infinity"],
        "name": "verl", "extra_args": [], **more,
    }  # fmt: skip


@pytest.fixture
def gpu(recorded):
    """A container as `docker inspect` shows it after the seed's command."""
    found = copy.deepcopy(recorded("docker-20.10/container-gpus-all.json")[0])
    found["HostConfig"].update(Runtime="nvidia", Devices=[], Ulimits=None, SecurityOpt=None)
    found["Config"].update(Env=None, Labels={})
    found["Mounts"][0].update(Mode="", RW=True)
    return found


def test_the_seeds_command_line(lib):
    line = " ".join(lib.arguments(options(), "IMAGE"))
    assert line == (
        "create --runtime=nvidia --gpus all --net=host --shm-size=10g --cap-add=SYS_ADMIN "
        "-v /tmp/conv/src:/workspace/verl --name verl IMAGE sleep infinity"
    )


def test_the_busy_hosts_command_line_asks_by_runtime(lib):
    argv = lib.arguments(options(gpu_request="runtime_env"), "IMAGE")
    assert argv[:4] == ["create", "--runtime=nvidia", "-e", "NVIDIA_VISIBLE_DEVICES=all"]
    assert "--gpus" not in argv


def test_chosen_gpus_are_asked_for_by_uuid_and_compare_equal_whichever_way(lib, gpu):
    ids = ["GPU-b", "GPU-a"]
    asked = lib.arguments(options(gpu_ids=ids), "IMAGE")
    assert asked[asked.index("--gpus") + 1] == '"device=GPU-b,GPU-a"'
    assert "NVIDIA_VISIBLE_DEVICES=GPU-b,GPU-a" in lib.arguments(
        options(gpu_request="runtime_env", gpu_ids=ids), "IMAGE"
    )
    by_cdi = lib.arguments(options(gpu_request="cdi", gpu_ids=ids), "IMAGE")
    assert [word for word in by_cdi if word.startswith("nvidia.com")] == [
        "nvidia.com/gpu=GPU-b",
        "nvidia.com/gpu=GPU-a",
    ]
    by_env = copy.deepcopy(gpu)
    gpu["HostConfig"]["DeviceRequests"][0].update(Count=0, DeviceIDs=["GPU-a", "GPU-b"])
    by_env["HostConfig"]["DeviceRequests"] = None
    by_env["Config"]["Env"] = ["NVIDIA_VISIBLE_DEVICES=GPU-a,GPU-b"]
    for found in (gpu, by_env):
        assert lib.differences(lib.wanted(options(gpu_ids=ids)), lib.actual(found, None)) == []
        assert [row["option"] for row in lib.differences(lib.wanted(options()), lib.actual(found, None))] == ["gpus"]
    podman = {"Config": {"CreateCommand": ["--device", "nvidia.com/gpu=GPU-a", "--device", "nvidia.com/gpu=GPU-b"]}}
    assert lib.actual(podman, None)["gpus"] == lib.wanted(options(gpu_request="cdi", gpu_ids=ids))["gpus"]
    assert lib.actual(podman, None)["devices"] == []


def test_secrets_are_named_only(lib):
    argv = lib.arguments(options(gpu_request="none"), "IMAGE", {"HF_TOKEN": "hf_canary"})
    assert argv[argv.index("-e") + 1] == "HF_TOKEN"
    assert not any("hf_canary" in part for part in argv)


def test_the_seeds_container_compares_equal(lib, gpu, recorded):
    image = recorded("docker-20.10/image.json")[0]
    assert lib.differences(lib.wanted(options()), lib.actual(gpu, image)) == []


def test_both_ways_of_asking_for_gpus_compare_equal(lib, gpu):
    by_env = copy.deepcopy(gpu)
    by_env["HostConfig"]["DeviceRequests"] = None
    by_env["Config"]["Env"] = ["NVIDIA_VISIBLE_DEVICES=all", "PATH=/usr/bin"]
    for found in (gpu, by_env):
        for request in ("gpus_all", "runtime_env"):
            assert lib.differences(lib.wanted(options(gpu_request=request)), lib.actual(found, None)) == []


@pytest.mark.parametrize(
    ("wanted", "option"),
    [
        ({"gpu_request": "cdi"}, "gpus"),
        ({"gpu_request": "none"}, "gpus"),
        ({"shm_size": "64g"}, "shm_size"),
        ({"cap_add": ["CAP_SYS_ADMIN", "sys_nice"]}, "cap_add"),
        ({"network": "bridge"}, "network"),
        ({"ipc": "host"}, "ipc"),
        ({"volumes": ["/tmp/conv/src:/workspace/verl", "/data:/data:ro"]}, "volumes"),
        ({"volumes": ["/elsewhere:/workspace/verl"]}, "volumes"),
        ({"devices": ["/dev/infiniband"]}, "devices"),
        ({"ulimits": ["memlock=-1"]}, "ulimits"),
        ({"env": {"A": "1"}}, "env.A"),
        ({"labels": {"x": "y"}}, "label.x"),
        ({"security_opt": ["seccomp=unconfined"]}, "security_opt"),
        ({"restart": "unless-stopped"}, "restart"),
        ({"command": ["bash"]}, "command"),
        ({"workdir": "/workspace/verl"}, "workdir"),
    ],
)
def test_each_wanted_option_counts(lib, gpu, wanted, option):
    differences = lib.differences(lib.wanted(options(**wanted)), lib.actual(gpu, None))
    assert option in [difference["option"] for difference in differences]


def test_every_option_reads_back_from_a_real_container(lib, recorded):
    found = recorded("docker-20.10/container-gpus-all.json")[0]
    wanted = options(
        volumes=["/tmp/conv/src:/workspace/verl:ro"], env={"A": "1"}, labels={"x": "y"}, ulimits=["memlock=-1"],
        devices=["/dev/null:/dev/zz"], security_opt=["seccomp=unconfined"], runtime="",
    )  # fmt: skip
    assert lib.differences(lib.wanted(wanted), lib.actual(found, recorded("docker-20.10/image.json")[0])) == []


def test_the_images_own_settings_are_nobodys_difference(lib, gpu):
    gpu["Config"].update(Env=["CUDA=12", "NVIDIA_VISIBLE_DEVICES=all", "PATH=/x"], Labels={"a": "b"}, WorkingDir="/w")
    image = {"Config": {"Env": ["CUDA=12", "PATH=/x"], "Labels": {"a": "b"}, "WorkingDir": "/w"}}
    assert lib.differences(lib.wanted(options()), lib.actual(gpu, image)) == []


def test_what_was_added_by_hand_is_a_difference_but_a_proxy_is_not(lib, gpu):
    gpu["Config"]["Env"] = ["HTTP_PROXY=http://p", "no_proxy=x", "MINE=1"]
    differences = lib.differences(lib.wanted(options()), lib.actual(gpu, None))
    assert differences == [{"option": "env.MINE", "found": "(set)", "wanted": None}]


def test_secret_values_are_compared_and_never_shown(lib, gpu):
    gpu["Config"]["Env"] = ["HF_TOKEN=old_canary"]
    differences = lib.differences(lib.wanted(options()), lib.actual(gpu, None), {"HF_TOKEN": "new_canary"})
    assert differences == [{"option": "env.HF_TOKEN", "found": "another value", "wanted": "(hidden)"}]
    assert lib.differences(lib.wanted(options()), lib.actual(gpu, None), {"HF_TOKEN": "old_canary"}) == []


@pytest.mark.parametrize(
    ("text", "size"),
    [("10g", 10 * 2**30), ("64M", 64 * 2**20), ("1.5gb", 3 * 2**29), (1024, 1024), ("8GiB", 8 * 2**30)],
)
def test_sizes(lib, text, size):
    assert lib.size(text) == size


def test_a_size_that_is_none(lib):
    with pytest.raises(ValueError, match="10g"):
        lib.size("lots")


def test_cdi_is_read_back_from_both_engines(lib):
    docker = {"HostConfig": {"DeviceRequests": [{"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=all"]}]}}
    podman = {"HostConfig": {"Runtime": "oci", "Devices": [{"PathOnHost": "nvidia.com/gpu=all"}]}}
    for found in (docker, podman):
        assert lib.actual(found, None)["gpus"] == "cdi:all"
        assert lib.actual(found, None)["runtime"] == ""


def test_a_rootless_podman_container_with_cdi_compares_equal(lib, recorded):
    """Podman's inspect shows the device nodes that a CDI device came to, and the variables that it brings."""
    found = recorded("podman-5.4/container-cdi.json")[0]
    image = recorded("podman-5.4/image.json")[0]
    wanted = lib.wanted(options(gpu_request="cdi", volumes=["/srv/verl:/workspace/verl"]))
    assert lib.differences(wanted, lib.actual(found, image)) == []
    found["Config"]["CreateCommand"] += ["--device=/dev/infiniband:/dev/infiniband"]
    assert [item["option"] for item in lib.differences(wanted, lib.actual(found, image))] == ["devices"]
    found["Config"]["CreateCommand"] = ["podman", "create"]
    assert "gpus" in [item["option"] for item in lib.differences(wanted, lib.actual(found, image))]
