"""The run as the playbooks see it: requests collected before any host is touched, steps dealt out."""

import json
from pathlib import Path

from verl_provision import fleet, variables
from verl_provision.plan import plays
from verl_provision.variables import Reader
from verl_provision.variables.host import collect

ABOUT = {"mode": "apply", "started": "2026-11-24T10:00:00Z", "ansible": "2.19.14", "limit": None}
FACTS = Path(__file__).resolve().parents[2] / "fixtures/facts"


def facts(name):
    return {"facts": json.loads((FACTS / f"{name}.json").read_text())}


def planned(hostvars, **about):
    run = fleet.begin(hostvars, list(hostvars), {**ABOUT, **about})
    plan = fleet.plan(hostvars, run)
    hostvars["localhost"] = {"__verl_run": run, "__verl_fleet": plan}
    return run, plan


def test_a_misspelt_variable_keeps_the_host_from_being_looked_at():
    hostvars = {"good": {"verl_engine": "vllm"}, "bad": {"verl_enginee": "vllm"}}
    run = fleet.begin(hostvars, ["good", "bad"], ABOUT)
    assert run["look_at"] == ["good"]
    assert [error["variable"] for error in run["hosts"]["bad"]["errors"]] == ["verl_enginee"]


def test_all_refused_means_a_pattern_that_matches_nobody():
    run = fleet.begin({"bad": {"verl_x": 1}}, ["bad"], ABOUT)
    assert run["look_at"] == fleet.NO_HOSTS


def test_a_broken_overlay_is_refused_before_any_host_is_touched(tmp_path):
    overlay = tmp_path / "mine.yml"
    overlay.write_text("images:\n  - digest: sha256:abc\n")
    hostvars = {"gpu-1": {"verl_catalog_extra": str(overlay)}}
    run = fleet.begin(hostvars, ["gpu-1"], ABOUT)
    (error,) = run["hosts"]["gpu-1"]["errors"]
    assert error["variable"] == "verl_catalog_extra"
    assert str(overlay) in error["found"]


def test_hosts_with_different_overlays_get_their_own_catalog(tmp_path):
    digest = "sha256:" + "ab" * 32
    overlay = tmp_path / "mine.yml"
    overlay.write_text(f"images:\n  - ref: verlai/verl:vllm024.latest\n    digest: {digest}\n")
    hostvars = {
        "plain": {"__verl_facts": facts("h100x8_580")},
        "own": {"__verl_facts": facts("h100x8_580"), "verl_catalog_extra": [str(overlay)]},
    }
    _, plan = planned(hostvars)
    assert list(plan["hosts"]) == ["plain", "own"]
    assert plan["hosts"]["plain"]["image"]["digest"] is None
    assert plan["hosts"]["own"]["image"]["digest"] == digest


def test_the_cluster_group_is_the_number_of_nodes():
    groups = {"cluster": ["a", "b", "c"]}
    run = fleet.begin({name: {"groups": groups} for name in "abcd"}, ["a", "b", "d"], ABOUT)
    assert [run["hosts"][name]["variables"]["verl_nnodes"] for name in "abd"] == [3, 3, 1]


def test_a_node_that_leaves_is_not_counted():
    groups = {"cluster": ["a", "b", "c"]}
    hostvars = {name: {"groups": groups} for name in "abc"}
    hostvars["c"]["verl_cluster_state"] = "absent"
    run = fleet.begin(hostvars, list("abc"), ABOUT)
    assert [run["hosts"][name]["variables"]["verl_nnodes"] for name in "abc"] == [2, 2, 1]
    assert run["cluster"] == {"head": "a", "members": ["a", "b"], "leaving": ["c"]}


def test_the_head_outside_the_limit_is_looked_at_and_other_nodes_for_their_address():
    groups = {"cluster": ["a", "b", "c", "d"]}
    hostvars = {name: {"groups": groups} for name in "abcd"}
    hostvars["d"]["ray_cluster_address"] = "192.0.2.4"
    run = fleet.begin(hostvars, ["b"], ABOUT)
    assert [(host["host"], host["gather"]) for host in run["beyond"]] == [("a", "all"), ("c", "network")]
    assert run["cluster"]["members"] == list("abcd")


def test_two_heads_are_refused_on_every_host_of_the_cluster():
    groups = {"cluster": ["a", "b"]}
    hostvars = {name: {"groups": groups, "verl_cluster_head": name} for name in "ab"}
    run = fleet.begin(hostvars, ["a", "b"], ABOUT)
    for name in "ab":
        assert [error["variable"] for error in run["hosts"][name]["errors"]] == ["verl_cluster_head"]


def test_role_variables_of_the_user_are_settings_by_role():
    given = Reader().read(
        {
            "training_container_shm_size": "64g",
            "verl_engine": "sglang",
            "verl_shell_path": "~/bin/verl-shell",
            "other": 1,
        }
    )
    assert given.values == variables.defaults() | {"verl_engine": "sglang"}
    assert (given.given, given.errors) == ({"verl_engine"}, ())
    assert given.settings == {
        "training_container": {"training_container_shm_size": "64g"},
        "verl_shell": {"verl_shell_path": "~/bin/verl-shell"},
    }


def test_a_host_that_hangs_is_told_with_its_deadline_and_what_to_do():
    looked = {"failed": True, "msg": "Task failed: Timed out after 120 second(s).", "timedout": {"period": 120}}
    said = fleet.not_looked("gpu-1", looked)
    assert "within 120 s" in said and "verl_look_timeout" in said and "ssh to gpu-1" in said
    assert fleet.not_looked("gpu-1", {"msg": " no route to host\n"}) == "no route to host"


def test_unreachable_and_broken_hosts_are_set_apart_and_the_rest_is_planned():
    hostvars = {
        "gone": {"__verl_facts": {"unreachable": True, "msg": "no route to host"}},
        "broken": {"__verl_facts": {"failed": True, "msg": "no python"}},
        "fine": {"__verl_facts": facts("no_gpu")},
    }
    _, plan = planned(hostvars)
    assert {name: host["state"] for name, host in plan["unlooked"].items()} == {
        "gone": "unreachable",
        "broken": "failed",
    }
    assert plan["hosts"]["fine"]["ok"] is True
    assert plays.hosts(hostvars, "before") == ["fine"]


def test_verify_mode_verifies_again():
    run = fleet.begin({"a": {}}, ["a"], {**ABOUT, "mode": "verify"})
    assert run["hosts"]["a"]["variables"]["verl_verify_again"] is True


def test_dockers_own_repository_is_asked_for_before_docker_is_installed_from_it():
    bare = facts("h100x8_580")
    bare["facts"]["engines"]["docker"] |= {"installed": False, "reachable": False, "with_sudo": False, "version": None}
    bare["facts"]["user"] |= {"sudo": "free"}
    _, plan = planned({"a": {"__verl_facts": bare}})
    asked = [request["url"] for batch in plan["preflight"] for request in batch["requests"] if "url" in request]
    docker = [url for url in asked if url.startswith("https://download.docker.com/linux/ubuntu/")]
    assert [url.rpartition("/")[2] for url in docker] == ["gpg", "binary-amd64"]
    assert "/dists/jammy/stable/" in docker[1]


def test_the_engine_that_this_run_installs_disturbs_nobody():
    _, plan = planned({"gpu-1": {"__verl_facts": facts("not_installed"), "verl_backend": "docker"}})
    assert plan["hosts"]["gpu-1"]["steps"].get("disruption", {"disruption": "none"})["disruption"] == "none"


def test_a_host_asks_nothing_for_itself():
    """Ansible's facts become variables by default, and are kept by a fact cache."""
    said = {"verl_drain_before": "touch /tmp/canary", "container_image_digest": "x", "ansible_facts": {}}
    assert set(collect(said)[0]) == {"verl_drain_before", "container_image_digest"}
    read, errors = collect({**said, "ansible_facts": {"verl_drain_before": "x", "container_image_digest": "x"}})
    assert read == {}
    assert [error["variable"] for error in errors] == ["container_image_digest", "verl_drain_before"]
