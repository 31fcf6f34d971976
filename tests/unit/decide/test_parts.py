"""The small parts: versions, idle, daemon.json, GPUs by name, releases, keys."""

import pytest

from tests.unit.decide.machines import host, known, loaded, machine, merge, plan, request
from verl_provision import versions
from verl_provision.catalog import gpus, model
from verl_provision.plan import keys
from verl_provision.plan.fleet import plan_host
from verl_provision.plan.idle import idle


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("0.9.0", "0.10.0"),
        ("0.8.5", "0.8.5.post1"),
        ("0.8.5.post1", "0.8.6"),
        ("0.14.0rc7", "0.14.0"),
        ("525.60.12", "525.60.13"),
        ("99", "525"),
        ("0.2", "0.2.0.post1"),
        ("0.2.0.post1", "0.2.0.post2"),
        ("12.9", "13.0"),
        ("junk", "0.0.1"),
    ],
)
def test_versions_are_numbers_component_by_component(older, newer):
    assert versions.compare(older, newer) == -1
    assert versions.compare(newer, older) == 1
    assert versions.at_least(newer, older)


@pytest.mark.parametrize(("one", "other"), [("0.2", "0.2.0"), ("v0.9.0", "0.9"), ("2.6.0+cu124", "2.6"), ("x", "y")])
def test_versions_that_are_the_same(one, other):
    assert versions.compare(one, other) == 0


@pytest.mark.parametrize(
    ("version", "specifier", "met"),
    [
        ("3.12.3", ">=3.10,<3.13", True),
        ("3.13.0", ">=3.10,<3.13", False),
        ("0.10.0", ">=0.8.0,<=0.10.0,!=0.9.0", True),
        ("0.9.0", ">=0.8.0,<=0.10.0,!=0.9.0", False),
        ("3.12.3", "==3.12.*", True),
        ("3.11.3", "!=3.12.*", True),
        ("3.1", "==3.12.*", False),
        ("0.5.3", "~=0.5.2", True),
        ("0.6", "~=0.5.2", False),
        ("1", "", True),
        ("1", "about 1", False),
        ("1", ">=*", False),
        ("1", ">=1.*", False),
        ("2", ">1", True),
        ("1", "<1", False),
    ],
)
def test_specifiers(version, specifier, met):
    assert versions.satisfies(version, specifier) is met


@pytest.mark.parametrize(
    ("change", "because"),
    [
        ({"nvidia": {"processes": [{"pid": 1}]}}, "1 compute process on a GPU"),
        ({"nvidia": {"processes": [{"pid": 1}, {"pid": 2}]}}, "2 compute processes"),
        ({"engines": {"docker": {"running": [{"id": "f" * 12, "name": "theirs"}]}}}, "container theirs running"),
        ({"ray": {"running": True, "busy": True}}, "Ray"),
        (
            {"container": {"name": "verl", "id": "a" * 12, "running": True, "processes": ["python3 train.py"]}},
            "python3 train.py",
        ),
    ],
)
def test_busy(change, because):
    quiet, busy = machine(), merge(machine(), change)
    assert idle(host(quiet), request()) == (True, [])
    free, said = idle(host(busy), request())
    assert not free
    assert because in " ".join(said)


@pytest.mark.parametrize(
    "change",
    [
        {"engines": {"docker": {"running": [{"id": "a" * 12, "name": "verl"}]}}},
        {"container": {"name": "verl", "id": "a" * 12, "running": True, "processes": []}},
        {"ray": {"running": True, "busy": False}},
    ],
)
def test_idle_all_the_same(change):
    assert idle(host(merge(machine(), change)), request()) == (True, [])


def test_compute_capability_is_looked_up_where_the_driver_reports_none():
    facts = machine("H100", "470.256.02")
    for gpu in facts["nvidia"]["gpus"]:
        gpu["compute_capability"] = None
    assert host(facts).gpus[0].arch == "9.0"


@pytest.mark.parametrize(
    ("driver", "cuda", "exact"),
    [
        ("550.163.01", "12.4", True),
        ("580.65.06", "13.0", True),
        ("601.1", "13.2", False),
        ("620.1", "13.5", True),
        ("400.1", None, False),
        (None, None, False),
        ("junk", None, False),
    ],
)
def test_cuda_by_driver_branch(driver, cuda, exact):
    assert gpus.driver_cuda(driver, known().branch_cuda) == (cuda, exact)


def test_patch_releases_inherit():
    image = next(image for image in known().images if image.id == "vllm024")
    assert model.serves(image, "0.9.1", model.listing(image)) == ("inherited", "0.9.0")
    raw = dict(next(image for image in loaded()["images"] if image["id"] == "vllm024"))
    raw["serves"] = {"tested": ["0.9.0"], "floor_only": ["0.8.0"]}
    own = model.read_image(raw)
    assert model.serves(own, "0.9.7", model.listing(own)) == ("inherited", "0.9.0")
    assert model.serves(own, "0.8.3", model.listing(own)) == ("floor_only", "0.8.0")
    assert model.serves(own, "0.7.1", model.listing(own)) == ("", "")


def test_keys_tell_what_not_how():
    args = {"name": "verl", "gpu_request": "gpus_all", "become": True, "state_dir": "/a"}
    other = {"name": "verl", "gpu_request": "runtime_env", "become": False, "state_dir": "/b"}
    assert keys.step_key("training_container", args) == keys.step_key("training_container", other)
    assert keys.step_key("training_container", args) != keys.step_key("training_container", {**args, "name": "x"})
    assert keys.step_key("training_container", args) != keys.step_key("verl_checkout", args)
    assert keys.step_key("training_container", args) != keys.step_key(
        "training_container", {**args, "gpu_request": "cdi"}
    )


def test_an_unknown_release_and_an_unknown_image():
    for asked, rule, hint in (
        ({"version": "0.9.3"}, "release", "Did you mean 0.9."),
        ({"image": "vllm0244"}, "image", "Did you mean vllm024?"),
    ):
        planned = plan(machine(), **asked)
        assert [error["rule"] for error in planned["errors"]] == [rule]
        assert hint in planned["errors"][0]["fix"]


def test_a_forced_image_that_the_catalog_does_not_have():
    planned = plan(machine(), image="mine.example.org/verl:1", image_force=True, version="0.9.0")
    assert planned["ok"]
    assert planned["image"]["ref"] == "mine.example.org/verl:1"
    assert any("taken on trust" in warning["message"] for warning in planned["warnings"])


@pytest.mark.parametrize("asked", ["vllm024", "verlai/verl:vllm024.latest", "docker.io/verlai/verl:vllm024.latest",
                                    "vllm024.latest"])  # fmt: skip
def test_an_image_by_id_reference_or_tag(asked):
    assert plan(machine(), image=asked)["image"]["id"] == "vllm024"


def test_an_empty_catalog():
    planned = plan_host(machine(None), {}, {})
    assert [error["rule"] for error in planned["errors"]] == ["catalog"]


def test_the_last_net_names_what_was_unexpected(monkeypatch):
    from verl_provision.plan import fleet as planning

    def broken(*_):
        raise ZeroDivisionError("no")

    monkeypatch.setattr(planning.decisions, "decide", broken)
    planned = plan_host(machine(), {}, loaded())
    assert not planned["ok"]
    assert planned["errors"][0]["rule"] == "internal"
    assert "ZeroDivisionError: no" in planned["errors"][0]["found"]
