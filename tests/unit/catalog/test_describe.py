"""`verl-provision catalog add`: an entry from what a registry says, and nothing that it doesn't say."""

import argparse

import pytest
import yaml

from tests.unit.catalog.registry_server import Registry
from tests.unit.decide.machines import machine
from verl_provision.catalog import CatalogError, load
from verl_provision.cli import catalog as command
from verl_provision.plan.fleet import plan_host

REF = "team/verl:vllm017-Mine.1"
ENV = ["PATH=/usr/bin", "CUDA_VERSION=12.9.1", "PYTHON_VERSION=3.12.3", "PIP_TOKEN=s3cret"]
HISTORY = [
    "ARG VLLM_VERSION=0.17.0",
    "RUN |1 VLLM_VERSION=0.17.0 /bin/sh -c pip install vllm==${VLLM_VERSION} torchvision==0.25.0 # buildkit",
    "RUN /bin/sh -c pip install torch==2.10.0 --index-url https://download.pytorch.org/whl/cu129",
    "RUN /bin/sh -c pip install https://x.example/flash_attn-2.8.3+cu12torch2.10cxx11abiTRUE-cp312.whl",
    "RUN /bin/sh -c pip install git+https://github.com/NVIDIA/Megatron-LM.git@core_v0.16.0 tensordict==0.10.0",
    "RUN /bin/sh -c pip install git+https://github.com/NVIDIA/TransformerEngine.git@v2.8 transformers==4.57.1",
    "RUN /bin/sh -c pip install TransferQueue==0.1.8",
    {"created_by": None},
]


@pytest.fixture
def registry(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    with Registry() as server:
        server.built = {"Env": ENV, "history": [{"created_by": line} for line in HISTORY]}
        yield server


def add(registry, *words):
    root = argparse.ArgumentParser()
    command.add_parser(root.add_subparsers())
    arguments = root.parse_args(["catalog", "add", *words, "--registry", f"http://{registry.base}"])
    return arguments.run(arguments)


def test_what_the_registry_says_is_in_the_entry(registry, capsys):
    digest = registry.add(REF)
    assert add(registry, REF) == 0
    (image,) = yaml.safe_load(capsys.readouterr().out)["images"]
    assert (image["id"], image["ref"], image["registry"]) == ("verl-vllm017-mine-1", REF, "docker.io")
    assert (image["digest"], image["arch"], image["python"]) == (digest, ["x86_64"], "3.12")
    assert image["cuda"] == {"toolkit": "12.9.1", "torch": "12.9"} and image["torch"] == "2.10.0"
    assert image["engines"] == {"vllm": "0.17.0"} and image["trainers"] == ["fsdp", "megatron"]
    assert (image["megatron_core"], image["transformer_engine"], image["flash_attn"]) == ("0.16.0", "2.8", "2.8.3")
    assert (image["transformers"], image["tensordict"], image["transfer_queue"]) == ("4.57.1", "0.10.0", "0.1.8")
    assert "9.0" in image["compute_capabilities"]["sass"]
    assert image["compute_capabilities"]["minimum"]["value"] == "8.0"
    assert image["size_gb"] == {"compressed": 12.0, "estimate": 26}


def test_what_nobody_but_a_person_knows_is_refused_until_filled_in(registry, capsys, tmp_path):
    registry.add(REF)
    add(registry, REF)
    said = capsys.readouterr()
    assert "serves.floor_only" in said.out.splitlines()[2] and "fill in serves.floor_only" in said.err
    assert "s3cret" not in said.out + said.err
    path = tmp_path / "team.yml"
    path.write_text(said.out)
    with pytest.raises(CatalogError, match=r"serves.floor_only"):
        load(extra=path)
    path.write_text(said.out.replace("floor_only: unknown", "tested: ['0.8.0']"))
    planned = plan_host(machine("H100"), {"verl_image": REF}, load(extra=path))
    assert planned["ok"] and (planned["verl_version"], planned["image"]["evidence"]) == ("0.8.0", "tested")


def test_an_image_that_says_nothing_is_all_unknown(registry, capsys, tmp_path):
    registry.built = {}
    registry.add(REF)
    assert add(registry, REF) == 0
    said = capsys.readouterr()
    for field in ("python", "cuda.toolkit", "cuda.torch", "engines", "torch", "compute_capabilities.sass"):
        assert field in said.err
    path = tmp_path / "team.yml"
    path.write_text(said.out)
    with pytest.raises(CatalogError) as refused:
        load(extra=path)
    assert all(field in str(refused.value) for field in ("python", "engines", "torch"))


def test_an_image_for_several_architectures_is_one_entry_each(registry, capsys):
    registry.add_index(REF, ("arm64",))
    assert add(registry, REF) == 2
    assert "found linux/arm64, needed linux/amd64: see --arch" in capsys.readouterr().err
    assert add(registry, REF, "--arch", "aarch64") == 0
    assert yaml.safe_load(capsys.readouterr().out)["images"][0]["arch"] == ["aarch64"]


@pytest.mark.parametrize("reference", ["team/verl@sha256:" + "a" * 64, "--x", "team/verl:a b", "team/verl:\x1b[31m"])
def test_a_reference_without_a_plain_tag_is_bad_usage(registry, reference):
    try:
        assert add(registry, reference) == 2
    except SystemExit as stopped:
        assert stopped.code == 2


def test_an_image_that_is_not_there_is_said(registry, capsys):
    assert add(registry, REF) == 1
    said = capsys.readouterr()
    assert said.out == "" and REF in said.err and "--registry" in said.err


def test_a_hostile_configuration_stays_text(registry, capsys):
    registry.built = {
        "Env": ["CUDA_VERSION=1\n  - id: evil", "PYTHON_VERSION=3.12\x1b[31m", 7],
        "history": [{"created_by": "pip install torch==2.10.0\n- x vllm==0.17.0'; rm -rf /"}, "x", {"created_by": []}],
    }
    registry.add(REF)
    assert add(registry, REF) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    (image,) = yaml.safe_load(out)["images"]
    assert image["engines"] == {"vllm": "0.17.0"}
