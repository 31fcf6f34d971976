"""Our own container never loses its GPUs at a daemon-reload without a word: CDI, a newer toolkit, or a warning."""

import pytest

from tests.unit.decide.machines import machine, plan, settle

FILE = "/etc/cdi/nvidia.yaml"
OTHER = [{"id": "ffffffffffff", "name": "somebodys", "image": "busybox"}]
OURS = {
    "engine": "docker", "name": "verl", "id": "1234567890ab", "running": True, "processes": [], "labels": {},
    "spec": {"runtime": "nvidia", "device_requests": []},
}  # fmt: skip


def old_toolkit(version="1.17.8", mode="auto", specs=(), family="debian", sudo=True, **docker):
    """A machine whose toolkit is above the security floor and still uses the legacy hook."""
    toolkit = {
        "version": version, "mode": mode,
        "cdi_specs": [spec["path"] for spec in specs], "gpu_cdi_specs": list(specs),
    }  # fmt: skip
    facts = machine(toolkit=toolkit, sudo=sudo, os={"family": family})
    facts["engines"]["docker"] |= {"version": "27.5.1", **docker}
    return facts


def spec(driver="580.95.05", every=True):
    return {"path": FILE, "driver": driver, "all": every}


def request(planned):
    return planned["steps"]["training_container"]["args"]["gpu_request"]


def rules(planned):
    return [warning["rule"] for warning in planned["warnings"]]


def test_cdi_where_the_engine_and_a_specification_have_it():
    facts = old_toolkit(specs=[spec()], cdi=True)
    planned = plan(facts)
    assert request(planned) == "cdi"
    assert "nvidia_container_toolkit" not in planned["steps"] and "legacy_hook" not in rules(planned)
    assert plan(settle(facts, planned))["steps"] == {}


@pytest.mark.parametrize(
    ("specs", "docker"),
    [
        ([], {"cdi": True}),
        ([spec()], {"cdi": False}),
        ([spec(driver="570.133.20")], {"cdi": True}),
        ([spec(every=False)], {"cdi": True}),
    ],
)
def test_the_toolkit_is_upgraded_where_cdi_cannot_be_used(specs, docker):
    planned = plan(old_toolkit(specs=specs, **docker))
    step = planned["steps"]["nvidia_container_toolkit"]
    assert "1.17.8" in step["reason"] and "daemon-reload" in step["reason"]
    assert step["disruption"] == "toolkit_upgrade"
    assert request(planned) == "gpus_all"
    assert "legacy_hook" not in rules(planned)


@pytest.mark.parametrize(
    ("change", "fix"),
    [
        ({"running": OTHER}, "nvidia_container_toolkit_version"),
        ({"family": "redhat"}, "dnf"),
        ({"sudo": False}, "administrator"),
        ({"mode": "legacy", "version": "1.20.0"}, "mode=auto"),
    ],
)
def test_a_warning_where_neither_can_be_had(change, fix):
    planned = plan(old_toolkit(**change))
    assert planned["ok"], planned["errors"]
    assert "nvidia_container_toolkit" not in planned["steps"]
    (warning,) = [warning for warning in planned["warnings"] if warning["rule"] == "legacy_hook"]
    assert "daemon-reload" in warning["message"]
    assert fix in warning["fix"]


@pytest.mark.parametrize(
    "change",
    [{"cgroup_driver": "cgroupfs"}, {"rootless": True}, {"version": "1.18.0"}],
)
def test_nothing_where_the_hook_does_no_harm(change):
    facts = old_toolkit(**change)
    facts["toolkit"]["no_cgroups"] = change.get("rootless", False)  # or the hook could give no container a GPU
    planned = plan(facts)
    assert "nvidia_container_toolkit" not in planned["steps"]
    assert "legacy_hook" not in rules(planned)
    assert request(planned) == "gpus_all"


def converged(**change):
    """The same machine with the container that an earlier release of this toolkit left."""
    facts = machine()
    facts["engines"]["docker"] |= {"version": "27.5.1"}
    done = settle(facts, plan(facts))
    done["container"] = OURS
    done["stamps"]["training_container"]["id"] = OURS["id"]
    old = old_toolkit(**change)
    done["toolkit"] = old["toolkit"]
    done["engines"]["docker"] |= {key: old["engines"]["docker"][key] for key in ("cdi", "cgroup_driver")}
    return done


def test_the_container_that_is_there_is_left_alone_and_warned_about():
    planned = plan(converged(specs=[spec()], cdi=True))
    assert planned["steps"] == {}
    (warning,) = [warning for warning in planned["warnings"] if warning["rule"] == "legacy_hook"]
    assert "container verl" in warning["message"] and "daemon-reload" in warning["message"]
    assert "legacy_hook" not in rules(plan(converged(version="1.20.0")))


def test_an_upgrade_starts_the_container_that_is_there_anew():
    own = {"nvidia_container_toolkit": {"nvidia_container_toolkit_version": "1.20.0"}}
    planned = plan(converged(), own)
    assert list(planned["steps"])[:2] == ["nvidia_container_toolkit", "training_container"]
    step = planned["steps"]["training_container"]
    assert step["args"]["restart_running"] is True
    assert "toolkit" in step["reason"] and step["disruption"] == "recreate"
    assert "legacy_hook" not in rules(planned)
    busy = converged()
    busy["container"] = {**OURS, "processes": ["python3"]}
    planned = plan(busy, own)
    assert planned["steps"] == {}
    assert [item["step"] for item in planned["deferred"]] == ["nvidia_container_toolkit"]
    assert "legacy_hook" in rules(planned)


def test_a_container_made_by_cdi_stays_so():
    facts = old_toolkit(specs=[spec()], cdi=True)
    done = settle(facts, plan(facts))
    done["container"] = {**OURS, "spec": {"runtime": None, "device_requests": [{"driver": "cdi"}]}}
    done["toolkit"] |= {"version": "1.20.0"}
    planned = plan(done)
    assert planned["steps"] == {}, "another toolkit is no reason to make another container"
