"""What a user has in the container: whose container it is, which is kept for its files, what is mounted."""

import pytest

from tests.unit.decide.machines import machine, plan, settle
from verl_provision.report import build

KEPT = "9" * 64
NAME = f"verl-before-{KEPT[:12]}"
HELD = {"id": KEPT, "name": NAME, "image_id": "sha256:1", "size_bytes": 3_200_000_000, "files": 41, "path": "/root/a b"}


def converged(**changes):
    """A host on which everything is done."""
    facts = machine(**changes)
    return settle(facts, plan(facts))


def keeping(**changes):
    """The same, with an earlier container that is kept."""
    facts = converged(**changes)
    facts["kept_containers"] = [{"engine": "docker", "name": NAME, "id": KEPT}]
    facts["stamps"]["training_container"]["kept"] = dict(HELD)
    return facts


def warning(planned, rule):
    """The warning of a rule."""
    return next((item for item in planned["warnings"] if item["rule"] == rule), None)


@pytest.mark.parametrize("labels", [{}, {"verl-provision.lab": "of its image"}], ids=len)
def test_a_users_own_container_of_our_name_is_refused(labels):
    facts = converged()
    facts["container"]["labels"] = labels
    planned = plan(facts)
    assert (planned["ok"], planned["steps"]) == (False, {})
    error = planned["errors"][0]
    assert error["rule"] == "foreign_container"
    assert "docker rename verl verl-own" in error["fix"]
    settings = {"training_container": {"training_container_replace_foreign": True}}
    assert "training_container" in plan(facts, settings)["steps"]
    assert plan({**facts, "container": None}, container_name="other")["ok"]


@pytest.mark.parametrize("labels", [{}, {"verl-provision.home": ""}])
def test_ours_is_known_by_the_last_runs_id_or_by_its_label(labels):
    facts = converged()
    facts["container"]["labels"] = labels
    facts["stamps"]["training_container"]["id"] = facts["container"]["id"]
    assert plan(facts)["steps"] == {}
    if labels:
        del facts["stamps"]["training_container"]
        assert plan(facts)["ok"]


def test_a_container_without_the_mounts_is_left_alone_and_named():
    facts = converged()
    facts["container"]["spec"]["mounts"] = [{"target": "/workspace/verl"}, {"target": "/data"}]
    planned = plan(facts)
    assert planned["steps"] == {}
    assert "holds /root/.cache/huggingface, /root/data itself" in warning(planned, "home_mounts")["message"]
    assert warning(planned, "home_mounts")["fix"] == ""  # nothing that somebody should do
    assert warning(plan(converged()), "home_mounts") is None
    off = {"training_container": {"training_container_home": ""}}
    assert (plan(facts, off)["steps"], warning(plan(facts, off), "home_mounts")) == ({}, None)
    more = {"training_container": {"training_container_home_mounts": {"x": "/x"}}}
    assert plan(facts, more)["steps"] == {}


def test_a_kept_container_is_named_with_its_size_and_the_commands():
    planned = plan(keeping())
    assert planned["steps"] == {}
    told = warning(planned, "kept_container")
    assert f"{NAME} is kept" in told["message"]
    assert "3.2 GB, files: 41" in told["message"]
    assert f"docker cp {NAME}:'/root/a b' - | docker cp - verl:/root." in told["fix"]
    assert "verl_discard_container_changes" in told["fix"]


def test_one_that_a_killed_run_left_is_named_too():
    facts = keeping()
    del facts["stamps"]["training_container"]["kept"]
    assert "not looked through yet" in warning(plan(facts), "kept_container")["message"]


def test_it_is_removed_by_the_next_run_that_is_told_to():
    planned = plan(keeping(), discard_container_changes=True)
    assert list(planned["steps"]) == ["training_container"]
    assert NAME in planned["steps"]["training_container"]["reason"]
    assert planned["steps"]["training_container"]["args"]["discard_kept"] is True
    assert planned["steps"]["training_container"]["key"] == keeping()["stamps"]["training_container"]["key"]
    assert plan(converged(), discard_container_changes=True)["steps"] == {}


def test_it_counts_where_the_disk_is_too_small():
    facts = keeping()
    facts["disk"]["engine_root"]["free_gb"] = 3.0
    facts["images"] = [{**facts["images"][0], "refs": [], "digests": []}]
    planned = plan(facts, backend="docker")
    told = str(planned["rejected"]) + str(planned["errors"])
    assert f"{NAME}, kept for the files in it, takes 33.2 GB with its image: docker rm {NAME}" in told


def test_what_a_state_file_says_of_it_is_not_believed_blindly():
    facts = keeping()
    facts["stamps"]["training_container"]["kept"] |= {"path": "/a\n; rm -rf /", "size_bytes": "many", "files": []}
    told = warning(plan(facts), "kept_container")
    assert "rm -rf" not in told["fix"]
    assert f"{NAME}:/PATH -" in told["fix"]


def test_the_report_of_the_run_that_keeps_it_names_it_already():
    planned = plan(converged()) | {"steps": {}}
    result = {"training_container_result": {"kept": HELD}}
    (told,) = build.newly_kept(result, planned)
    assert NAME in told["message"]
    assert build.newly_kept(result, plan(keeping())) == []
    for odd in (None, {}, {"kept": None}, {"kept": []}, {"kept": {**HELD, "name": "x; rm -rf /"}}, "text"):
        assert build.newly_kept({"training_container_result": odd}, planned) == []
