"""Twenty runs on a busy host, with upgrades and changes of the runtime in between: nobody there notices any of them.

What can't be done under running jobs is listed as deferred, and done by the first run that finds the host idle.
"""

import json

import pytest

from lab import hosts
from tests.lab import foreign
from tests.lab.fleet import play, report

pytestmark = [pytest.mark.lab, pytest.mark.slow]

HOST = "spare"  # it gets its Docker from us, and an older toolkit
JOB = "sleep 86401"  # somebody's training, in our container
FORM = "{{.Id}} {{.State.Pid}} {{.State.StartedAt}}"
TOOLKIT_OLD = {"nvidia_container_toolkit_version": "1.19.1"}
TOOLKIT_NEW = {"nvidia_container_toolkit_version": "1.20.0"}
RUNTIME = {"default-runtime": "nvidia"}  # a reload
LOGS = {"log-opts": {"max-file": "4", "max-size": "20m"}}  # a restart, under live-restore
CGROUPS = {"exec-opts": ["native.cgroupdriver=cgroupfs"]}  # a restart that containers don't outlive


def settings(toolkit: dict, daemon: dict, **more: object) -> dict:
    """What a run is given."""
    return {**toolkit, "docker_engine_manage_daemon_json": daemon, **more}


PHASES = (  # runs, settings, steps that the first of them must do, deferred from then on
    (5, settings(TOOLKIT_OLD, {}), [], set()),
    (4, settings(TOOLKIT_NEW, {}), ["nvidia_container_toolkit"], set()),
    (4, settings(TOOLKIT_NEW, RUNTIME), ["docker_engine", "disruption"], set()),
    (3, settings(TOOLKIT_NEW, RUNTIME | LOGS), ["docker_engine", "disruption"], set()),
    (4, settings(TOOLKIT_NEW, RUNTIME | LOGS | CGROUPS, training_container_shm_size="12g"), ["docker_engine"],
     {"disruption", "training_container"}),
)  # fmt: skip


def run(given: dict) -> dict:
    """A run that ends well, and its report of the host."""
    done = play("site.yml", "--limit", HOST, "-e", json.dumps(given))
    assert done.returncode == 0, done.stdout[-6000:]
    return report()["hosts"][HOST]


def everybody() -> tuple:
    """Who works here: both containers, the job in ours, since when, and the GPUs that each sees."""
    ours = hosts.exec(HOST, f"docker inspect --format '{FORM}' verl").out.strip()
    job = hosts.exec(HOST, f"pid=$(pgrep -f '^{JOB}'); echo $pid $(cut -d' ' -f22 /proc/$pid/stat)").out.strip()
    gpus = hosts.exec(HOST, "docker exec verl nvidia-smi -L").out.count("H100")
    return ours, job, gpus, foreign.identity(HOST)


@pytest.fixture(scope="module")
def busy():
    """A host with verl's container and a toolkit that is not the newest, on which people begin to work."""
    hosts.reset(HOST)
    assert run(settings(TOOLKIT_OLD, {}))["state"] == "verified"
    foreign.start(HOST)
    hosts.exec(HOST, f"docker exec --detach verl {JOB}")
    yield everybody()
    hosts.reset(HOST)


def test_twenty_runs_disturb_nobody(busy):
    assert busy[2] == 8
    assert busy[3][1] == 8
    number = 0
    for runs, given, steps, deferred in PHASES:
        for turn in range(runs):
            number += 1
            host = run(given)
            print(f"run {number}: {host['state']}, steps {list(host['plan']['steps'])}, deferred "
                  f"{[item['step'] + ' ' + item['action'] for item in host['plan']['deferred']]}")  # fmt: skip
            assert everybody() == busy, f"run {number}"
            assert list(host["plan"]["steps"]) == (steps if turn == 0 else []), f"run {number}"
            assert {item["step"] for item in host["plan"]["deferred"]} == deferred, f"run {number}"
            assert host["state"] == "verified"
    assert number == 20
    packages = hosts.exec(HOST, "dpkg-query -W -f '${Version}' nvidia-container-toolkit").out
    assert packages == "1.20.0-1"


def test_what_was_deferred_is_done_by_the_next_run_once_they_are_gone(busy):
    hosts.exec(HOST, f"pkill -f '^{JOB}'")
    foreign.end(HOST)
    before = hosts.exec(HOST, f"docker inspect --format '{FORM}' verl").out
    daemon = hosts.exec(HOST, "systemctl show docker -p MainPID").out
    host = run(PHASES[-1][1])
    assert (host["state"], host["plan"]["deferred"]) == ("verified", [])
    assert {"disruption", "training_container"} <= set(host["plan"]["steps"])
    assert hosts.exec(HOST, "systemctl show docker -p MainPID").out != daemon
    assert hosts.exec(HOST, f"docker inspect --format '{FORM}' verl").out != before
    size = hosts.exec(HOST, "docker inspect --format '{{.HostConfig.ShmSize}}' verl").out
    assert int(size) == 12 * 1024**3
    again = run(PHASES[-1][1])
    assert (again["plan"]["steps"], again["plan"]["deferred"]) == ({}, [])
