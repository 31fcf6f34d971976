"""verl_editable_install: only verl changes inside the container."""

import json

import pytest

TORCH = {"torch": "2.11.0", "vllm": "0.24.0"}


def probe(version=None, origin=None, source="0.9.0", **versions):
    """What the probe inside prints."""
    return "noise\n" + json.dumps(
        {
            "versions": {**dict.fromkeys(("torch", "vllm")), **TORCH, **versions},
            "setuptools": "80.1", "wheel": "0.4", "verl": {"version": version, "path": None, "origin": origin},
            "source": source, "there": True,
        }
    )  # fmt: skip


HERE = "/workspace/verl/verl/__init__.py"
ARGS = {"guard": ["torch", "vllm"]}
IDLE = "PID STAT COMMAND\n1 Ss sleep infinity\n"


@pytest.fixture
def docker(fake):
    """A container that runs."""
    return fake("docker")


def looks(docker, out, times=None):
    """The next answers of the probe."""
    docker.says(["exec", "-i", "verl", "python3", "-", "/workspace/verl", "torch"], out=out, times=times)


def test_it_is_installed_without_dependencies(module, docker):
    looks(docker, probe(), times=1)
    looks(docker, probe("0.9.0", HERE))
    docker.says(["top"], out=IDLE).says(["exec"], out="")
    answer = module("verl_editable_install", ARGS)
    assert answer["changed"], answer
    assert answer["versions"] == TORCH
    pip = next(call for call in docker.calls if "pip" in call)
    assert pip[-5:] == ["install", "--no-deps", "--no-build-isolation", "-e", "/workspace/verl"]


def test_what_is_in_place_stays(module, docker):
    looks(docker, probe("0.9.0", HERE))
    assert not module("verl_editable_install", ARGS)["changed"]


@pytest.mark.parametrize(
    ("version", "origin"), [("0.3.0", "/usr/lib/python3/verl/__init__.py"), ("0.8.0", HERE), (None, HERE)]
)
def test_the_checkout_wins(module, docker, version, origin):
    looks(docker, probe(version, origin))
    docker.says(["top"], out=IDLE)
    assert module("verl_editable_install", ARGS, check=True)["changed"]


def test_an_image_that_comes_out_changed_is_an_error(module, docker):
    looks(docker, probe(), times=1)
    looks(docker, probe("0.9.0", HERE, torch="2.9.1"))
    docker.says(["top"], out=IDLE).says(["exec"], out="")
    answer = module("verl_editable_install", ARGS)
    assert answer["failed"]
    assert "torch 2.11.0 -> 2.9.1" in answer["msg"]


def test_nothing_changes_under_a_running_job(module, docker):
    looks(docker, probe())
    docker.says(["top"], out=IDLE + "9 R python3 train.py\n")
    answer = module("verl_editable_install", ARGS)
    assert not answer["changed"]
    assert "python3 train.py" in answer["deferred"]["because"]
    assert not any("pip" in call for call in docker.calls)


def test_pips_own_words_come_through(module, docker):
    looks(docker, probe())
    docker.says(["top"], out=IDLE).says(["exec"], err="ERROR: no space left on device", rc=1)
    assert "no space left" in module("verl_editable_install", ARGS)["msg"]
