"""`playbooks/plan.yml` as a drift check: 0 on healthy hosts, 2 after a change by hand of anything that is managed."""

import json

import pytest

from lab import hosts
from tests.lab.fleet import play, report, states

pytestmark = [pytest.mark.lab, pytest.mark.slow]

GPU, CPU = "gpu-580", "cpu"
SETTINGS = {
    "docker_engine_manage_daemon_json": {"max-concurrent-downloads": 5},
    "nvidia_container_toolkit_version": "1.20.0",
}
EXTRA = ("-e", json.dumps(SETTINGS))
TOOLKIT = "nvidia-container-toolkit nvidia-container-toolkit-base libnvidia-container1 libnvidia-container-tools"
INSTALL = "apt-get install -qq --allow-downgrades $(printf '%s={}-1 ' " + TOOLKIT + ")"
STATE = ".local/state/verl-provision"
MOVED = "git -C ~ops/verl/src -c safe.directory='*' -c user.name=x -c user.email=x@x"


def edit(change):
    """A command that changes daemon.json."""
    program = f"import json; p='/etc/docker/daemon.json'; d=json.load(open(p)); {change}; json.dump(d, open(p, 'w'))"
    return f'cp /etc/docker/daemon.json /root/kept; python3 -c "{program}"; systemctl reload docker'


def away(path):
    """Commands that take a file away and bring it back."""
    return f"mv {path} /root/kept", f"mv /root/kept {path}"


MEND = "cp /root/kept /etc/docker/daemon.json; systemctl reload docker"
BY_HAND = {  # what somebody did: (host, command, command that takes it back, the step that the plan has then)
    "a key of daemon.json": (GPU, edit("d['max-concurrent-downloads']=3"), MEND, "docker_engine"),
    "the runtime's entry": (GPU, edit("del d['runtimes']"), MEND, "nvidia_container_toolkit"),
    "the toolkit's version": (GPU, INSTALL.format("1.19.1"), INSTALL.format("1.20.0"), "nvidia_container_toolkit"),
    "the container stopped": (GPU, "docker stop -t 1 verl", "docker start verl", "training_container"),
    "the checkout's commit": (
        GPU,
        f"{MOVED} tag kept; {MOVED} commit -q --allow-empty -m x; chown -R ops: ~ops/verl/src/.git",
        f"{MOVED} reset -q --hard kept; {MOVED} tag -d kept; chown -R ops: ~ops/verl/src/.git",
        "verl_checkout",
    ),
    "verl-shell removed": (GPU, *away("~ops/.local/bin/verl-shell"), "verl_shell"),
    "the pass forgotten": (GPU, *away(f"~ops/{STATE}/verification.json"), "verification"),
    "the environment's stamp removed": (CPU, *away(f"~alice/{STATE}/source_environment.json"), "source_environment"),
    "the environment's Python broken": (CPU, *away("~alice/verl/env/bin/python"), "source_environment"),
    "the image removed": (
        GPU,
        "docker rm -f verl; docker rmi -f $(docker images -q)",
        None,
        "container_image",
    ),
}


@pytest.fixture(scope="module", params=[GPU, CPU])
def healthy(request):
    """A host after the main job."""
    hosts.reset(request.param)
    run = play("site.yml", "--limit", request.param, *EXTRA)
    assert run.returncode == 0, run.stdout
    yield request.param
    hosts.reset(request.param)


def drift(host):
    """The exit status of the drift check, and what it would do there."""
    status = play("playbooks/plan.yml", "--limit", host, *EXTRA).returncode
    plan = report()["hosts"][host]["plan"]
    return status, [*plan["steps"], *(["verification"] if plan["verification"]["needed"] else [])]


def test_a_healthy_host_has_not_drifted(healthy):
    assert drift(healthy) == (0, [])


def test_every_change_by_hand_is_drift(healthy):
    seen = {}
    for what, (host, change, back, step) in BY_HAND.items():
        if host != healthy:
            continue
        hosts.exec(host, change)
        status, steps = drift(host)
        seen[what] = "drift" if status == 2 and step in steps else f"exit status {status}, would do {steps}"
        if back:
            hosts.exec(host, back)
    assert seen == dict.fromkeys(seen, "drift")


def test_the_main_job_mends_it(healthy):
    run = play("site.yml", "--limit", healthy, *EXTRA)
    assert run.returncode == 0, run.stdout
    assert states() == {healthy: "verified"}
    assert drift(healthy) == (0, [])


def test_a_host_that_fits_nothing_is_not_drift(healthy):
    refused = play("playbooks/plan.yml", "--limit", healthy, *EXTRA, "-e", "verl_version=99.0.0")
    assert refused.returncode == 4, refused.stdout
    assert "hosts have no plan" in refused.stdout
