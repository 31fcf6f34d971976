"""Which hosts each play meets, which steps a host does in it, and what their roles are told."""

import copy

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from tests.unit.decide.machines import machine, recorded
from tests.unit.run.test_fleet import facts, planned
from verl_provision import fleet
from verl_provision.plan import plays
from verl_provision.plan.plays import NO_HOSTS
from verl_provision.plan.steps import AT, STEPS
from verl_provision.variables import settings

MACHINES = {
    **{name: facts(name) for name in ("h100x8_580", "toolkit_after_dockerd", "no_gpu")},
    "bare": {"facts": machine(docker=False, sudo=True)},
}
SITE = ("before", "disturb", "after", "ray", "prove")


def in_docker(**more):
    """A host whose Docker has to be restarted."""
    return {"__verl_facts": facts("toolkit_after_dockerd"), "verl_backend": "docker", **more}


def order(hostvars, name, check_mode=False):
    """Everything that a host does, in order."""
    return [step for play in SITE for step in plays.steps(hostvars, name, play, check_mode)]


@pytest.mark.parametrize("name", MACHINES)
def test_a_host_does_every_step_once_after_what_it_needs_and_is_verified_last(name):
    hostvars = {"a": {"__verl_facts": MACHINES[name]}}
    _, plan = planned(hostvars)
    done = order(hostvars, "a")
    steps = plan["hosts"]["a"]["steps"]
    assert sorted(done) == sorted([*steps, "verification"]) and done[-1] == "verification"
    for place, step in enumerate(done[:-1]):
        assert set(steps[step]["needs"]) <= set(done[:place])


def test_a_host_that_failed_a_step_is_left_out_of_the_next_play():
    hostvars = {name: {"__verl_facts": facts("h100x8_580")} for name in ("a", "b")}
    planned(hostvars)
    hostvars["a"]["__verl_failure"] = {"step": "container_image", "message": "disk full"}
    assert plays.hosts(hostvars, "after") == ["b"]
    assert plays.hosts(hostvars, "disturb") == NO_HOSTS


def test_check_mode_enters_only_steps_whose_prerequisites_exist_and_disturbs_nobody():
    hostvars = {"a": in_docker(), "b": {"__verl_facts": facts("h100x8_580")}}
    planned(hostvars, mode="check")
    assert "container_image" in order(hostvars, "b", check_mode=True)
    assert not {"training_container", "verification"} & set(order(hostvars, "b", check_mode=True))
    assert plays.hosts(hostvars, "disturb", check_mode=True) == NO_HOSTS
    assert "disruption" in plays.steps(hostvars, "a", "before", check_mode=True)


def test_without_a_run_there_are_no_hosts():
    assert {tuple(plays.hosts({}, play)) for play in (*SITE, "facts", "failed", "release")} == {tuple(NO_HOSTS)}
    assert plays.batches({}) == []


def test_only_failed_hosts_meet_the_last_play():
    verdicts = {"a": {"well": True, "message": ""}, "b": {"well": False, "message": "no"}}
    known = {"localhost": {"__verl_run": {"mode": "apply"}, "__verl_report": {"verdicts": verdicts}}}
    assert plays.hosts(known, "failed") == ["b"]
    known["localhost"]["__verl_run"]["mode"] = "plan"
    assert plays.hosts(known, "failed") == NO_HOSTS


def test_verify_mode_applies_nothing():
    hostvars = {"a": in_docker()}
    planned(hostvars, mode="verify")
    assert order(hostvars, "a") == ["verification"]


def test_only_hosts_that_are_disturbed_go_in_batches():
    hostvars = {name: in_docker(verl_rolling_batch=2) for name in "abcde"}
    _, plan = planned(hostvars)
    plan["hosts"]["b"]["steps"]["disruption"]["disruption"] = "reload"
    assert plays.hosts(hostvars, "disturb") == list("acde")
    assert plays.batches(hostvars) == [1, 2]
    assert plays.batches(hostvars, check_mode=True) == []
    assert "disruption" in plays.steps(hostvars, "b", "before")
    assert plays.steps(hostvars, "a", "disturb") == ["disruption"]


def test_no_more_hosts_are_disturbed_where_too_many_failed():
    hostvars = {name: in_docker(verl_rolling_batch=2) for name in "abcde"}
    planned(hostvars)
    names = list("abcde")
    assert plays.gate(hostvars, "disturb", names, ["d", "e"]) == {}
    hostvars["b"]["__verl_deferred"] = {"step": "disruption", "by": "drain", "reason": "r", "fix": "f"}
    told = plays.gate(hostvars, "disturb", names, ["d", "e"])
    assert (told["by"], told["step"]) == ("rolling", "disruption")
    assert "1 of the 3 hosts before this one failed (b)" in told["reason"]
    assert plays.gate(hostvars, "disturb", names, ["b", "c"]) == {}
    assert plays.gate(hostvars, "ray", names, ["d", "e"]) == {}
    hostvars["d"]["__verl_deferred"] = told
    assert plays.hosts(hostvars, "after") == ["a", "c", "e"]


def test_a_host_that_an_earlier_run_left_drained_is_taken_back():
    left = facts("h100x8_580")
    left["facts"]["stamps"] = {"drained": {"key": "disruption"}}
    hostvars = {
        "left": {"__verl_facts": left, "verl_drain_after": "resume"},
        "not-ours": {"__verl_facts": left},
        "healthy": {"__verl_facts": facts("h100x8_580"), "verl_drain_after": "resume"},
    }
    _, plan = planned(hostvars)
    assert plan["drained"] == ["left"]
    for host in plan["hosts"].values():  # nothing else to do
        host["steps"], host["verification"]["needed"] = {}, False
    assert plays.hosts(hostvars, "after", check_mode=True) == NO_HOSTS
    assert plays.hosts(hostvars, "before") == ["left"]  # it is claimed first
    assert plays.hosts(hostvars, "after") == ["left"]
    hostvars["left"]["__verl_failure"] = {"step": "claim"}  # another run has it: that one drained it, and is at work
    assert plays.hosts(hostvars, "after") == NO_HOSTS
    hostvars["left"] |= {"__verl_failure": {"step": "verl_checkout"}}
    assert plays.hosts(hostvars, "after") == ["left"]
    hostvars["left"]["__verl_drained"] = False  # a step of this run did it
    assert plays.hosts(hostvars, "after") == NO_HOSTS


def test_other_runs_are_kept_away_where_something_is_done():
    pulls = {"facts": facts("h100x8_580")["facts"] | {"pull": {"hold": "/var/lib/verl-provision/pull/hold"}}}
    hostvars = {"pulls": {"__verl_facts": pulls}, "pushed": {"__verl_facts": facts("h100x8_580")}, "gone": {}}
    _, plan = planned(hostvars)
    for name in ("pulls", "pushed"):
        plan["hosts"][name]["steps"] = {}
    plan["hosts"]["pushed"]["verification"]["needed"] = False
    assert plays.hosts(hostvars, "before") == ["pulls"]  # it is to be verified
    assert plays.hosts(hostvars, "before", check_mode=True) == NO_HOSTS
    assert plays.hosts(hostvars, "release") == NO_HOSTS
    hostvars["pulls"]["__verl_claimed"] = {"changed": True}
    assert plays.hosts(hostvars, "release") == ["pulls"]
    plan["hosts"]["pulls"]["verification"]["needed"] = False
    assert plays.hosts(hostvars, "before") == NO_HOSTS


def three():
    """A cluster of three."""
    names = ["gpu-1", "gpu-2", "gpu-3"]
    hostvars = {}
    for number, name in enumerate(names, 1):
        given = facts("h100x8_580")
        given["facts"]["network"] = {"default_interface": "eth0", "address": f"192.0.2.{number}", "infiniband": []}
        hostvars[name] = {"__verl_facts": given, "groups": {"cluster": names}, "verl_cluster_head": "gpu-2"}
    return hostvars


def test_the_nodes_of_a_cluster_start_together_the_head_first_and_prove_it_afterwards():
    hostvars = {name: {**given, "verl_verify_level": "train"} for name, given in three().items()}
    planned(hostvars)
    assert plays.hosts(hostvars, "ray")[0] == "gpu-2" and len(plays.hosts(hostvars, "ray")) == 3
    assert plays.hosts(hostvars, "prove") == ["gpu-2"]
    assert "verification" not in plays.steps(hostvars, "gpu-2", "after")
    assert plays.steps(hostvars, "gpu-1", "after")[-1] == "verification"


def test_where_only_the_cluster_is_started_a_node_without_its_environment_is_left_out():
    hostvars = three()
    _, plan = planned(hostvars, mode="cluster")
    assert {step for name in hostvars if name != "localhost" for step in order(hostvars, name)} == set()
    plan["hosts"]["gpu-1"]["steps"] = {"ray_cluster": {**plan["hosts"]["gpu-1"]["steps"]["ray_cluster"], "needs": []}}
    assert order(hostvars, "gpu-1") == ["ray_cluster"]


@pytest.mark.parametrize("name", MACHINES)
def test_a_role_is_told_its_own_variables_and_where_the_run_is(name):
    hostvars = {
        "a": {"__verl_facts": MACHINES[name], "verl_registry_logins": {"r": {"username": "u", "password": "s3"}}}
    }
    _, plan = planned(hostvars)
    for step, about in plan["hosts"]["a"]["steps"].items():
        told = plays.role_variables(hostvars, "a", step)
        assert told[AT] == step and told[f"{step}_key"] == about["key"]
        assert set(told) - {AT, "__verl_set"} <= set(settings.specs()[step])
        assert "s3" not in repr(told)
    told = plays.role_variables(hostvars, "a", "verification")
    assert told["verification_again"] is True and told["verification_level"]


PLANS_OWN = {"ray_cluster_linger"}  # what only the plan needs of a step's arguments


def test_every_argument_of_a_plan_is_a_variable_of_its_role():
    seen = set()
    for hostvars in (three(), *({"a": {"__verl_facts": given}} for given in MACHINES.values())):
        _, plan = planned(hostvars)
        for host in plan["hosts"].values():
            for step, about in host["steps"].items():
                seen.add(step)
                own = {f"{step}_{name}": value for name, value in about["args"].items()}
                own = {name: value for name, value in own.items() if value is not None and name not in PLANS_OWN}
                assert set(own) <= set(settings.specs()[step]), step
                wrong = ArgumentSpecValidator(settings.specs()[step]).validate(own).error_messages
                assert [said for said in wrong if "missing" not in said] == [], step
    assert seen | {"huggingface_token"} == set(STEPS)


def test_what_a_step_set_is_not_taken_for_the_users_by_the_next_playbook():
    """As in `ansible-playbook site.yml playbooks/cluster.yml`: facts that were set stay for the whole invocation."""
    hostvars = {"a": {"__verl_facts": facts("h100x8_580"), "training_container_shm_size": "64g"}}
    run, plan = planned(hostvars)
    for step in plan["hosts"]["a"]["steps"]:
        hostvars["a"] |= plays.role_variables(hostvars, "a", step)
    again = fleet.begin(hostvars, ["a"], {key: run[key] for key in ("mode", "started", "ansible", "limit")})
    assert again["hosts"]["a"] == run["hosts"]["a"]
    assert fleet.plan(hostvars, again)["hosts"]["a"] == plan["hosts"]["a"]


def test_what_a_host_lost_is_named():
    before = recorded("h100x8_580")
    assert plays.lost(before, before) == []
    after = copy.deepcopy(before)
    gone = after["nvidia"]["gpus"].pop()
    assert plays.lost(before, after) == [f"1 of 8 GPUs are gone ({gone['uuid']}): nvidia-smi lists the others"]
    after["engines"]["docker"] |= {"reachable": False, "with_sudo": False, "reason": "permission denied"}
    assert plays.lost(before, after)[0] == "Docker answered before and doesn't now: permission denied"


def test_the_table_lists_steps_after_what_they_need():
    seen = []
    for name, row in STEPS.items():
        assert set(row.needs) <= set(seen), name
        seen.append(name)
