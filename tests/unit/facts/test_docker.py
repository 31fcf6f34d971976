"""Docker's parts: refusals, --gpus, daemon.json, images."""

import json

import pytest
from ansible.module_utils.verl_probes import docker, images
from ansible.module_utils.verl_probes.collect import collect
from ansible.module_utils.verl_probes.command import Result

from .recorded import RecordedHost

USER = {"name": "ops", "uid": 1000, "home": "/home/ops", "root": False, "sudo": "none", "docker_group": False}
SOCKET = "unix:///var/run/docker.sock"
REFUSED_20 = (
    f"Got permission denied while trying to connect to the Docker daemon socket at {SOCKET}: "
    'Get "http://%2Fvar%2Frun%2Fdocker.sock/v1.24/info": dial unix /var/run/docker.sock: connect: permission denied'
)


class Client:
    def __init__(self, result):
        self.result = result

    def run(self, *arguments):
        return self.result


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (  # 20.10: exit status 0, the errors in the JSON
            Result([], rc=0, stdout=json.dumps({"ServerErrors": [REFUSED_20]})),
            f"permission denied while trying to connect to the Docker daemon socket at {SOCKET}",
        ),
        (  # 28: exit status 1, on stderr
            Result(
                [],
                rc=1,
                stdout='{"ServerVersion": ""}',
                stderr=f"Cannot connect to the Docker daemon at {SOCKET}. "
                "Is the docker daemon running?\nerrors pretty printing info\n",
            ),
            f"Cannot connect to the Docker daemon at {SOCKET}. Is the docker daemon running?",
        ),
        (Result([], timed_out=True, error="no answer within 10 s"), "docker info gave no answer within 10 s"),
        (Result([], rc=0, stdout="not json", stderr=""), "not json"),
        (Result([], rc=125, stdout='{"ServerVersion": "26.1.5"}', stderr="unknown flag\n"), "unknown flag"),
    ],
)
def test_why_docker_does_not_answer(result, expected):
    assert docker.info(Client(result)) == (None, expected)


def test_member_of_the_group_in_an_old_session(monkeypatch):
    host = RecordedHost("docker_refused")
    monkeypatch.setattr(host, "groups", lambda: ["docker", "ops"])
    assert "log in again" in collect(host, ["engines"])["engines"]["docker"]["reason"]


def test_through_sudo_only():
    facts = collect(RecordedHost("docker_with_sudo"), ["engines"])["engines"]["docker"]
    assert (facts["reachable"], facts["with_sudo"]) == (False, True)
    assert facts["version"] == "26.1.5" and "permission denied" in facts["reason"]


@pytest.mark.parametrize(
    ("version", "hooks", "started", "expected"),
    [
        ("26.1.5", {docker.HOOK: 10}, 20, True),
        ("26.1.5", {docker.HOOK: 30}, 20, False),
        ("26.1.5", {docker.CDI_HOOK: 10}, 20, False),
        ("29.2.0", {docker.CDI_HOOK: 10}, 20, True),
        ("29.2.0", {docker.HOOK: 30, docker.CDI_HOOK: 10}, 20, True),
        ("26.1.5", {}, 20, False),
        ("26.1.5", {docker.HOOK: 10}, None, None),
    ],
)
def test_gpus_flag(monkeypatch, version, hooks, started, expected):
    host = RecordedHost("no_gpu")
    monkeypatch.setattr(host, "which", lambda name, path=None: name if name in hooks else None)
    monkeypatch.setattr(host, "changed_at", hooks.get)
    facts = dict(docker.empty(), version=version, started_at=started)
    assert docker.gpus_flag(host, facts) is expected


@pytest.mark.parametrize(
    ("content", "parsed", "error"),
    [
        ('{"live-restore": true}', {"live-restore": True}, None),
        ("", None, "it is empty"),
        ('{"dns": [], "dns": []}', None, "twice"),
        ('{"mtu": NaN}', None, "NaN"),
        ('{"runtimes": {', None, "not valid JSON"),
        ("[]", None, "it holds list"),
        ("\x00\x01", None, "not valid JSON"),
        ('{"log-opts": {"splunk-token": "s3cret"}}', {"log-opts": {"splunk-token": "***"}}, None),
    ],
)
def test_daemon_json(monkeypatch, content, parsed, error):
    host = RecordedHost("no_gpu")
    monkeypatch.setattr(host, "read", lambda path, limit=0: content)
    found = docker.daemon_json(host, docker.empty(), USER)
    assert found["path"] == "/etc/docker/daemon.json" and found["parsed"] == parsed
    assert error in found["error"] if error else found["error"] is None


def test_daemon_json_that_the_user_may_not_read(monkeypatch):
    host = RecordedHost("no_gpu")
    monkeypatch.setattr(host, "read", lambda path, limit=0: None)
    monkeypatch.setattr(host, "exists", lambda path: path == docker.DAEMON_JSON)
    assert docker.daemon_json(host, docker.empty(), USER)["error"] == "/etc/docker/daemon.json cannot be read by ops"
    monkeypatch.setattr(host, "run_as_root", lambda argv: Result(argv, rc=0, stdout='{"debug": true}'))
    assert docker.daemon_json(host, docker.empty(), dict(USER, sudo="free"))["parsed"] == {"debug": True}


def test_podmans_docker_is_not_docker(tmp_path, monkeypatch):
    shim = tmp_path / "docker"
    shim.write_text('#!/usr/bin/sh\nexec /usr/bin/podman "$@"\n')
    host = RecordedHost("no_gpu")
    monkeypatch.setattr(host, "which", lambda name, path=None: str(shim) if name == "docker" else None)
    facts = docker.empty()
    client = docker.probe(host, USER, facts)
    assert (facts["installed"], facts["reason"], client) == (False, "docker on PATH is Podman's", None)


@pytest.mark.parametrize(
    ("size", "expected"), [("20.1GB", 20.1), ("339MB", 0.34), ("12.3kB", 0.0), (5_000_000_000, 5.0), ("odd", None)]
)
def test_sizes(size, expected):
    assert images.gigabytes(size) == expected


def test_an_odd_answer_does_not_make_docker_look_absent(monkeypatch):
    monkeypatch.setattr(docker, "info", lambda client: ({"ServerVersion": "26.1.5", "Runtimes": 7}, None))
    facts = collect(RecordedHost("h100x8_550"), ["engines"])
    assert facts["engines"]["docker"]["installed"] is True and facts["engines"]["docker"]["reachable"] is True
    assert facts["errors"][0]["probe"] == "docker"
