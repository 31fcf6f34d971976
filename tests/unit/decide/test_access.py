"""Proxy, token and mirrors in the plan: what a host needs to get at what it fetches, and never a secret's value."""

import json

import pytest

from tests.unit.decide.machines import loaded, machine
from verl_provision.plan import proxy
from verl_provision.plan.fleet import plan_host
from verl_provision.variables import defaults

PROXY = "http://proxy.example:3128"
BUSY = {"engines": {"docker": {"running": [{"id": "f" * 12, "name": "somebodys", "image": "x"}]}}}
MIRRORS = {name: f"https://{name.removeprefix('verl_mirror_')}.example/x" for name in defaults()
           if name.startswith("verl_mirror_")}  # fmt: skip


def plan(facts, secrets=None, settings=None, **asked):
    return plan_host(facts, {f"verl_{name}": value for name, value in asked.items()}, loaded(), settings, None, secrets)


@pytest.mark.parametrize(
    ("host", "without", "direct"),
    [
        ("registry.example", ["registry.example"], True),
        ("a.registry.example", [".registry.example"], True),
        ("a.registry.example", ["registry.example"], True),
        ("otherregistry.example", ["registry.example"], False),
        ("10.1.2.3", ["10.0.0.0/8"], True),
        ("11.1.2.3", ["10.0.0.0/8"], False),
        ("localhost", [], True),
        ("registry-1.docker.io", ["not a network/33"], False),
    ],
)
def test_what_is_reached_without_the_proxy(host, without, direct):
    assert proxy.direct(host, without) is direct


@pytest.mark.parametrize(
    ("reference", "host"),
    [
        ("verlai/verl:x", "registry-1.docker.io"),
        ("docker.io/verlai/verl:x", "registry-1.docker.io"),
        ("r.example:5000/verlai/verl:x", "r.example"),
        ("10.0.0.1:5000/x", "10.0.0.1"),
    ],
)
def test_the_host_an_image_comes_from(reference, host):
    assert proxy.registry_of(reference) == host


def test_an_idle_daemon_gets_the_proxy_and_a_restart_before_it_pulls():
    steps = plan(machine(docker=True), proxy=PROXY)["steps"]
    assert steps["docker_engine"]["args"]["set_proxy"] is True
    assert steps["disruption"]["args"]["action"] == "restart"
    assert list(steps).index("disruption") < list(steps).index("container_image")


@pytest.mark.parametrize(
    ("changes", "asked"),
    [
        (
            {
                "engines": {
                    "docker": {"proxy": {"http": PROXY, "https": "http://***@proxy.example:3128/", "no_proxy": ""}}
                }
            },
            {},
        ),
        ({"engines": {"docker": {"daemon_json": {"path": "/x", "parsed": {"proxies": {"http-proxy": "x"}}}}}}, {}),
        ({}, {"no_proxy": ["registry-1.docker.io"]}),
        ({}, {"mirror_registry": "10.0.0.1:5000", "no_proxy": ["10.0.0.0/8"]}),
    ],
)
def test_the_daemon_is_left_alone_where_it_needs_nothing(changes, asked):
    planned = plan(machine(docker=True, **changes), proxy=PROXY, **asked)
    assert planned["steps"].get("docker_engine", {"args": {"set_proxy": False}})["args"]["set_proxy"] is False


def test_a_busy_host_without_a_container_is_refused_with_the_reason():
    planned = plan(machine(docker=True, **BUSY), proxy=PROXY)
    assert planned["ok"] is False
    (error,) = planned["errors"]
    assert error["rule"] == "proxy"
    assert "container somebodys running" in error["found"]


def test_a_busy_host_with_a_verified_one_keeps_it_and_defers_the_pull():
    facts = machine(docker=True, **BUSY)
    facts["verification"] = {"level": "gpu", "passed_at": "2026-11-24T10:00:00Z", "key": "x"}
    planned = plan(facts, proxy=PROXY)
    assert planned["ok"] is True
    assert not {"docker_engine", "container_image", "training_container"} & set(planned["steps"])
    deferred = {item["step"]: item for item in planned["deferred"]}
    assert {"docker_engine", "container_image", "training_container"} <= set(deferred)
    assert PROXY in deferred["container_image"]["because"]
    assert planned["verification"]["needed"] is False


def test_a_busy_host_is_disturbed_where_that_is_allowed():
    planned = plan(machine(docker=True, **BUSY), proxy=PROXY, allow_disruption=True)
    assert planned["steps"]["docker_engine"]["args"]["set_proxy"] is True


def test_a_proxy_is_no_other_container_and_no_other_environment():
    for facts in (machine(docker=True), machine(None)):
        one, other = plan(facts), plan(facts, proxy=PROXY)
        keys = [{name: step["key"] for name, step in planned["steps"].items()} for planned in (one, other)]
        assert {name: key for name, key in keys[0].items() if name != "disruption"} == {
            name: key for name, key in keys[1].items() if name not in ("disruption", "docker_engine")
        }


def test_a_token_becomes_a_file_a_mount_and_a_name_for_it():
    planned = plan(machine(docker=True), {"verl_huggingface_token": "new"})
    token, container = planned["steps"]["huggingface_token"], planned["steps"]["training_container"]
    assert token["args"]["path"].endswith("/verl/secrets/huggingface_token")
    assert container["args"]["volumes"] == [f"{token['args']['path'].rpartition('/')[0]}:/run/verl-secrets:ro"]
    assert container["args"]["env"] == {"HF_TOKEN_PATH": "/run/verl-secrets/huggingface_token"}
    assert "huggingface_token" in container["needs"]


def test_a_token_that_is_there_is_left_and_goes_on_without_being_given():
    facts = {**machine(docker=True), "huggingface_token": True}
    kept, gone = plan(facts, {"verl_huggingface_token": "kept"}), plan(facts)
    for planned in (kept, gone):
        assert "huggingface_token" not in planned["steps"]
        assert planned["steps"]["training_container"]["args"]["env"]["HF_TOKEN_PATH"]
    assert kept["steps"]["training_container"]["key"] == gone["steps"]["training_container"]["key"]
    assert "huggingface_token" in plan(facts, {"verl_huggingface_token": "new"})["steps"]
    assert "huggingface_token" in plan(machine(docker=True), {"verl_huggingface_token": "kept"})["steps"]


def test_without_a_token_nothing_is_mounted_and_the_user_s_own_settings_stay():
    settings = {"training_container": {"training_container_env": {"A": "b"}, "training_container_volumes": ["/d:/d"]}}
    args = plan(machine(docker=True), settings=settings)["steps"]["training_container"]["args"]
    assert (args["env"], args["volumes"]) == ({"A": "b"}, ["/d:/d"])
    args = plan(machine(docker=True), {"verl_huggingface_token": "new"}, settings)["steps"]["training_container"][
        "args"
    ]
    assert args["env"]["A"] == "b" and args["volumes"][0] == "/d:/d" and len(args["volumes"]) == 2


def test_every_mirror_is_in_the_plan_of_a_host_that_needs_it():
    """The request reaches an argument of a step; that the step uses it is the lab's to show."""
    bare = machine(docker=False)
    bare["engines"]["docker"] = {**bare["engines"]["docker"], "installed": False}
    asked = {name.removeprefix("verl_"): value for name, value in MIRRORS.items()}
    said = json.dumps([plan(facts, **asked)["steps"] for facts in (bare, machine(docker=True), machine(None))])
    assert [name for name, value in MIRRORS.items() if value.removeprefix("https://") not in said] == []
