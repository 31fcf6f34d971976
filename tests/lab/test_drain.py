"""The user's own drain around a restart of Docker and a new container, on a host that is idle."""

import json

import pytest

from lab import hosts
from tests.lab.fleet import play, report

pytestmark = [pytest.mark.lab, pytest.mark.slow]

HOST = "gpu-580"
LOGS = {"log-opts": {"max-file": "5", "max-size": "30m"}}  # a restart
NOTE = "/home/ops/.local/state/verl-provision/drained.json"


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """Where the drain commands write; the host is verified before."""
    hosts.reset(HOST)
    place = tmp_path_factory.mktemp("drain") / "log"
    assert run(place)[0] == 0, report()["hosts"][HOST]["reason"]
    yield place
    hosts.reset(HOST)


def run(log, before="true", after="true", **given):
    """(exit status, the host's report, what the drain commands wrote)."""
    log.write_text("")
    requests = {
        "verl_drain_before": f'echo "before $VERL_HOST $VERL_STEP $VERL_DISRUPTION" >> {log}; {before}',
        "verl_drain_after": f'echo "after $VERL_HOST $VERL_STEP $VERL_RESULT" >> {log}; {after}',
        **given,
    }
    done = play("site.yml", "--limit", HOST, "-e", json.dumps(requests))
    host = report()["hosts"][HOST]
    print(f"exit {done.returncode}, {host['state']}: {host['reason']}; steps {list(host['plan']['steps'])}")
    return done.returncode, host, log.read_text().splitlines()


def daemon():
    return hosts.exec(HOST, "systemctl show docker -p MainPID").out


def container():
    return hosts.exec(HOST, "docker inspect --format '{{.Id}} {{.State.StartedAt}}' verl").out


def test_a_host_that_can_t_be_drained_is_not_touched(log):
    docker, ours = daemon(), container()
    rc, host, said = run(log, before="echo no such node; exit 3", docker_engine_manage_daemon_json=LOGS)
    assert (rc != 0, host["state"]) == (True, "deferred")
    assert "exit status 3, needed 0; it said: no such node" in host["reason"]
    assert said == [f"before {HOST} disruption restart"]
    assert (daemon(), container()) == (docker, ours)


def test_the_next_run_drains_it_restarts_docker_and_takes_it_back(log):
    docker, ours = daemon(), container()
    rc, host, said = run(log, docker_engine_manage_daemon_json=LOGS)
    assert (rc, host["state"]) == (0, "verified")
    assert said == [f"before {HOST} disruption restart", f"after {HOST} disruption done"]
    assert daemon() != docker
    assert container().split()[0] == ours.split()[0]  # the same one, started again
    assert run(log, docker_engine_manage_daemon_json=LOGS)[2] == []


def test_a_new_container_is_one_more_step_that_disturbs(log):
    ours = container()
    rc, _, said = run(log, docker_engine_manage_daemon_json=LOGS, training_container_shm_size="12g")
    assert (rc, said) == (0, [f"before {HOST} training_container recreate", f"after {HOST} training_container done"])
    assert container() != ours


def test_a_host_that_a_run_left_drained_is_taken_back(log):
    hosts.exec(HOST, f'mkdir -p {NOTE.rpartition("/")[0]} && echo \'{{"key": "disruption"}}\' > {NOTE}', user="ops")
    kept = {"docker_engine_manage_daemon_json": LOGS, "training_container_shm_size": "12g"}
    rc, host, said = run(log, after="exit 1", **kept)
    assert (rc != 0, host["state"], host["plan"]["steps"]) == (True, "failed", {})
    assert "still drained" in host["reason"]
    rc, host, said = run(log, **kept)
    assert (rc, host["state"], said) == (0, "verified", [f"after {HOST} drain done"])
    assert run(log, **kept)[2] == []
