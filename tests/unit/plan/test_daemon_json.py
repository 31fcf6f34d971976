"""What a change of daemon.json needs, by the catalog's table; the modules' copy says the same."""

import pytest
import yaml

from tests.unit.container.conftest import ROOT  # which puts our module_utils on the path
from verl_provision.catalog import load
from verl_provision.plan import daemon_json

TABLE = load()["daemon_json"]
VERSIONS = ("19.03.15", "20.10.24", "26.1.5", "28.1.1", "28.2.0", "29.4.0", None)


@pytest.mark.parametrize(
    ("found", "wanted", "engine", "action"),
    [
        ({}, {"runtimes": {"nvidia": {"path": "x"}}}, "26.1.5", "reload"),
        ({}, {"default-runtime": "nvidia"}, "20.10.24", "reload"),
        ({}, {"registry-mirrors": ["https://m"]}, "26.1.5", "reload"),
        ({}, {"insecure-registries": ["r:5000"]}, "26.1.5", "reload"),
        ({}, {"live-restore": True}, "26.1.5", "reload"),
        ({}, {"debug": True}, "26.1.5", "reload"),
        ({}, {"exec-opts": ["native.cgroupdriver=cgroupfs"]}, "29.0.0", "restart_idle"),
        ({}, {"features": {"cdi": True}}, "28.1.1", "restart"),
        ({}, {"features": {"cdi": True}}, "28.2.0", "reload"),
        ({}, {"data-root": "/data"}, "29.0.0", "restart_idle"),
        ({}, {"what-is-this": 1}, "29.0.0", "restart_idle"),
        ({"debug": True, "foreign": 1}, {"debug": True}, "26.1.5", "none"),
        ({"registry-mirrors": ["a", "b"]}, {"registry-mirrors": ["b"]}, "26.1.5", "none"),
        ({"runtimes": {"other": {}}}, {"runtimes": {"nvidia": {}}}, "26.1.5", "reload"),
        ({}, {}, None, "none"),
        ({}, {"debug": True, "data-root": "/x"}, "26.1.5", "restart_idle"),
        ({"features": {"buildkit": True}}, {"features": {"cdi": True}}, "26.1.5", "restart"),
        ({}, {"features": {"cdi": True}}, None, "restart"),
        ({}, {"features": {"containerd-snapshotter": True}}, "28.2.0", "restart_idle"),
        ({}, {"log-driver": "local", "debug": True}, "26.1.5", "restart"),
        ({"bip": "10.1.0.1/16"}, {"bip": "10.2.0.1/16", "log-driver": "local"}, "26.1.5", "restart_idle"),
    ],
)
def test_the_heaviest_key_decides(found, wanted, engine, action):
    assert daemon_json.classify(found, wanted, engine, TABLE)["action"] == action


def test_every_line_has_a_source_and_no_key_two_lines_for_one_engine():
    sources = yaml.safe_load((ROOT / "catalog/daemon_json.yml").read_text())["sources"]
    assert {row["source"] for row in TABLE} == set(sources)
    assert len({(row["key"], row["since"]) for row in TABLE}) == len(TABLE)


@pytest.mark.parametrize("engine", VERSIONS)
def test_the_modules_carry_the_same_table(engine):
    from ansible.module_utils.verl_container import daemon_json as carried

    for key in [row["key"] for row in TABLE] + ["features.other", "nobody-listed-this"]:
        assert carried.effect(key, engine) == daemon_json.effect(key, engine, TABLE), key
