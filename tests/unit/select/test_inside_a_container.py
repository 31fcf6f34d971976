"""A machine that is itself a container gets no engine of its own."""

import pytest

from tests.unit.decide.machines import machine, plan, settle

ROOT = {"user": {"name": "root", "uid": 0, "home": "/root", "root": True, "sudo": "free"}}


def inside(kind, systemd=False, **changes):
    return machine(docker=False, os={"container": kind, "systemd": systemd}, **ROOT, **changes)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (inside("docker"), ["this is a container (docker)", "systemd"]),
        (inside("kubernetes"), ["this is a container (kubernetes)", "systemd"]),
        (inside("lxc", systemd=True), ["this is a container (lxc)"]),
        (inside(None), ["no systemd"]),
    ],
)
def test_a_source_environment_with_the_reason(facts, words):
    planned = plan(facts)
    assert (planned["ok"], planned["backend"]) == (True, "source"), planned["errors"]
    assert "docker_engine" not in planned["steps"]
    why = " ".join(planned["why"])
    assert all(word in why for word in words), why
    assert plan(settle(facts, planned))["steps"] == {}


def test_apptainer_where_it_is_there():
    facts = inside("docker")
    facts["engines"]["apptainer"] = {"installed": True, "version": "1.4.0"}
    assert plan(facts)["backend"] == "apptainer"


def test_an_engine_that_is_there_and_answers_is_used():
    facts = machine(os={"container": "lxc", "systemd": True})
    assert plan(facts)["backend"] == "docker"


def test_a_docker_command_without_a_daemon_is_not_started_there():
    facts = inside("docker")
    facts["engines"]["docker"] |= {"installed": True, "reachable": False, "reason": "Cannot connect to the daemon"}
    planned = plan(facts)
    assert planned["backend"] == "source"
    assert "docker_engine" not in planned["steps"]
    assert "Cannot connect to the daemon" in " ".join(planned["why"])


def test_a_variable_for_docker_is_refused_with_what_to_do():
    planned = plan(inside("docker"), backend="docker")
    assert not planned["ok"]
    (error,) = planned["errors"]
    assert "container (docker)" in error["found"] and "on the machine itself" in error["fix"]


@pytest.mark.parametrize("kind", [None, "docker", "systemd-nspawn"])
def test_a_machine_with_systemd_of_its_own_gets_docker(kind):
    assert "docker_engine" in plan(inside(kind, systemd=True))["steps"]


def test_a_system_container_gets_docker_where_it_is_asked_for():
    assert "docker_engine" in plan(inside("lxc", systemd=True), backend="docker")["steps"]
