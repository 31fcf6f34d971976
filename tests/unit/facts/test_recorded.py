"""Every recorded host yields the facts that are on file for it, and they fit the schema."""

import json
import os

import jsonschema
import pytest
from ansible.module_utils.verl_probes.collect import collect

from .recorded import FACTS, NAMES, SCHEMA, RecordedHost

VALIDATOR = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))


def problems(facts):
    return [f"{'/'.join(map(str, error.path))}: {error.message}" for error in VALIDATOR.iter_errors(facts)]


def test_the_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(VALIDATOR.schema)


@pytest.mark.parametrize("name", NAMES)
def test_facts_of_a_recorded_host(name):
    host = RecordedHost(name)
    facts = host.plain(collect(host))
    assert problems(facts) == []
    assert len(json.dumps(facts)) < 8192, "facts are to stay small: large ones slow every later task"
    path = FACTS / f"{name}.json"
    if os.environ.get("VERL_UPDATE_FACTS"):
        path.write_text(json.dumps(facts, indent=2) + "\n")
    assert facts == json.loads(path.read_text())


def test_every_file_has_its_host():
    assert sorted(path.stem for path in FACTS.glob("*.json")) == NAMES


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("no_gpu", "none"),
        ("mi300x", "none"),
        ("ascend_910b", "none"),
        ("h100x8_550", "ok"),
        ("h100x8_580", "ok"),
        ("gb10_na_memory", "ok"),
        ("mig", "ok"),
        ("mixed_gpus", "ok"),
        ("r470", "ok"),
        ("r610", "ok"),
        ("driver_not_loaded", "not_loaded"),
        ("not_installed", "not_installed"),
        ("mismatch", "mismatch"),
        ("nouveau", "nouveau"),
        ("no_devices", "no_devices"),
        ("smi_hang", "timeout"),
        ("no_library", "error"),
        ("gpu_lost", "error"),
        ("unknown_error", "error"),
        ("no_permission", "error"),
    ],
)
def test_driver_state(name, state):
    nvidia = json.loads((FACTS / f"{name}.json").read_text())["nvidia"]
    assert nvidia["state"] == state
    assert (nvidia["reason"] is None) == (nvidia["fix"] is None) == (state in ("ok", "none"))


def test_reasons_name_the_values_found():
    found = {name: json.loads((FACTS / f"{name}.json").read_text())["nvidia"] for name in NAMES}
    assert "550.144.03" in found["mismatch"]["reason"] and "550.163.01" in found["mismatch"]["reason"]
    assert found["mismatch"]["fix"] == "sudo reboot" and found["mismatch"]["reboot_pending"]
    assert "0000:19:00.0" in found["nouveau"]["reason"]
    assert "within 12 s" in found["smi_hang"]["reason"]
    assert "8 NVIDIA GPUs" in found["driver_not_loaded"]["reason"]
    assert found["driver_not_loaded"]["fix"] == "sudo modprobe nvidia"


def test_what_is_not_available_is_null():
    gpu = json.loads((FACTS / "gb10_na_memory.json").read_text())["nvidia"]["gpus"][0]
    assert (gpu["memory_mb"], gpu["mig"], gpu["compute_capability"]) == (None, None, "12.1")
    old = json.loads((FACTS / "r470.json").read_text())["nvidia"]
    assert (old["gpus"][0]["compute_capability"], old["umd_cuda"]) == (None, "11.4")


def test_both_header_formats_give_the_cuda_version():
    assert json.loads((FACTS / "r610.json").read_text())["nvidia"]["umd_cuda"] == "13.3"
    assert json.loads((FACTS / "h100x8_550.json").read_text())["nvidia"]["umd_cuda"] == "12.4"


def test_secrets_do_not_become_facts():
    text = (FACTS / "h100x8_busy.json").read_text()
    assert "hf_thisisasecret" not in text and "hunter2" not in text
    facts = json.loads(text)
    assert "HF_TOKEN" in facts["container"]["spec"]["env_names"]
    assert facts["container"]["spec"]["env"] == {"NVIDIA_VISIBLE_DEVICES": "all"}


def test_a_busy_host():
    facts = json.loads((FACTS / "h100x8_busy.json").read_text())
    assert len(facts["nvidia"]["processes"]) == 8
    assert [item["name"] for item in facts["engines"]["docker"]["running"]] == ["verl", "dcgm-exporter"]
    assert facts["container"]["processes"] == ["python3"]
    assert facts["ray"] == {"running": True, "session": facts["ray"]["session"], "busy": True, "container": None}
    assert [image["refs"] for image in facts["images"]] == [
        ["verlai/verl:vllm024.latest"],
        ["hiyouga/verl@sha256:" + "9" * 64],
    ]
    assert facts["stamps"]["container_image"] is None
    assert any("container_image.json" in error["reason"] for error in facts["errors"])
    assert facts["verification"]["level"] == "gpu"
