"""The main job on the lab: from bare GPU hosts to verified verl containers, and a run that changes nothing."""

import pytest

from lab import hosts
from lab.snapshot import snapshot
from tests.lab.fleet import play, report, states

pytestmark = pytest.mark.lab

GPU = ("gpu-550", "gpu-580", "spare")
ALL = {"gpu-550", "gpu-580", "spare", "cpu"}


def differences(before):
    """What changed on any host since `before`, a line each."""
    return [f"{name}: {line}" for name, seen in before.items() for line in seen.difference(snapshot(name))]


@pytest.fixture(scope="module")
def bare():
    """Hosts as they were when the lab came up."""
    for name in sorted(ALL):
        hosts.reset(name)


def test_check_mode_plans_the_same_and_changes_nothing(bare):
    before = {name: snapshot(name) for name in ALL}
    run = play("site.yml", "--check", "--diff")
    assert run.returncode == 0, run.stdout
    assert set(states().values()) == {"planned"}
    planned = {name: list(host["plan"]["steps"]) for name, host in report()["hosts"].items()}
    assert differences(before) == []
    assert play("playbooks/plan.yml").returncode == 2
    assert {name: list(host["plan"]["steps"]) for name, host in report()["hosts"].items()} == planned


def test_every_host_ends_verified(bare):
    run = play("site.yml")
    assert run.returncode == 0, run.stdout
    assert states() == dict.fromkeys(ALL, "verified")


def test_the_images_fit_the_drivers_and_say_why():
    plans = {name: host["plan"] for name, host in report()["hosts"].items()}
    assert plans["gpu-580"]["image"]["cuda"].startswith("13.")
    assert plans["gpu-550"]["image"]["cuda"] == "12.4"
    assert {plans[name]["image"]["tier"] for name in GPU} == {"native"}
    assert any("580.95.05" in sentence for sentence in plans["gpu-580"]["why"])
    assert any("550.163.01" in sentence for sentence in plans["gpu-550"]["why"])
    assert plans["cpu"]["profile"] == "cpu"


def test_the_bare_host_has_dockers_own_packages():
    names = "docker-ce docker-ce-cli containerd.io docker-buildx-plugin"
    form = "${Package} ${db:Status-Status}\\n"
    assert hosts.exec("spare", f"dpkg-query -W -f '{form}' {names}").out.count(" installed") == 4
    assert (
        "Signed-By: /etc/apt/keyrings/docker.asc"
        in hosts.exec("spare", "cat /etc/apt/sources.list.d/docker.sources").out
    )
    assert hosts.exec("spare", "dpkg -s docker.io", check=False).rc != 0


@pytest.mark.parametrize("name", GPU)
def test_the_container_sees_the_gpus_and_the_planned_verl(name):
    wanted = report()["hosts"][name]["plan"]["verl_version"]
    listing = hosts.exec(name, "docker exec verl nvidia-smi -L").out
    assert listing.count("H100") == 8
    said = hosts.exec(name, "docker exec verl python3 -c 'import verl; print(verl.__version__)'").out
    assert said.split()[-1].removesuffix(".dev") == wanted


@pytest.mark.parametrize("name", GPU)
def test_an_idle_host_ends_with_the_flags_of_the_write_up(name):
    form = "{{.HostConfig.Runtime}} {{.HostConfig.NetworkMode}} {{.HostConfig.CapAdd}} {{.HostConfig.DeviceRequests}}"
    flags = hosts.exec(name, f"docker inspect --format '{form}' verl").out
    for flag in ("nvidia", "host", "SYS_ADMIN", "gpu"):
        assert flag in flags
    size = hosts.exec(name, "docker inspect --format '{{.HostConfig.ShmSize}} {{.Config.Cmd}}' verl").out.split(" ", 1)
    assert int(size[0]) >= 10 * 1024**3
    assert size[1].strip() == "[sleep infinity]"


def test_the_host_without_a_gpu_has_its_environment():
    said = hosts.exec("cpu", "~/verl/env/bin/python -c 'import verl; print(verl.__version__)'", user="alice").out
    assert said.split()[-1] == "0.9.1"


def test_again_at_once_changes_nothing_and_enters_no_step():
    before = {name: snapshot(name) for name in ALL}
    run = play("site.yml")
    assert run.returncode == 0, run.stdout
    assert run.stdout.count("changed=0") == len(ALL)
    assert all(host["plan"]["steps"] == {} for host in report()["hosts"].values())
    assert differences(before) == []


def test_a_host_that_rebooted_gets_its_container_back_and_is_verified_again():
    before = report()["hosts"]["spare"]["verified_at"]
    hosts.reboot("spare")
    assert hosts.exec("spare", "docker inspect --format '{{.State.Status}}' verl").out.strip() == "exited"
    run = play("site.yml", "--limit", "spare")
    assert run.returncode == 0, run.stdout
    host = report()["hosts"]["spare"]
    assert (host["state"], list(host["plan"]["steps"])) == ("verified", ["training_container"])
    assert host["verified_at"] != before
    assert hosts.exec("spare", "docker exec verl nvidia-smi -L").out.count("H100") == 8
