"""Ray over several hosts: what each node starts, what is refused by name, and what waits for a job to end."""

import copy

import jsonschema
import pytest

from tests.unit.decide.machines import loaded, machine, settle
from tests.unit.plan.test_steps import schema
from verl_provision.plan import cluster, preflight
from verl_provision.plan.fleet import plan_fleet

NAMES = ("gpu-1", "gpu-2", "gpu-3")
GROUP = {"head": "gpu-1", "members": list(NAMES), "leaving": []}


def facts_of(number, driver="580.95.05", **changes):
    network = {"default_interface": "eth0", "address": f"192.0.2.{number}", "infiniband": []}
    return machine(driver=driver, network=network, memory={"total_mb": 1_000_000}, **changes)


def fleet_of(machines, group=GROUP, requests=None, addresses=None):
    """The fleet's plan, and the hosts' planners, over facts by host."""
    requests = requests or {}
    inputs = {
        name: {"facts": facts, "request": requests.get(name, {}), "settings": {}, "head": name == group["head"]}
        for name, facts in machines.items()
    }
    planners = {}
    fleet = plan_fleet(inputs, loaded(), planners)
    fleet["unlooked"] = {}
    cluster.add(fleet, planners, group, addresses or {})
    jsonschema.Draft202012Validator(schema()).validate(fleet)
    return fleet


def three(**changes):
    return {name: facts_of(number, **changes) for number, name in enumerate(NAMES, 1)}


def ready(machines, fleet):
    """The hosts after a run that did all of the plan: Ray is up and its stamp is there."""
    done = {}
    for name, facts in machines.items():
        done[name] = settle(facts, fleet["hosts"][name])
        step = fleet["hosts"][name]["steps"].get("ray_cluster")
        if step:
            noted = {key: step["args"][key] for key in ("node_key", "members", "head_address", "head_token", "address")}
            done[name]["stamps"]["ray_cluster"] = {"key": step["key"], **noted}
            container = {"engine": "docker", "id": "e" * 64, "image_ref": step["args"]["image"], "running": True}
            done[name]["ray"] = {"running": True, "session": None, "busy": False, "container": container}
    return done


def steps(fleet):
    return {name: plan["steps"].get("ray_cluster") for name, plan in fleet["hosts"].items()}


def test_ray_is_told_of_the_outside_as_the_training_container_is():
    mirror = {"verl_mirror_huggingface": "https://hf.example"}
    facts = {name: {**one, "huggingface_token": True} for name, one in three().items()}
    for name, plan in fleet_of(facts, requests=dict.fromkeys(NAMES, mirror))["hosts"].items():
        args, training = plan["steps"]["ray_cluster"]["args"], plan["steps"]["training_container"]["args"]
        assert args["env"]["HF_ENDPOINT"] == "https://hf.example" and "HF_TOKEN_PATH" in args["env"], name
        assert args["volumes"] == training["volumes"] != []


@pytest.fixture(scope="module")
def healthy():
    machines = three()
    return ready(machines, fleet_of(machines))


def test_one_head_the_rest_workers_each_with_all_nodes_and_their_gpus():
    planned = steps(fleet_of(three()))
    assert [planned[name]["args"]["role"] for name in NAMES] == ["head", "worker", "worker"]
    for number, name in enumerate(NAMES, 1):
        args = planned[name]["args"]
        assert args["head_address"] == "192.0.2.1"
        assert args["address"] == f"192.0.2.{number}"
        assert args["interface"] == "eth0"
        assert [node["gpus"] for node in args["nodes"]] == [8, 8, 8]
        assert args["members"] == {"gpu-1": "192.0.2.1", "gpu-2": "192.0.2.2", "gpu-3": "192.0.2.3"}
        assert 0 < args["object_store_mb"] <= 190_000
        assert args["object_store_mb"] + args["memory_mb"] == 900_000


def test_after_it_no_step_is_left(healthy):
    fleet = fleet_of(healthy)
    assert all(plan["steps"] == {} and plan["ok"] for plan in fleet["hosts"].values())
    assert "ray_cluster" not in fleet["step_hosts"]


def test_a_node_with_another_image_is_refused_by_name_and_nothing_starts():
    fleet = fleet_of({**three(), "gpu-2": facts_of(2, driver="550.163.01")})
    assert not fleet["hosts"]["gpu-2"]["ok"]
    error = fleet["hosts"]["gpu-2"]["errors"][0]
    assert error["rule"] == "cluster_same"
    assert fleet["hosts"]["gpu-2"]["image"]["ref"] in error["found"]
    assert fleet["hosts"]["gpu-1"]["image"]["ref"] in error["needed"]
    assert "gpu-1" in error["needed"]
    assert steps(fleet)["gpu-1"] is steps(fleet)["gpu-3"] is None
    held = next(item for item in fleet["hosts"]["gpu-1"]["deferred"] if item["step"] == "ray_cluster")
    assert "gpu-2" in held["because"]


def test_a_digest_that_preflight_finds_to_differ_is_refused_too():
    fleet = fleet_of(three())
    for name in NAMES:
        fleet["hosts"][name]["image"]["digest"] = "sha256:" + ("a" if name != "gpu-3" else "b") * 64
    fleet["preflight"] = [{"host": "gpu-1", "controller": False, "requests": [], "hosts": {}}]
    fleet = preflight.apply_answers(fleet, {"answers": []})
    assert [fleet["hosts"][name]["ok"] for name in NAMES] == [True, True, False]
    assert "sha256:" + "b" * 64 in fleet["hosts"]["gpu-3"]["errors"][0]["found"]
    assert "ray_cluster" not in fleet["hosts"]["gpu-1"]["steps"]


def test_a_node_at_another_commit_is_refused():
    # a release of which the catalog knows no commit: else the checkout is put right on the node alone
    asked = {"verl_version": "0.9.1", "verl_image": "vllm024", "verl_image_force": True}
    requests = dict.fromkeys(NAMES, asked)
    machines = ready(three(), fleet_of(three(), requests=requests))
    machines["gpu-3"]["verl_checkout"]["commit"] = "0" * 40
    error = fleet_of(machines, requests=requests)["hosts"]["gpu-3"]["errors"][0]
    assert error["rule"] == "cluster_same"
    assert "0" * 40 in error["found"]


def test_a_worker_that_was_lost_has_a_step_and_the_others_none(healthy):
    machines = copy.deepcopy(healthy)
    machines["gpu-2"]["ray"] = {"running": False, "session": None, "busy": False, "container": None}
    planned = steps(fleet_of(machines))
    assert planned["gpu-1"] is planned["gpu-3"] is None
    assert planned["gpu-2"]["disruption"] == "none"


def test_what_would_end_a_job_waits_for_the_whole_cluster(healthy):
    machines = copy.deepcopy(healthy)
    machines["gpu-3"]["ray"]["busy"] = True  # the job has work on another node than the one that changes
    for facts in machines.values():
        facts["stamps"]["ray_cluster"]["node_key"] = "f" * 64
    fleet = fleet_of(machines)
    assert set(steps(fleet).values()) == {None}
    for name in NAMES:
        (item,) = fleet["hosts"][name]["deferred"]
        assert item["disruption"] == "ray_restart"
        assert "gpu-3" in item["because"]
    allowed = fleet_of(machines, requests={name: {"verl_allow_disruption": True} for name in NAMES})
    assert all(step["disruption"] == "ray_restart" for step in steps(allowed).values())


def test_a_new_member_restarts_nobody_also_under_a_job(healthy):
    machines = {**copy.deepcopy(healthy), "gpu-4": facts_of(4)}
    machines["gpu-1"]["ray"]["busy"] = True
    planned = steps(fleet_of(machines, {**GROUP, "members": [*NAMES, "gpu-4"]}))
    assert {planned[name]["disruption"] for name in (*NAMES, "gpu-4")} == {"none"}
    assert planned["gpu-1"]["args"]["node_key"] == healthy["gpu-1"]["stamps"]["ray_cluster"]["node_key"]


def test_one_worker_alone_knows_the_head_from_its_own_stamp(healthy):
    machines = {"gpu-2": copy.deepcopy(healthy["gpu-2"])}
    assert fleet_of(machines)["hosts"]["gpu-2"]["steps"] == {}
    machines["gpu-2"]["ray"]["container"] = None
    args = steps(fleet_of(machines))["gpu-2"]["args"]
    assert args["head_address"] == "192.0.2.1"
    assert args["head_token"].endswith("/ray/token")
    assert [node["name"] for node in args["nodes"]] == ["gpu-2"]


def test_a_worker_without_any_word_of_the_head_is_refused():
    (error,) = fleet_of({"gpu-2": facts_of(2)})["hosts"]["gpu-2"]["errors"]
    assert error["rule"] == "cluster_head"
    assert "gpu-1" in error["found"]


def with_addresses(*addresses, **changes):
    machines = three(**changes)
    for name, address in zip(NAMES, addresses, strict=True):
        machines[name]["network"]["address"] = address
    return machines


@pytest.mark.parametrize(
    "address",
    [
        "192.0.2.66 } ; flush ruleset ; table inet x { set y { type ipv4_addr ; elements = { 192.0.2.66",
        "192.0.2.3\n", "192.0.2.3/0", "0.0.0.0", "224.0.0.1", "::", "fe80::1", "fd00::1%eth0", "gpu-3", "192.0.2", "-x",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused_on_that_host_and_reaches_no_other(address):
    fleet = fleet_of(with_addresses("192.0.2.1", "192.0.2.2", address))
    (error,) = fleet["hosts"]["gpu-3"]["errors"]
    assert (error["rule"], error["found"]) == ("cluster_address", f"{address!r}, which is no address")
    assert "ray_cluster_address" in error["fix"]
    for name in ("gpu-1", "gpu-2"):
        assert steps(fleet)[name]["args"]["members"] == {"gpu-1": "192.0.2.1", "gpu-2": "192.0.2.2"}
        assert fleet["hosts"][name]["ok"]


def test_what_a_host_outside_the_run_says_is_parsed_too():
    machines = {"gpu-1": facts_of(1)}
    hostile = "192.0.2.2 }; flush ruleset"
    assert steps(fleet_of(machines, addresses={"gpu-2": hostile, "gpu-3": "FD00::3"}))["gpu-1"]["args"]["members"] == {
        "gpu-1": "192.0.2.1",
        "gpu-3": "fd00::3",
    }
    (error,) = fleet_of({"gpu-2": facts_of(2)}, addresses={"gpu-1": hostile})["hosts"]["gpu-2"]["errors"]
    assert error["rule"] == "cluster_head"


def test_nodes_with_ipv6_alone_make_a_cluster():
    planned = steps(fleet_of(with_addresses("FD00:0::11", "fd00::12", "fd00::13")))
    assert planned["gpu-2"]["args"]["head_address"] == "fd00::11"
    assert planned["gpu-3"]["args"]["members"] == {"gpu-1": "fd00::11", "gpu-2": "fd00::12", "gpu-3": "fd00::13"}


def test_nodes_of_two_families_are_refused_by_name_and_nothing_starts():
    fleet = fleet_of(with_addresses("192.0.2.1", "192.0.2.2", "fd00::13"))
    error = fleet["hosts"]["gpu-3"]["errors"][0]
    assert "fd00::13" in error["found"]
    assert "192.0.2.1" in error["found"]
    assert "one family" in error["needed"]
    assert set(steps(fleet).values()) == {None}
    assert "gpu-3 has an address of IPv6, the others IPv4" in fleet["hosts"]["gpu-1"]["deferred"][-1]["because"]


def test_a_host_does_not_say_which_file_is_read_on_the_head(healthy):
    machines = {"gpu-2": copy.deepcopy(healthy["gpu-2"])}
    stamp = machines["gpu-2"]["stamps"]["ray_cluster"]
    stamp |= {"head_token": "/root/.ssh/id_ed25519", "key": "another"}
    assert steps(fleet_of(machines))["gpu-2"]["args"]["head_token"] == "~/.local/state/verl-provision/ray/token"


def test_a_node_leaves_once_it_is_idle(healthy):
    machines = copy.deepcopy(healthy)
    group = {"head": "gpu-1", "members": ["gpu-1", "gpu-2"], "leaving": ["gpu-3"]}
    planned = steps(fleet_of(machines, group))
    assert planned["gpu-3"]["args"]["state"] == "absent"
    assert planned["gpu-1"]["args"]["members"] == {"gpu-1": "192.0.2.1", "gpu-2": "192.0.2.2"}
    machines["gpu-3"]["ray"]["busy"] = True
    busy = fleet_of(machines, group)["hosts"]["gpu-3"]
    assert busy["steps"] == {}
    assert busy["deferred"][0]["action"] == "drain"


def test_a_kept_container_of_rays_goes_where_that_is_asked(healthy):
    machines = copy.deepcopy(healthy)
    kept = {"engine": "docker", "name": f"verl-ray-before-{'d' * 12}", "id": "d" * 64}
    machines["gpu-2"]["kept_containers"] = [kept]
    assert set(steps(fleet_of(machines)).values()) == {None}
    asked = {"gpu-2": {"verl_discard_container_changes": True}}
    planned = fleet_of(machines, requests=asked)["hosts"]["gpu-2"]["steps"]
    assert list(planned) == ["ray_cluster"]
    assert kept["name"] in planned["ray_cluster"]["reason"]
    assert planned["ray_cluster"]["disruption"] == "none"
    assert planned["ray_cluster"]["args"]["discard_kept"] is True
    gone = {"gpu-2": machines["gpu-2"] | {"ray": {}, "stamps": {**machines["gpu-2"]["stamps"], "ray_cluster": {}}}}
    group = {"head": "gpu-1", "members": ["gpu-1"], "leaving": ["gpu-2"]}
    assert steps(fleet_of(gone, group))["gpu-2"] is None
    assert steps(fleet_of(gone, group, asked))["gpu-2"]["args"]["state"] == "absent"


def test_rays_own_container_is_nobody_elses(healthy):
    machines = copy.deepcopy(healthy)
    machines["gpu-1"]["engines"]["docker"]["running"] = [{"id": "e" * 12, "name": "verl-ray", "image": "verl"}]
    machines["gpu-1"]["stamps"].pop("training_container")
    fleet = fleet_of(machines)
    assert "training_container" in fleet["hosts"]["gpu-1"]["steps"]


def test_a_backend_that_keeps_nothing_running_is_refused():
    apptainer = {"engines": {"apptainer": {"installed": True, "version": "1.4.1"}}}
    machines = {**three(), "gpu-2": facts_of(2, docker=False, sudo=False, **apptainer)}
    errors = {error["rule"]: error for error in fleet_of(machines)["hosts"]["gpu-2"]["errors"]}
    assert errors["cluster_backend"]["found"] == "backend apptainer"


# ---- source environments

SERVICE = {"linger": True, "may_linger": True, "unit": False, "running": False}
SOURCE = {"verl_backend": "source"}
OF_SOURCE = dict.fromkeys(NAMES, SOURCE)


def sources(service=SERVICE, **changes):
    """Three hosts without GPUs, hence with source environments, whose users have a systemd of their own."""
    found = {}
    for number, name in enumerate(NAMES, 1):
        network = {"default_interface": "eth0", "address": f"192.0.2.{number}", "infiniband": []}
        known = {"memory": {"total_mb": 100_000}, "shm": {"size_mb": 50_000}, "network": network, **changes}
        found[name] = machine(gpu=None, **known)
        found[name]["ray"]["user_service"] = service
        if service is None:
            del found[name]["ray"]["user_service"]
    return found


def built(machines, fleet):
    """They after a run that did all of the plan."""
    done = ready(machines, fleet)
    for facts in done.values():
        facts["stamps"]["source_environment"] |= {"python": "3.12.3", "ray": "2.55.1"}
        facts["ray"]["container"] = None
        facts["ray"]["user_service"] = {**SERVICE, "unit": True, "running": True}
    return done


def rules_of(fleet, name="gpu-2"):
    return [error["rule"] for error in fleet["hosts"][name]["errors"]]


def test_source_environments_run_ray_without_an_engine():
    fleet = fleet_of(sources())
    planned = steps(fleet)
    assert [planned[name]["args"]["role"] for name in NAMES] == ["head", "worker", "worker"]
    for step in planned.values():
        args = step["args"]
        assert (args["backend"], args["image"], args["num_gpus"]) == ("source", "", 0)
        assert args["workspace"] == args["prefix"]
        assert step["needs"] == ["source_environment"]
        assert args["object_store_mb"] == 30_000  # of the host's own /dev/shm
    shell = fleet["hosts"]["gpu-1"]["steps"]["verl_shell"]["args"]
    assert (shell["ray"], shell["ray_token"].rpartition("/state/")[2]) == ("verl-ray", "verl-provision/ray/token")
    assert "ray_token" not in fleet["hosts"]["gpu-2"]["steps"]["verl_shell"]["args"]


def test_a_shm_too_small_for_ray_is_left_to_ray():
    """64 MB, as in a container: Ray 2.60 ends with `the minimum allowed is 78643200 bytes`."""
    for step in steps(fleet_of(sources(shm={"size_mb": 64}))).values():
        assert (step["args"]["object_store_mb"], step["args"]["memory_mb"]) == (0, 0)


def test_after_it_no_step_is_left_of_source_environments_either():
    machines = sources()
    fleet = fleet_of(built(machines, fleet_of(machines)))
    assert all(plan["steps"] == {} and plan["ok"] for plan in fleet["hosts"].values())


def test_a_unit_that_was_lost_is_started_and_another_environment_restarts_ray():
    machines = sources()
    done = built(machines, fleet_of(machines))
    done["gpu-2"]["ray"] |= {"running": False, "user_service": SERVICE}
    assert steps(fleet_of(done))["gpu-2"]["reason"] == "Ray is gone"
    done = built(machines, fleet_of(machines))
    older = {name: {"verl_version": "0.8.0"} for name in NAMES}
    assert all(step["disruption"] == "ray_restart" for step in steps(fleet_of(done, requests=older)).values())
    for facts in done.values():
        facts["ray"]["busy"] = True
    busy = fleet_of(done, requests=older)["hosts"]["gpu-1"]
    assert {item["step"] for item in busy["deferred"]} == {"source_environment", "ray_cluster"}


def test_containers_and_source_environments_do_not_mix():
    machines = {**three(), "gpu-2": sources()["gpu-2"]}
    fleet = fleet_of(machines)
    (error,) = [error for error in fleet["hosts"]["gpu-2"]["errors"] if error["rule"] == "cluster_same"]
    assert (error["found"], "verl_backend" in error["fix"]) == ("backend source", True)
    assert error["needed"].startswith("backend docker, as gpu-1, gpu-3 have")
    assert set(steps(fleet).values()) == {None}


def test_without_a_systemd_of_the_users_own_it_is_said():
    fleet = fleet_of(sources(service=None))
    assert rules_of(fleet) == ["cluster_service"]
    assert "libpam-systemd" in fleet["hosts"]["gpu-2"]["errors"][0]["fix"]


def test_who_may_not_linger_is_told_the_command():
    off = {**SERVICE, "linger": False, "may_linger": False}
    with_sudo = steps(fleet_of(sources(service=off)))
    assert all(step["args"]["linger"] for step in with_sudo.values()), "it is switched on"
    fleet = fleet_of(sources(service=off, sudo=False))
    error = next(error for error in fleet["hosts"]["gpu-2"]["errors"] if error["rule"] == "cluster_linger")
    assert error["fix"].startswith("sudo loginctl enable-linger ")
    able = fleet_of(sources(service={**off, "may_linger": True}, sudo=False))
    assert rules_of(able) == []


def test_without_a_firewall_a_token_is_enough_where_this_ray_asks_for_one():
    newest = fleet_of(sources(sudo=False))
    assert newest["hosts"]["gpu-2"]["ok"]
    (warning,) = [item for item in newest["hosts"]["gpu-2"]["warnings"] if item["rule"] == "cluster_firewall"]
    assert "ray_cluster_firewall: false" in warning["fix"]
    assert steps(newest)["gpu-2"]["args"]["firewall"] is False
    old = {name: {"verl_version": "0.5.0"} for name in NAMES}  # asks for a Ray before 2.52
    assert rules_of(fleet_of(sources(sudo=False), requests=old)) == ["cluster_firewall"]
    machines = sources(sudo=False)
    done = built(machines, fleet_of(machines))
    done["gpu-2"]["stamps"]["source_environment"]["ray"] = "2.51.0"
    assert "cluster_firewall" in rules_of(fleet_of(done))


def test_another_python_or_ray_is_refused_by_name():
    machines = sources()
    done = built(machines, fleet_of(machines))
    done["gpu-2"]["stamps"]["source_environment"] |= {"python": "3.11.2", "ray": "2.54.0"}
    errors = {error["found"]: error for error in fleet_of(done)["hosts"]["gpu-2"]["errors"]}
    assert set(errors) == {"Python 3.11", "Ray 2.54.0"}
    assert all("gpu-1, gpu-3" in error["needed"] for error in errors.values())


def test_a_checkout_beside_an_environment_from_the_index_is_nobodys_business():
    machines = sources()
    done = built(machines, fleet_of(machines))
    done["gpu-2"]["verl_checkout"] = {"path": "/home/x/verl/src", "commit": "0" * 40, "tag": None, "dirty": True}
    assert fleet_of(done)["hosts"]["gpu-2"]["ok"]


def test_what_another_backend_left_running_is_named():
    machines = sources()
    machines["gpu-2"]["ray"]["container"] = {"engine": "docker", "id": "e" * 64, "image_ref": None, "running": True}
    (error,) = fleet_of(machines)["hosts"]["gpu-2"]["errors"]
    assert "docker rm -f verl-ray" in error["fix"]
    machines = three()
    machines["gpu-2"]["ray"]["user_service"] = {**SERVICE, "unit": True}
    (error,) = fleet_of(machines)["hosts"]["gpu-2"]["errors"]
    assert "systemctl --user disable --now verl-ray" in error["fix"]


def test_a_node_of_source_leaves():
    machines = sources()
    done = built(machines, fleet_of(machines))
    group = {"head": "gpu-1", "members": ["gpu-1", "gpu-2"], "leaving": ["gpu-3"]}
    args = steps(fleet_of(done, group))["gpu-3"]["args"]
    assert (args["state"], args["backend"]) == ("absent", "source")


def test_code_that_a_ray_job_may_use_stays_until_it_ends(healthy):
    machines = copy.deepcopy(healthy)
    for facts in machines.values():
        facts["ray"]["busy"] = True
        facts["verl_checkout"] |= {"tag": "v0.1", "commit": "d" * 40}
    for plan in fleet_of(machines)["hosts"].values():
        assert "verl_checkout" not in plan["steps"]
        assert any(item["step"] == "verl_checkout" for item in plan["deferred"])


# ---- level train on the head


def test_level_train_on_the_head_goes_through_ray():
    level = {name: {"verl_verify_level": "train", "verl_nnodes": 3} for name in NAMES}
    hosts = fleet_of(three(), requests=level)["hosts"]
    head = hosts["gpu-1"]["verification"]
    assert head["expected"]["cluster"] == {"nodes": 3, "dashboard": "http://127.0.0.1:8265"}
    assert head["ray_token"].endswith("/ray/token")
    assert "cluster" not in hosts["gpu-2"]["verification"]["expected"]
    machines = {**three(), "gpu-2": facts_of(2, driver="550.163.01")}
    held = fleet_of(machines, requests=level)["hosts"]["gpu-1"]["verification"]
    assert "cluster" not in held["expected"], "Ray isn't started in this run"
    assert held["key"] != head["key"], "what passes without Ray says nothing of it"
    smaller = fleet_of(three(), requests={name: {"verl_verify_level": "gpu"} for name in NAMES})
    assert "cluster" not in smaller["hosts"]["gpu-1"]["verification"]["expected"]


@pytest.mark.parametrize(
    ("here", "there", "found"),
    [
        ({"commit": "a" * 40}, {"commit": "b" * 40}, [f"verl at commit {'a' * 40}, the head has {'b' * 40}"]),
        ({"verl_version": "0.9.0"}, {"verl_version": "0.9.1"}, ["verl 0.9.0, the head has 0.9.1"]),
        ({"python": "3.11.2", "ray": "2.52.0"}, {"python": "3.12.3", "ray": "2.52.1"},
         ["Ray 2.52.0, the head has 2.52.1", "Python 3.11, the head has 3.12"]),
        ({"python": "3.11.2", "ray": "2.52.0"}, {"python": "3.11.9", "ray": "2.52.0"}, []),
        ({"ray": None}, {"ray": "2.52.0"}, []),
        ({}, {"commit": "b" * 40}, []),
    ],
)  # fmt: skip
def test_a_node_whose_stamp_says_something_else_than_the_heads(here, there, found):
    assert cluster.differences(here, there) == found
