"""The steps of a plan: only what has work to do, in order, and nothing that disturbs people at work."""

import json

import jsonschema
import pytest

from tests.unit.decide.machines import DOCKER_26, ROOT, loaded, machine, plan, recorded, settle
from verl_provision.plan.fleet import plan_fleet
from verl_provision.plan.keys import step_key
from verl_provision.plan.steps import training_container

BARE = {"docker": False, "sudo": True}
OTHER = [{"id": "ffffffffffff", "name": "somebodys", "image": "busybox"}]
PROCESS = [{"pid": 1, "gpu_uuid": "GPU-0", "memory_mb": 10}]


def without_toolkit(**docker):
    """A machine with Docker on which the toolkit was never installed."""
    facts = machine(toolkit={"installed": False, "version": None})
    facts["engines"]["docker"] |= {"gpus_flag": False, "runtimes": ["runc"], **docker}
    return facts


def schema():
    return json.loads((ROOT / "catalog" / "schema" / "plan.json").read_text())


def validate(planned):
    alone = {"$defs": schema()["$defs"], "$ref": "#/$defs/host_alone"}
    jsonschema.Draft202012Validator(alone).validate(planned)


MACHINES = {
    "no GPU": (machine(None), ["source_environment"]),
    "bare": (
        machine(**BARE),
        [
            "docker_engine",
            "nvidia_container_toolkit",
            "disruption",
            "container_image",
            "verl_checkout",
            "training_container",
        ],
    ),
    "Docker without toolkit": (
        without_toolkit(),
        ["nvidia_container_toolkit", "disruption", "container_image", "verl_checkout", "training_container"],
    ),
    "ready": (machine(), ["container_image", "verl_checkout", "training_container"]),
    "source": (machine(docker=False, sudo=False), ["source_environment"]),
}


@pytest.mark.parametrize("name", MACHINES)
def test_steps_in_order_then_none(name):
    facts, steps = MACHINES[name]
    first = plan(facts)
    validate(first)
    assert list(first["steps"]) == [*steps, "verl_shell"]
    assert first["verification"]["needed"]
    again = plan(settle(facts, first))
    validate(again)
    assert again["steps"] == {}
    assert not again["verification"]["needed"], again["verification"]["reason"]
    assert again["verification"]["passed_at"] == "2026-11-24T10:00:00Z"
    assert again["deferred"] == []


@pytest.mark.parametrize("name", MACHINES)
def test_a_step_needs_only_earlier_ones(name):
    facts, _ = MACHINES[name]
    seen = []
    for step, detail in plan(facts)["steps"].items():
        assert set(detail["needs"]) <= set(seen)
        seen.append(step)


def test_a_cpu_host_asks_for_no_root():
    step = plan(machine(None, docker=False, sudo=False))["steps"]["source_environment"]
    assert "become" not in step["args"]
    assert step["args"]["profile"] == "cpu"
    assert step["args"]["torch_index"].endswith("/cpu")
    assert "tensordict==0.10.0" in step["args"]["constraints"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"source_environment": {"python_ok": False}}, "does not work"),
        ({"source_environment": {"verl_version": "0.8.0"}}, "has verl 0.8.0"),
        ({"source_environment": {"building": True}}, "another run"),
        ({"stamps": {"source_environment": {"key": "0"}}}, "other settings"),
        ({"source_environment": None}, "there is no environment"),
    ],
)
def test_a_source_environment_is_repaired(change, reason):
    facts = machine(None)
    done = settle(facts, plan(facts))
    for section, values in change.items():
        done[section] = {**done[section], **values} if values else values
    assert reason in plan(done)["steps"]["source_environment"]["reason"]


def test_another_python_of_the_host_does_not_rebuild():
    facts = machine(None)
    done = settle(facts, plan(facts))
    done["pythons"].insert(0, {"version": "3.12.9", "executable": "/opt/python3.12", "venv": True})
    assert plan(done)["steps"] == {}


# ---- the ladder


def test_idle_host_gets_the_seeds_exact_flags():
    planned = plan(without_toolkit())
    assert planned["steps"]["disruption"]["args"]["action"] == "restart"
    assert planned["steps"]["disruption"]["args"]["allowed"] is False, "the role looks again before it acts"
    assert planned["steps"]["training_container"]["args"]["gpu_request"] == "gpus_all"


def test_an_image_whose_entrypoint_is_a_server_is_created_without_it():
    assert plan(without_toolkit())["steps"]["training_container"]["args"]["extra_args"] == []
    own = {"training_container": {"training_container_extra_args": ["--init"]}}
    planned = plan(without_toolkit(), own, image="verlai/verl:vllm011.latest")
    assert planned["steps"]["training_container"]["args"]["extra_args"] == ["--entrypoint=", "--init"]


@pytest.mark.parametrize("busy", [{"running": OTHER}, {"processes": PROCESS}])
def test_busy_host_is_reloaded_and_asks_by_runtime(busy):
    facts = without_toolkit(**({"running": OTHER} if "running" in busy else {}))
    facts["nvidia"]["processes"] = busy.get("processes", [])
    planned = plan(facts)
    assert planned["steps"]["disruption"]["args"]["action"] == "reload"
    assert planned["steps"]["training_container"]["args"]["gpu_request"] == "runtime_env"
    assert planned["deferred"] == []


def test_both_ways_to_ask_for_gpus_have_one_key():
    busy, idle = plan(without_toolkit(running=OTHER)), plan(without_toolkit())
    assert busy["steps"]["training_container"]["key"] == idle["steps"]["training_container"]["key"]
    facts = settle(without_toolkit(running=OTHER), busy)
    facts["engines"]["docker"]["running"] = []
    step = plan(facts)["steps"]["training_container"]  # the same one again, after the restart that --gpus waited for
    assert (step["key"], step["disruption"]) == (idle["steps"]["training_container"]["key"], "none")


def test_disruption_allowed_restarts_a_busy_host():
    planned = plan(without_toolkit(running=OTHER), allow_disruption=True)
    assert planned["steps"]["disruption"]["args"]["action"] == "restart"


def test_a_fresh_engine_may_be_restarted_though_gpus_are_busy():
    planned = plan(machine(**BARE, nvidia={"processes": PROCESS}))
    assert planned["steps"]["disruption"]["args"]["action"] == "restart"
    assert planned["steps"]["training_container"]["args"]["gpu_request"] == "gpus_all"


@pytest.mark.parametrize(
    ("docker", "daemon", "action", "deferred"),
    [
        ({}, {"log-driver": "local"}, "restart", False),
        ({"running": OTHER}, {"log-driver": "local"}, "live_restore_restart", False),
        ({"running": OTHER, "swarm": True}, {"log-driver": "local"}, None, True),
        ({"running": OTHER}, {"data-root": "/data"}, None, True),
        ({}, {"data-root": "/data"}, "restart", False),
        ({"running": OTHER}, {"live-restore": True}, "reload", False),
        ({}, {"live-restore": True}, "reload", False),
        ({"running": OTHER}, {"features": {"cdi": True}}, "live_restore_restart", False),
        ({"running": OTHER, "version": "28.2.0"}, {"features": {"cdi": True}}, "reload", False),
    ],
)
def test_settings_of_daemon_json(docker, daemon, action, deferred):
    facts = machine()
    facts["engines"]["docker"] |= {"version": "26.1.5", **docker}
    planned = plan(facts, settings={"docker_engine": {"docker_engine_manage_daemon_json": daemon}})
    assert "docker_engine" in planned["steps"]
    assert (planned["steps"].get("disruption") or {"args": {"action": None}})["args"]["action"] == action
    assert bool(planned["deferred"]) == deferred
    facts["engines"]["docker"]["daemon_json"] = {"path": "/etc/docker/daemon.json", "parsed": daemon, "error": None}
    facts["stamps"] = {"docker_engine": {"key": planned["steps"]["docker_engine"]["key"]}}
    again = plan(facts, settings={"docker_engine": {"docker_engine_manage_daemon_json": daemon}})
    assert not {"docker_engine", "disruption"} & set(again["steps"])


def written(daemon, **docker):
    """A host on whose daemon.json the settings are; its dockerd began at 1000."""
    facts = machine()
    parsed = {"path": "/etc/docker/daemon.json", "parsed": daemon, "error": None, "newer_than_engine": True}
    facts["engines"]["docker"] |= {"version": "26.1.5", "started_at": 1000.0, "daemon_json": parsed, **docker}
    return facts


def test_a_restart_that_was_deferred_is_made_up_for_on_an_idle_host():
    settings = {"docker_engine": {"docker_engine_manage_daemon_json": {"data-root": "/data"}}}
    facts = written({}, running=OTHER)
    busy = plan(facts, settings=settings)
    assert busy["deferred"][0]["action"] == "restart"
    facts = written({"data-root": "/data"})
    stamp = {"key": busy["steps"]["docker_engine"]["key"], "waiting": ["data-root"], "engine_started": 1000.0}
    facts["stamps"] = {"docker_engine": stamp}
    assert list(plan(facts, settings=settings)["steps"])[:1] == ["disruption"]
    facts["engines"]["docker"]["running"] = OTHER["running"] if isinstance(OTHER, dict) else OTHER
    still = plan(facts, settings=settings)
    assert "disruption" not in still["steps"]
    assert still["deferred"][0]["action"] == "restart"
    facts["engines"]["docker"] |= {"running": [], "started_at": 2000.0}  # somebody restarted it
    assert "disruption" not in plan(facts, settings=settings)["steps"]


@pytest.mark.parametrize(("daemon", "action"), [({"log-driver": "local"}, "restart"), ({"labels": ["a=b"]}, None)])
def test_a_run_that_was_killed_after_it_wrote_is_made_up_for(daemon, action):
    planned = plan(written(daemon), settings={"docker_engine": {"docker_engine_manage_daemon_json": daemon}})
    assert "took effect" in planned["steps"]["docker_engine"]["reason"]
    assert planned["steps"].get("disruption", {"args": {"action": None}})["args"]["action"] == action


def test_a_daemon_json_that_cannot_be_read_is_refused():
    facts = without_toolkit(daemon_json={"path": "/etc/docker/daemon.json", "parsed": None, "error": "line 3: ..."})
    planned = plan(facts)
    assert not planned["ok"]
    assert planned["steps"] == {}
    assert planned["errors"][0]["rule"] == "daemon_json"
    assert "line 3" in planned["errors"][0]["found"]


def test_a_daemon_json_that_nobody_has_to_change_is_left_alone():
    facts = machine()
    facts["engines"]["docker"]["daemon_json"] = {"path": "/etc/docker/daemon.json", "parsed": None, "error": "line 3"}
    assert plan(facts)["ok"]


def old_toolkit(**docker):
    facts = machine(toolkit={"version": "1.17.4"})
    facts["engines"]["docker"] |= docker
    return facts


def test_an_old_toolkit_is_lifted_over_the_security_floor():
    step = plan(old_toolkit())["steps"]["nvidia_container_toolkit"]
    assert "1.17.4 is older than 1.17.8" in step["reason"]
    assert step["args"]["version"] == "1.20.0"


def test_but_not_under_running_containers():
    planned = plan(old_toolkit(running=OTHER))
    assert "nvidia_container_toolkit" not in planned["steps"]
    assert planned["deferred"][0]["step"] == "nvidia_container_toolkit"
    assert "somebodys" in planned["deferred"][0]["because"]
    assert "nvidia_container_toolkit" in plan(old_toolkit(running=OTHER), allow_disruption=True)["steps"]


def test_and_under_them_where_no_hook_holds_their_gpus():
    planned = plan(old_toolkit(running=OTHER, cgroup_driver="cgroupfs"))
    assert "nvidia_container_toolkit" in planned["steps"]


def test_a_newer_toolkit_is_left_alone():
    assert "nvidia_container_toolkit" not in plan(machine(toolkit={"version": "1.19.1"}))["steps"]


# ---- our container


def running(*processes):
    facts = machine()
    done = settle(facts, plan(facts))
    done["container"]["processes"] = list(processes)
    return done


def test_our_container_is_recreated_only_while_nothing_runs_in_it():
    settings = {"training_container": {"training_container_shm_size": "64g"}}
    idle = plan(running(), settings=settings)
    assert idle["steps"]["training_container"]["disruption"] == "recreate"
    assert idle["steps"]["training_container"]["args"]["shm_size"] == "64g"
    busy = plan(running("python3 train.py"), settings=settings)
    assert busy["ok"]
    assert "training_container" not in busy["steps"]
    assert busy["deferred"][0]["step"] == "training_container"
    assert "python3 train.py" in busy["deferred"][0]["because"]
    assert "training_container" in plan(running("python3"), settings=settings, allow_disruption=True)["steps"]


def test_our_idle_container_is_started_again_after_a_restart_of_docker():
    facts = running()
    settings = {"docker_engine": {"docker_engine_manage_daemon_json": {"log-driver": "local"}}}
    steps = plan(facts, settings=settings)["steps"]
    assert steps["disruption"]["args"]["action"] == "restart"
    assert steps["training_container"]["disruption"] == "none"
    assert "ends with the restart of Docker" in steps["training_container"]["reason"]
    mirrors = {"docker_engine": {"docker_engine_manage_daemon_json": {"registry-mirrors": ["https://m.example"]}}}
    assert "training_container" not in plan(facts, settings=mirrors)["steps"]


def test_code_is_not_moved_under_a_running_job():
    planned = plan(running("python3 train.py"), version="0.8.0")
    assert planned["ok"]
    assert list(planned["steps"]) == ["container_image"]
    assert [item["step"] for item in planned["deferred"]] == ["verl_checkout", "training_container"]
    assert not planned["verification"]["needed"]
    assert "verified at 2026-11-24T10:00:00Z; the deferred change" in planned["verification"]["reason"]
    moved = plan(running("python3 train.py"), version="0.8.0", allow_disruption=True)
    assert {"verl_checkout", "training_container"} <= set(moved["steps"])


def test_a_source_environment_in_use_is_not_rebuilt():
    facts = machine(docker=False, sudo=False)
    done = settle(facts, plan(facts))
    done["nvidia"]["processes"] = PROCESS
    planned = plan(done, version="0.9.0")
    assert planned["steps"] == {}
    assert planned["deferred"][0]["step"] == "source_environment"
    allowed = plan(done, version="0.9.0", allow_disruption=True)["steps"]["source_environment"]
    assert allowed["disruption"] == "code_in_use"


def test_a_stopped_container_is_started():
    facts = running()
    facts["container"]["running"] = False
    assert "is not running" in plan(facts)["steps"]["training_container"]["reason"]


def test_another_release_moves_checkout_image_and_container():
    planned = plan(running(), version="0.8.0")
    assert list(planned["steps"]) == ["container_image", "verl_checkout", "training_container"]
    assert planned["steps"]["verl_checkout"]["args"]["version"] == "v0.8.0"


def test_a_dirty_checkout_is_not_moved():
    facts = running()
    facts["verl_checkout"]["dirty"] = True
    planned = plan(facts, version="0.8.0")
    assert "verl_checkout" not in planned["steps"]
    assert "not committed" in planned["deferred"][0]["because"]
    assert "stash" in planned["deferred"][0]["fix"]


def test_a_asked_commit():
    planned = plan(running(), commit="abcdef1")
    assert planned["steps"]["verl_checkout"]["args"]["version"] == "abcdef1"


def test_mirrors():
    planned = plan(machine(), mirror_registry="mirror.example.org/hub", mirror_git="https://git.example.org/verl")
    assert planned["image"]["pull_ref"] == "mirror.example.org/hub/verlai/verl:vllm024.latest"
    assert planned["steps"]["container_image"]["args"]["pull_ref"] == planned["image"]["pull_ref"]
    assert planned["steps"]["verl_checkout"]["args"]["repo"] == "https://git.example.org/verl"
    cpu = plan(machine(None), mirror_torch="https://t.example.org/whl/", mirror_pypi="https://p.example.org/simple")
    args = cpu["steps"]["source_environment"]["args"]
    assert (args["torch_index"], args["pypi_index"]) == (
        "https://t.example.org/whl/cpu",
        "https://p.example.org/simple",
    )


# ---- verification


@pytest.mark.parametrize(
    ("change", "asked", "reason"),
    [
        ({}, {"verify_again": True}, "verl_verify_again"),
        ({"verification": None}, {}, "never verified"),
        ({"verification": {"level": "import"}}, {}, "at level import only"),
        ({"nvidia": {"driver_version": "580.99.01"}}, {}, "the driver, the GPUs"),
        ({"verification": {"container_id": "000000000000"}}, {}, "another one"),
    ],
)
def test_when_it_is_verified_again(change, asked, reason):
    facts = running()
    for section, values in change.items():
        facts[section] = {**facts[section], **values} if values else values
    planned = plan(facts, **asked)
    assert planned["steps"] == {}
    assert planned["verification"]["needed"]
    assert reason in planned["verification"]["reason"]


def test_a_lower_level_is_proved_by_a_higher_one():
    assert not plan(running(), verify_level="devices")["verification"]["needed"]


# ---- backends


def test_docker_by_sudo_only():
    facts = machine()
    facts["engines"]["docker"] |= {"reachable": False, "with_sudo": True, "reason": "permission denied"}
    planned = plan(facts)
    assert planned["backend"] == "docker"
    assert planned["steps"]["container_image"]["args"]["become"] is True
    assert planned["verification"]["become"] is True


def test_docker_group_without_sudo():
    facts = machine(sudo=False)
    planned = plan(facts)
    assert planned["backend"] == "docker"
    assert planned["steps"]["training_container"]["args"]["become"] is False


def test_docker_that_may_not_be_used_is_passed_over():
    facts = machine(sudo=False)
    facts["engines"]["docker"] |= {"reachable": False, "with_sudo": False, "reason": "permission denied on the socket"}
    planned = plan(facts)
    assert planned["backend"] == "source"
    assert any("permission denied on the socket" in sentence for sentence in planned["why"])
    facts["user"]["sudo"] = "password"
    assert any("asks for a password" in sentence for sentence in plan(facts)["why"])


def test_rootless_docker_needs_the_runtime_or_cdi():
    facts = machine(sudo=False, toolkit={"installed": False, "version": None})
    facts["engines"]["docker"] |= {"rootless": True, "runtimes": ["runc"]}
    planned = plan(facts)
    assert planned["backend"] == "source"
    assert any("rootless Docker has neither" in sentence for sentence in planned["why"])
    facts["engines"]["docker"] |= {"cdi": True, "cdi_devices": ["nvidia.com/gpu=all"]}
    facts["toolkit"] = {"installed": True, "version": "1.20.0", "mode": "auto", "cdi_specs": ["/etc/cdi/nvidia.yaml"]}
    planned = plan(facts)
    assert planned["backend"] == "docker"
    assert planned["steps"]["training_container"]["args"]["gpu_request"] == "cdi"


def test_podman_then_apptainer():
    facts = machine(docker=False, sudo=False)
    facts["engines"]["apptainer"] = {"installed": True, "version": "1.4.0"}
    assert plan(facts)["backend"] == "apptainer"
    facts["engines"]["podman"] = {"installed": True, "version": "5.4.0", "rootless": True, "subids": True}
    assert plan(facts)["backend"] == "apptainer"
    facts["toolkit"]["cdi_specs"] = ["/etc/cdi/nvidia.yaml"]
    planned = plan(facts)
    assert planned["backend"] == "podman"
    assert planned["steps"]["training_container"]["args"]["gpu_request"] == "cdi"
    assert plan(settle(facts, planned))["steps"] == {}


@pytest.mark.parametrize(("backend", "rule"), [("docker", "rights"), ("podman", "backend"), ("apptainer", "backend")])
def test_a_asked_backend_that_cannot_be_had(backend, rule):
    planned = plan(machine(docker=False, sudo=False), backend=backend)
    assert not planned["ok"]
    assert [error["rule"] for error in planned["errors"]] == [rule]


def test_toolkit_missing_and_no_rights():
    facts = without_toolkit()
    facts["user"]["sudo"] = "none"
    planned = plan(facts)
    assert planned["backend"] == "source"
    assert any("nvidia-ctk runtime configure" in row["fix"] for row in planned["rejected"])


def test_a_container_on_a_host_without_gpu_where_it_is_asked_for():
    planned = plan(machine(None), backend="docker")
    assert (planned["backend"], planned["profile"]) == ("docker", "cpu")
    assert planned["steps"]["training_container"]["args"]["gpu_request"] == "none"
    assert planned["verification"]["level"] == "import"
    assert plan(settle(machine(None), planned), backend="docker")["steps"] == {}


# ---- the recorded hosts

RECORDED = {
    "no_gpu": (True, None),
    "h100x8_550": (True, None),
    "h100x8_580": (True, None),
    "r610": (True, None),
    "rootless_docker": (True, None),
    "docker_refused": (True, None),
    "sudo_password": (True, None),
    "driver_not_loaded": (False, "driver_state"),
    "mismatch": (False, "driver_state"),
    "nouveau": (False, "driver_state"),
    "smi_hang": (False, "driver_state"),
    "mi300x": (False, "vendor_apply"),
    "ascend_910b": (False, "vendor_apply"),
    "gb10_na_memory": (True, None),
}


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_hosts(name):
    ok, rule = RECORDED[name]
    planned = plan(recorded(name))
    validate(planned)
    assert planned["ok"] == ok, planned["errors"]
    if rule:
        assert rule in [error["rule"] for error in planned["errors"]]
        assert all(error["found"] and error["needed"] and error["fix"] for error in planned["errors"])


def test_recorded_mixed_host():
    planned = plan(recorded("mixed_gpus"))
    validate(planned)
    assert "mixed_gpus" in [warning["rule"] for warning in planned["warnings"]]


# ---- the fleet


def test_a_fleet_stores_reasons_once():
    hosts = {f"gpu-{number}": {"facts": machine(), "request": {}} for number in range(5)}
    hosts["cpu"] = {"facts": machine(None), "request": {}}
    hosts["wrong"] = {"facts": None, "errors": [{"variable": "verl_x", "found": "1", "needed": "y", "fix": "z"}]}
    hosts["silent"] = {"facts": None, "request": {}}
    fleet = plan_fleet(hosts, loaded())
    jsonschema.Draft202012Validator(schema()).validate(fleet)
    assert {fleet["hosts"][f"gpu-{number}"]["decision"] for number in range(5)} == {fleet["hosts"]["gpu-0"]["decision"]}
    assert "rejected" not in fleet["hosts"]["gpu-0"]
    assert fleet["step_hosts"]["container_image"] == [f"gpu-{number}" for number in range(5)]
    assert fleet["step_hosts"]["source_environment"] == ["cpu"]
    assert fleet["hosts"]["wrong"]["errors"][0]["variable"] == "verl_x"
    assert fleet["hosts"]["silent"]["errors"][0]["rule"] == "facts"


def test_a_fleet_plans_each_host_as_it_would_be_alone():
    hosts = {
        f"{gpu}-{driver}": {"facts": machine(gpu, driver), "request": {}}
        for gpu in ("H100", "RTX 4090", "V100")
        for driver in ("535.261.03", "550.163.01", "580.95.05")
    }
    fleet = plan_fleet(hosts, loaded())
    for name, host in fleet["hosts"].items():
        alone = plan(hosts[name]["facts"])
        told = fleet["decisions"][host["decision"]]
        assert {**host, **told} == alone


def test_disk_is_told_exactly_though_decisions_are_shared():
    roomy = machine(disk={"engine_root": {"path": "/var/lib/docker", "free_gb": 900.0}})
    tight = [machine(disk={"engine_root": {"path": "/var/lib/docker", "free_gb": free}}) for free in (3.5, 4.5)]
    fleet = plan_fleet({str(number): {"facts": facts} for number, facts in enumerate([roomy, *tight])}, loaded())
    assert fleet["hosts"]["0"]["ok"]
    assert "3.5 GB free" in fleet["hosts"]["1"]["errors"][0]["found"]
    assert "4.5 GB free" in fleet["hosts"]["2"]["errors"][0]["found"]


def test_docker_26_constant_is_what_the_module_says():
    assert set(DOCKER_26) <= set(recorded("h100x8_580")["engines"]["docker"])


# ---- verl-shell


def test_verl_shell_is_written_where_it_is_missing_or_for_another_environment():
    facts = machine()
    first = plan(facts)
    assert first["shell"] == "/home/user/.local/bin/verl-shell"
    assert first["steps"]["verl_shell"]["args"]["backend"] == "docker"
    done = settle(facts, first)
    del done["verl_shell"]
    again = plan(done)
    assert list(again["steps"]) == ["verl_shell"]
    assert "is not there" in again["steps"]["verl_shell"]["reason"]
    assert not again["verification"]["needed"]
    other = plan(settle(facts, first), container_name="other")
    assert "is for another environment" in other["steps"]["verl_shell"]["reason"]


def test_verl_shell_in_another_place_is_known_by_its_stamp():
    settings = {"verl_shell": {"verl_shell_path": "~/bin/verl-shell"}}
    facts = machine()
    done = settle(facts, plan(facts, settings))
    del done["verl_shell"]
    assert plan(done, settings)["steps"] == {}
    assert plan(done, settings)["shell"] == "~/bin/verl-shell"


def test_verl_shell_asks_sudo_where_docker_is_only_had_through_it():
    facts = machine(docker={"reachable": False, "with_sudo": True})
    assert plan(facts)["steps"]["verl_shell"]["args"]["become"] is True


def test_a_refused_host_has_no_shell():
    assert plan(machine(), version="99")["shell"] is None


# ---- verl from a checkout, and by its script


@pytest.mark.parametrize(
    ("asked", "method"),
    [
        ({}, "pypi"),
        ({"source_method": "git"}, "git"),
        ({"commit": "abcdef1"}, "git"),
        ({"commit": "abcdef1", "source_method": "pypi"}, "pypi"),
        ({"version": "0.6.1", "source_method": "script"}, "script"),
        ({"version": "0.9.0", "source_method": "script"}, "git"),
    ],
)
def test_how_a_source_environment_gets_verl(asked, method):
    facts = machine(None)
    planned = plan(facts, **asked)
    validate(planned)
    assert planned["steps"]["source_environment"]["args"]["method"] == method
    checkout = planned["steps"].get("verl_checkout")
    assert (checkout is not None) == (method != "pypi")
    if checkout:
        assert planned["steps"]["source_environment"]["needs"] == ["verl_checkout"]
        assert planned["steps"]["source_environment"]["args"]["checkout"] == checkout["args"]["path"]
        assert checkout["args"]["version"] == asked.get("commit", f"v{planned['verl_version']}")
    again = plan(settle(facts, planned), **asked)
    assert again["steps"] == {}
    assert not again["verification"]["needed"]


def test_a_script_known_to_be_broken_is_not_run_and_why_is_said():
    planned = plan(machine(None), version="0.9.0", source_method="script")
    warning = next(item for item in planned["warnings"] if item["rule"] == "source_script")
    assert "SGLang 0.5.2" in warning["message"]
    assert "exclude each other" in warning["message"]
    assert "USE_SGLANG=0 USE_MEGATRON=0" in warning["fix"]


def test_the_script_brings_its_own_engine():
    facts = machine(docker=False, sudo=False)
    args = plan(facts, version="0.6.1", source_method="script")["steps"]["source_environment"]["args"]
    assert not [name for name in args["extra_packages"] if name.startswith("vllm")]


def test_another_commit_is_checked_out_and_installed():
    facts = machine(None)
    done = settle(facts, plan(facts, commit="abcdef1"))
    assert list(plan(done, commit="fedcba9")["steps"]) == ["verl_checkout", "source_environment"]
    assert plan(facts, commit="abcdef1")["expected"]["verl_version"] is None


@pytest.mark.parametrize(
    ("there", "asked", "manager", "fetched"),
    [
        ({}, "auto", "uv", "uv"),
        ({"conda": {"path": "/opt/conda/bin/conda", "version": "24.1"}}, "auto", "conda", None),
        ({}, "micromamba", "micromamba", "micromamba"),
        ({"uv": {"path": "/usr/bin/uv", "version": "0.9"}}, "uv", "uv", None),
    ],
)
def test_a_host_without_a_fitting_python_gets_one(there, asked, manager, fetched):
    newer = {"version": "3.13.5", "executable": "/usr/bin/python3.13", "venv": True}
    facts = machine(None, pythons=[newer], python=newer, managers=there)
    planned = plan(facts, version="0.9.1", source_manager=asked)
    validate(planned)
    args = planned["steps"]["source_environment"]["args"]
    assert (args["python"], args["manager"], args["python_version"]) == ("", manager, "3.12")
    assert args["manager_download"].get("name") == fetched
    assert len(args["manager_download"].get("sha256", "0" * 64)) == 64
    reason = planned["steps"]["source_environment"]["reason"]
    assert ("fetched into /home/user/verl, brings Python 3.12" in reason) == bool(fetched)
    assert ("no Python of the host fits" in reason) == (asked == "auto")


def test_who_made_the_environment_is_no_reason_to_make_another():
    facts = machine(None)
    done = settle(facts, plan(facts))
    assert plan(done, source_manager="uv")["steps"] == {}


# ---- Podman and Apptainer


def apptainer_machine():
    facts = machine(docker=False, sudo=False)
    facts["engines"]["apptainer"] = {"installed": True, "version": "1.4.0"}
    return facts


def test_apptainer_has_an_image_file_a_checkout_and_no_container():
    facts = apptainer_machine()
    planned = plan(facts)
    validate(planned)
    assert planned["backend"] == "apptainer"
    assert list(planned["steps"]) == ["container_image", "verl_checkout", "verl_shell"]
    image, shell = planned["steps"]["container_image"]["args"], planned["steps"]["verl_shell"]["args"]
    assert image["file"] == shell["image"] == f"/home/user/verl/images/{planned['image']['id']}.sif"
    assert image["pull_ref"].startswith("docker.io/")
    assert shell["binds"] == ["/home/user/verl/src:/workspace/verl"]
    assert (shell["gpu"], image["become"], shell["become"]) == (True, False, False)
    said = " ".join(planned["why"])
    assert "skipped docker: Docker is not installed" in said
    assert "skipped podman: Podman: it is not installed" in said
    assert "root" not in said


def test_a_missing_image_file_is_pulled_again():
    facts = apptainer_machine()
    done = settle(facts, plan(facts))
    assert plan(done)["steps"] == {}
    done["sif_images"] = []
    assert list(plan(done)["steps"]) == ["container_image"]
    assert plan(settle(facts, plan(facts)), version="0.8.0")["verification"]["needed"]


def test_podman_is_given_names_with_their_registry_and_asks_by_cdi():
    facts = machine(docker=False, sudo=False)
    facts["engines"]["podman"] = {
        "installed": True,
        "version": "5.4.0",
        "rootless": True,
        "subids": True,
        "running": [],
    }
    facts["toolkit"]["cdi_specs"] = ["/etc/cdi/nvidia.yaml"]
    planned = plan(facts)
    validate(planned)
    assert planned["backend"] == "podman"
    steps = planned["steps"]
    assert list(steps) == ["container_image", "verl_checkout", "training_container", "verl_shell"]
    assert steps["container_image"]["args"]["pull_ref"].startswith("docker.io/verlai/verl:")
    args = steps["training_container"]["args"]
    assert (args["engine"], args["gpu_request"], args["become"]) == ("podman", "cdi", False)
    assert steps["verl_shell"]["args"]["backend"] == "podman"
    assert plan(settle(facts, planned))["steps"] == {}


@pytest.mark.parametrize(
    ("size", "mebibytes"), [("10g", 10240), ("10GB", 10240), ("512m", 512), (1073741824, 1024), ("plenty", None)]
)
def test_sizes_are_read_as_engines_do(size, mebibytes):
    assert training_container.mebibytes(size) == mebibytes


def test_another_engines_image_and_container_do_not_count():
    facts = machine(engines={"podman": {"installed": True, "version": "5.4.2", "rootless": True, "subids": True}})
    settled = settle(facts, plan(facts, backend="podman"))
    assert plan(settled, backend="podman")["steps"] == {}
    assert {"container_image", "training_container"} <= set(plan(settled, backend="docker")["steps"])


PIN = "sha256:" + "3" * 64


@pytest.mark.parametrize("name", ["vllm024", "verlai/verl:vllm024.latest", "docker.io/verlai/verl:vllm024.latest"])
def test_a_digest_that_verl_image_gives_is_what_is_planned(name):
    planned = plan(machine(), image=f"{name}@{PIN}", driver_policy="minor")
    validate(planned)
    assert planned["ok"], planned["errors"]
    assert planned["image"]["digest"] == planned["steps"]["container_image"]["args"]["digest"] == PIN
    assert planned["steps"]["training_container"]["args"]["image"] == f"verlai/verl:vllm024.latest@{PIN}"
    without = plan(machine(), image=name, driver_policy="minor")
    assert planned["verification"]["key"] != without["verification"]["key"], "a pass holds for the image that passed"


def test_another_digest_of_the_same_tag_on_the_host_is_not_what_was_asked_for():
    local = {"refs": ["verlai/verl:vllm024.latest"], "digests": [f"verlai/verl@sha256:{'4' * 64}"]}
    facts = machine(images=[{"engine": "docker", "id": "i", "size_mb": 1, **local}])
    assert "container_image" in plan(facts, image=f"vllm024@{PIN}", driver_policy="minor")["steps"]


def test_a_release_tag_comes_with_its_commit_and_the_step_keeps_its_key():
    release = next(one for one in loaded()["releases"] if one["version"] == "0.9.0")
    step = plan(machine(), version="0.9.0")["steps"]["verl_checkout"]
    assert step["args"]["commit"] == release["git_commit"]
    args = {name: value for name, value in step["args"].items() if name != "commit"}
    assert step["key"] == step_key("verl_checkout", args), "hosts of 0.1.0 stay as they are"
    assert "commit" not in plan(machine(), version="0.9.0", commit="a" * 40)["steps"]["verl_checkout"]["args"]


def test_a_checkout_of_a_mirrors_own_release_is_not_the_release():
    facts = machine()
    planned = plan(facts, version="0.9.0")
    commit = planned["steps"]["verl_checkout"]["args"]["commit"]
    for found, wanted in (({"tag": "v0.9.0", "commit": commit}, False), ({"tag": "v0.9.0", "commit": "f" * 40}, True)):
        settled = settle(facts, planned)
        settled["verl_checkout"] = {**(settled["verl_checkout"] or {}), **found, "dirty": False}
        steps = plan(settled, version="0.9.0")["steps"]
        assert ("verl_checkout" in steps) is wanted
    assert commit[:12] in steps["verl_checkout"]["reason"] and "f" * 12 in steps["verl_checkout"]["reason"]


def test_a_mirrors_tag_whose_commit_nobody_knows_is_checked_by_its_code():
    release = next(one for one in loaded()["releases"] if one["version"] == "0.9.1")
    mirror = {"version": "0.9.1", "mirror_git": "https://git.example/verl.git"}
    planned = plan(machine(), **mirror)
    step = planned["steps"]["verl_checkout"]
    assert step["args"]["code_sha256"] == release["code_sha256"]
    assert "code_sha256" not in plan(machine(), version="0.9.1")["steps"]["verl_checkout"]["args"]
    settled = settle(machine(), planned)
    settled["verl_checkout"] = {"commit": "f" * 40, "tag": "v0.9.1", "dirty": False}
    assert plan(settled, **mirror)["steps"] == {}, "hosts of 0.1.0 stay as they are"


def test_a_checkout_with_files_of_root_is_refused_before_it_is_moved_and_left_alone_otherwise():
    planned = plan(machine(), version="0.9.0")
    settled = settle(machine(), planned)
    settled["verl_checkout"] = {**(settled["verl_checkout"] or {}), "dirty": False}
    settled["verl_checkout"]["stuck"] = {"count": 3, "path": ".git/index"}
    assert plan(settled, version="0.9.0")["ok"]
    moved = plan(settled, version="0.8.0")
    assert not moved["ok"]
    (error,) = [one for one in moved["errors"] if one["rule"] == "checkout_owner"]
    assert "3 files" in error["found"] and ".git/index" in error["found"] and "sudo chown -R " in error["fix"]


def test_a_mirrors_tag_that_nobody_can_check_is_said():
    said = plan(
        machine(), version="0.9.1", image="vllm024", image_force=True, mirror_git="https://git.example/verl.git"
    )
    assert [item["rule"] for item in said["warnings"] if "verl_commit" in item["fix"]] == ["release_commit"]
    known = plan(machine(), version="0.9.0", mirror_git="https://git.example/verl.git")
    assert "release_commit" not in [item["rule"] for item in known["warnings"]]
