"""What a mirror has to hold, and whose engine can be told to use it for every name."""

import pytest

from tests.unit.decide.machines import loaded, machine, plan
from verl_provision.catalog import references
from verl_provision.plan import mirror
from verl_provision.plan.fleet import plan_fleet


def test_each_image_once_and_only_docker_hosts_are_clients():
    machines = {"a": machine(), "b": machine(), "c": machine(driver="550.163.01"), "d": machine(None)}
    fleet = plan_fleet({name: {"facts": facts, "request": {}} for name, facts in machines.items()}, loaded())
    seen = mirror.plan(fleet, machines)
    images = [fleet["hosts"][name]["image"] for name in ("a", "c")]
    assert [image["ref"] for image in seen["images"]] == [image["ref"] for image in images]
    assert [image["digest"] for image in seen["images"]] == [image["digest"] or "" for image in images]
    assert seen["clients"] == ["a", "b", "c"]
    assert set(seen["registries"]) == {"a", "b", "c"}


def test_a_fleet_without_images_has_no_clients():
    assert mirror.plan({"hosts": {"d": plan(machine(None))}}, {})["clients"] == ["all:!all"]


@pytest.mark.parametrize(
    ("version", "driver", "reads"),
    [("26.1.5", "overlay2", False), ("28.0.0", "overlay2", False), ("28.0.0", "overlayfs", True), (None, None, False)],
)
def test_hosts_toml_is_read_by_docker_28_with_the_containerd_store(version, driver, reads):
    facts = machine(engines={"docker": {"version": version, "storage_driver": driver}})
    assert mirror.reads_hosts_toml(facts) is reads
    assert mirror.reads_hosts_toml(None) is False


@pytest.mark.parametrize(
    ("ref", "registry"),
    [
        ("verlai/verl:x", "docker.io"),
        ("nvcr.io/nvidia/x:y", "nvcr.io"),
        ("localhost/x", "localhost"),
        ("x", "docker.io"),
    ],
)
def test_the_registry_of_a_reference(ref, registry):
    assert references.registry(ref) == registry
