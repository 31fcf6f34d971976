"""A restart of Docker that goes through three idle hosts one by one, and no further than the first where it fails."""

import json

import pytest

from lab import hosts
from tests.lab.fleet import play, report, states

pytestmark = [pytest.mark.lab, pytest.mark.slow]

FLEET = ("gpu-550", "gpu-580", "spare")  # the inventory's order: the first one is the canary
REQUESTS = {
    "docker_engine_manage_daemon_json": {"log-opts": {"max-file": "5", "max-size": "30m"}},  # a restart
    "verl_rolling_batch": 1,
}
BROKEN = "/etc/systemd/system/docker.service.d/broken.conf"


@pytest.fixture(scope="module")
def fleet():
    """Three hosts that are verified and idle."""
    for name in FLEET:
        hosts.reset(name)
    done = play("site.yml", "--limit", ",".join(FLEET))
    assert done.returncode == 0, done.stdout[-6000:]
    yield FLEET
    for name in FLEET:
        hosts.reset(name)


def run():
    """The main job with a change that restarts Docker everywhere."""
    return play("site.yml", "--limit", ",".join(FLEET), "-e", json.dumps(REQUESTS))


def at_work(name):
    """Who runs there: dockerd, and our container since when."""
    daemon = hosts.exec(name, "systemctl show docker -p MainPID").out
    return daemon, hosts.exec(name, "docker inspect --format '{{.Id}} {{.State.StartedAt}}' verl").out


def began_and_ready(name):
    """When dockerd was started, and when it answered, on the clock that all lab hosts share."""
    shown = "ExecMainStartTimestampMonotonic ActiveEnterTimestampMonotonic"
    return [int(hosts.exec(name, f"systemctl show docker --value -p {one}").out) for one in shown.split()]


def test_a_canary_that_fails_keeps_the_others_as_they_are(fleet):
    canary, *others = fleet
    before = {name: at_work(name) for name in others}
    hosts.exec(canary, f"mkdir -p $(dirname {BROKEN}) && printf '[Service]\\nExecStartPre=/bin/false\\n' > {BROKEN}")
    hosts.exec(canary, "systemctl daemon-reload")
    done = run()
    assert done.returncode != 0
    assert states() == {canary: "failed", **dict.fromkeys(others, "deferred")}
    for name in others:
        host = report()["hosts"][name]
        assert f"1 of the 1 hosts before this one failed ({canary})" in host["reason"], host["reason"]
        assert at_work(name) == before[name]


def test_once_it_is_mended_the_others_have_their_turn_one_by_one(fleet):
    canary, *others = fleet
    hosts.exec(canary, f"rm {BROKEN}; systemctl daemon-reload; systemctl reset-failed docker; systemctl start docker")
    done = run()
    assert done.returncode == 0, done.stdout[-6000:]
    assert states() == dict.fromkeys(fleet, "verified")
    first, second = (began_and_ready(name) for name in others)
    assert second[0] > first[1], (first, second)
    again = run()
    assert again.stdout.count("changed=0") == len(fleet), again.stdout[-6000:]
