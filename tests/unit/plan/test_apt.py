"""No source is added that would make apt refuse everything, and nothing is promised that apt will refuse."""

import pytest

from tests.unit.decide.machines import loaded, machine, plan, settle

DOCKER, FOLDER = "https://download.docker.com/linux/ubuntu", "/etc/apt/sources.list.d"
DOCKER_KEY = loaded()["cuda"]["docker"]["repository"]["key_fingerprint"]
NVIDIA = "https://nvidia.github.io/libnvidia-container/stable/deb/amd64"
NVIDIA_KEY = loaded()["cuda"]["toolkit"]["repository"]["key_fingerprint"]
OLD = "0" * 40
CUDA = "https://developer.download.nvidia.com/compute/cuda/repos/ubuntu2404/x86_64"


def source(file, uri=DOCKER, suite="noble", key=DOCKER_KEY, signed="/etc/apt/keyrings/docker.asc", **more):
    keys = [key] if key else []
    return {"file": f"{FOLDER}/{file}", "uri": uri, "suite": suite, "signed_by": signed, "keys": keys, **more}


def bare(*sources, **apt):
    return machine(docker=False, apt={"sources": list(sources), **apt})


def refusals(planned):
    return [error for error in planned["errors"] if error["rule"] == "apt_sources"]


def test_an_entry_with_the_right_key_is_used_as_it_is():
    facts = bare(
        source("docker.list"),
        source("nvidia.list", uri=NVIDIA, suite="/", key=NVIDIA_KEY, signed="/etc/apt/keyrings/nvidia.gpg"),
    )
    planned = plan(facts)
    assert planned["ok"], planned["errors"]
    assert planned["steps"]["docker_engine"]["args"]["existing_source"] == f"{FOLDER}/docker.list"
    assert planned["steps"]["nvidia_container_toolkit"]["args"]["existing_source"] == f"{FOLDER}/nvidia.list"
    assert plan(settle(facts, planned))["steps"] == {}


def test_no_entry_means_one_of_our_own():
    planned = plan(bare())
    assert planned["steps"]["docker_engine"]["args"]["existing_source"] == ""
    assert planned["steps"]["nvidia_container_toolkit"]["args"]["existing_source"] == ""


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (source("docker.list", key=None), ["docker.list", "docker.asc", "no key that can be read"]),
        (source("docker.list", key=OLD), ["docker.list", OLD]),
        (source("extra.sources", key=None, signed=None), ["extra.sources", "without a key of its own"]),
        (source("docker.list", arch=["arm64"]), ["docker.list", "for arm64 only"]),
        (source("cuda.list", uri=NVIDIA, suite="/", key=OLD, signed="/k.gpg"), ["cuda.list", OLD]),
        (source("nvidia-docker.list", uri="https://nvidia.github.io/nvidia-docker/ubuntu18.04/amd64"), ["retired"]),
    ],
)  # fmt: skip
def test_another_entry_is_refused_with_the_command(entry, words):
    planned = plan(bare(entry))
    assert not planned["ok"] and planned["steps"] == {}
    (error,) = refusals(planned)
    assert all(word in error["found"] for word in words), error
    assert f"sudo mv {entry['file']} /root/" in error["fix"]


def test_a_line_in_the_main_list_is_taken_out_not_moved():
    entry = {**source("x", key=OLD), "file": "/etc/apt/sources.list"}
    (error,) = refusals(plan(bare(entry)))
    assert "line out of /etc/apt/sources.list" in error["fix"] and "mv" not in error["fix"]


@pytest.mark.parametrize(
    "entry",
    [
        source("docker.list", suite="jammy", key=OLD),
        source("docker.list", uri="https://mirror.invalid/docker-ce/linux/ubuntu", key=OLD),
        source("cuda.list", uri=CUDA, suite="/", key=OLD),
        source("docker.sources", key=OLD),  # the file that is written anew
    ],
)  # fmt: skip
def test_what_does_not_contradict_is_left_alone(entry):
    planned = plan(bare(entry))
    assert planned["ok"], planned["errors"]
    assert planned["steps"]["docker_engine"]["args"]["existing_source"] == ""


def test_a_file_of_that_name_with_other_repositories_in_it_is_not_written_over():
    other = source("docker.sources", uri="https://x.invalid/apt", key=OLD)
    assert not plan(bare(source("docker.sources", key=OLD), other))["ok"]


def test_a_mirror_is_compared_with_the_mirror():
    mirror = "https://mirror.invalid/docker"
    entry = source("docker.list", uri=f"{mirror}/ubuntu", key=None)
    assert refusals(plan(bare(entry), mirror_apt=mirror))
    assert not refusals(plan(bare(entry)))


BROKEN = {
    "conflicts": (
        {"conflicts": [{"uri": CUDA, "suite": "/", "files": [f"{FOLDER}/a.list", f"{FOLDER}/b.list"]}]},
        ["a.list", "b.list", "different keys"], "sudo mv",
    ),
    "interrupted": ({"interrupted": True}, ["interrupted"], "sudo dpkg --configure -a"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_an_apt_that_installs_nothing_is_named_before_anything_is_done(name):
    apt, words, fix = BROKEN[name]
    (error,) = refusals(plan(bare(**apt)))
    assert all(word in error["found"] for word in words) and fix in error["fix"]
    assert refusals(plan(machine(apt={"sources": [], **apt}))) == [], "nothing is installed on this host"


def test_only_a_toolkit_that_is_missing_or_old_is_installed():
    unregistered = machine()
    unregistered["engines"]["docker"] |= {"runtimes": ["runc"]}
    unregistered["toolkit"] |= {"version": "1.19.1"}
    step = plan(unregistered)["steps"]["nvidia_container_toolkit"]
    assert step["args"]["install"] is False, "an installation would reload systemd"
    assert plan(machine(toolkit={"version": "1.17.4"}))["steps"]["nvidia_container_toolkit"]["args"]["install"] is True
