"""The machines that the selection issue names, each with the answer that was worked out by hand first.

The answers rest on the numbers of catalog/cuda.yml: a driver branch carries a CUDA minor natively (550: 12.4, 560:
12.6, 570: 12.8, 575: 12.9, 580: 13.0), CUDA 12 starts on 525.60.13, CUDA 13 on 580.
"""

import pytest

from tests.unit.decide.machines import machine, plan

NO_RIGHTS = {"docker": False, "sudo": False}

# machine, requests -> (backend, verl, image, tier), changes that would help
FITS = {
    "H100 on 595": (machine("H100", "595.71.05"), {}, ("docker", "0.9.0", "vllm024", "native"), []),
    "H100 on 580.65.06": (machine("H100", "580.65.06"), {}, ("docker", "0.9.0", "vllm024", "native"), []),
    "H100 on 575": (
        machine("H100", "575.57.08"),
        {},
        ("docker", "0.7.1", "vllm017", "native"),
        ["verl_version: latest", "driver >= 580"],
    ),
    "H100 on 560": (
        machine("H100", "560.35.05"),
        {},
        ("docker", "0.6.0", "verl05-tf4554-vllm0100-mcore0130-te22", "native"),
        ["verl_driver_policy: minor", "driver >= 575", "driver >= 580"],
    ),
    "H100 on 550": (
        machine("H100", "550.163.01"),
        {},
        ("docker", "0.5.0", "verl04-vllm085-mcore0122-te22", "native"),
        ["verl_driver_policy: minor", "driver >= 560", "driver >= 575", "driver >= 580"],
    ),
    "H100 on 535": (
        machine("H100", "535.261.03"),
        {},
        ("docker", "0.4.1", "hiyouga-vllm083-fi022", "minor"),
        [
            "verl_driver_policy: minor",
            "verl_driver_policy: compat",
            "driver >= 560",
            "driver >= 575",
            "driver >= 580",
            "verl_backend: source",
        ],
    ),
    "4090 on 550": (
        machine("RTX 4090", "550.163.01"),
        {},
        ("docker", "0.5.0", "verl04-vllm085-mcore0122-te22", "native"),
        ["verl_driver_policy: minor", "driver >= 560", "driver >= 575", "driver >= 580"],
    ),
    "GB200": (machine("GB200", "580.95.05"), {}, ("docker", "0.9.0", "vllm023-aarch64-dev1", "native"), []),
    "5090 on 580": (machine("RTX 5090", "580.95.05"), {}, ("docker", "0.9.0", "vllm024", "native"), []),
    "B200 on 570": (
        machine("B200", "570.124.06"),
        {},
        ("docker", "0.7.1", "vllm017", "minor"),
        ["verl_version: latest", "verl_driver_policy: compat", "driver >= 580"],
    ),
    "B200 on 580": (machine("B200", "580.95.05"), {}, ("docker", "0.9.0", "vllm024", "native"), []),
    "no GPU, no Docker": (machine(None, docker=False), {}, ("source", "0.9.1", None, None), []),
    "no GPU, Docker": (machine(None), {}, ("source", "0.9.1", None, None), []),
    "8 H100 without Docker or sudo": (
        machine("H100", "580.95.05", **NO_RIGHTS),
        {},
        ("source", "0.9.1", None, None),
        ["a container engine (access to Docker, rootless Docker, Podman with CDI, or Apptainer)"],
    ),
    "8 H100 on 550 without Docker or sudo": (
        machine("H100", "550.163.01", **NO_RIGHTS),
        {},
        ("source", "0.5.0", None, None),
        [
            "verl_driver_policy: minor",
            "driver >= 560",
            "driver >= 570",
            "driver >= 580",
            "a container engine (access to Docker, rootless Docker, Podman with CDI, or Apptainer)",
        ],
    ),
    "A800 with an image that happens to hold DeepEP": (
        machine("A800", "575.57.08"),
        {"image": "vllm011"},
        ("docker", "0.6.1", "vllm011", "native"),
        ["verl_version: latest"],
    ),
    "550 by minor-version compatibility, the newest tested verl first": (
        machine("H100", "550.163.01"),
        {"driver_policy": "minor"},
        ("docker", "0.7.1", "vllm017", "minor"),
        ["verl_version: latest", "driver >= 580"],
    ),
    "570 by forward compatibility": (
        machine("H100", "570.124.06"),
        {"version": "0.9.0", "driver_policy": "compat"},
        ("docker", "0.9.0", "vllm024", "compat"),
        [],
    ),
    "forward compatibility that was asked for is as good as native": (
        machine("H100", "570.124.06"),
        {"driver_policy": "compat"},
        ("docker", "0.9.0", "vllm024", "compat"),
        [],
    ),
    "a forced image without a version": (
        machine("H100", "550.163.01"),
        {"image": "hiyouga-vllm084-fi022", "image_force": "true"},
        ("docker", "0.6.0", "hiyouga-vllm084-fi022", "native"),
        [],
    ),
}

# machine, requests -> the errors as (rule, in found, in needed, in fix), changes that would help
REFUSED = {
    "H100 on 470": (
        machine("H100", "470.256.02"),
        {},
        [
            ("first_driver", "H100 with driver 470.256.02", "driver >= 520", "520"),
            ("driver_floor", "470.256.02", "525.60.13", "525.60.13"),
        ],
        ["driver >= 525.60.13", *(f"driver >= {branch}" for branch in (550, 560, 570, 575, 580))],
    ),
    "V100 on 580": (
        machine("V100", "580.95.05"),
        {},
        [
            (
                "compute_capability",
                "V100 (compute capability 7.0)",
                "8.0: flash-attn 2 has no code below 8.0",
                "newer GPU",
            )
        ],
        [],
    ),
    "V100 on 595": (
        machine("V100", "595.71.05"),
        {},
        [
            ("end_of_life", "V100 with driver 595.71.05", "driver 580, the last branch that supports volta", "580"),
            ("compute_capability", "V100 (compute capability 7.0)", "8.0: flash-attn 2", "newer GPU"),
        ],
        [],
    ),
    "B200 on 550": (
        machine("B200", "550.163.01"),
        {},
        [("first_driver", "B200 with driver 550.163.01", "driver >= 570, the first branch", "570")],
        ["driver >= 570", "driver >= 575", "driver >= 580"],
    ),
    "MI300X": (machine("MI300X"), {}, [("vendor_apply", "8 x MI300X (amd)", "NVIDIA", "--device /dev/kfd")], []),
    "910B": (machine("910B"), {}, [("vendor_apply", "8 x 910B (ascend)", "NVIDIA", "quay.io/ascend/verl")], []),
    "A800 with a DeepEP image": (
        machine("A800", "550.163.01"),
        {"image": "verl04-vllm085-mcore0122-te22-deepep"},
        [("defects", "A800 (compute capability 8.0)", "9.0", "verl04-vllm085-mcore0122-te22, the same without DeepEP")],
        [],
    ),
    "verl 0.9.0 on 550": (
        machine("H100", "550.163.01"),
        {"version": "0.9.0"},
        [("driver_floor", "driver 550.163.01", "driver >= 580 for CUDA 13.0", "Install driver >= 580")],
        ["driver >= 580"],
    ),
    "verl 0.9.0 with a forced vLLM 0.8.5 image": (
        machine("H100", "580.95.05"),
        {"version": "0.9.0", "image": "verl04-vllm085-mcore0122-te22", "image_force": True},
        [("release_pairing", "vLLM 0.8.5", ">= 0.18.0", "another verl_version")],
        [],
    ),
    "verl 0.9.0 with a asked vLLM 0.8.5 image": (
        machine("H100", "580.95.05"),
        {"version": "0.9.0", "image": "verl04-vllm085-mcore0122-te22"},
        [
            ("release", "serves verl 0.6.0, 0.5.0", "0.9.0", "verl_version"),
            ("release_pairing", "vLLM 0.8.5", ">= 0.18.0", "another verl_version"),
            ("release_pairing", "tensordict 0.6.2", ">= 0.10.0", "newer tensordict"),
        ],
        [],
    ),
    "compat on a branch that is no base for it": (
        machine("H100", "550.163.01"),
        {"version": "0.9.0", "driver_policy": "compat"},
        [
            ("driver_floor", "550.163.01", "580", "580"),
            ("forward_compat", "driver branch 550", "cuda-compat 13.0", "580"),
        ],
        ["driver >= 580"],
    ),
    "compat on GeForce": (
        machine("RTX 4090", "570.124.06"),
        {"version": "0.9.0", "driver_policy": "compat"},
        [("driver_floor", "570", "580", "580"), ("forward_compat", "not a data-centre GPU", "data-centre", "580")],
        ["driver >= 580"],
    ),
    "native only, on 535": (
        machine("H100", "535.261.03"),
        {"driver_policy": "native"},
        [("native_driver", "535.261.03 carries CUDA 12.2", "CUDA 12.4", "driver >= 550")],
        [
            "verl_driver_policy: minor",
            "verl_driver_policy: compat",
            *(f"driver >= {branch}" for branch in (550, 560, 570, 575, 580)),
            "verl_backend: source",
        ],
    ),
}


@pytest.mark.parametrize("name", FITS)
def test_what_fits(name):
    facts, asked, (backend, verl, image, tier), unlocks = FITS[name]
    planned = plan(facts, **asked)
    assert planned["ok"], planned["errors"]
    assert (planned["backend"], planned["verl_version"]) == (backend, verl)
    if image is None:
        assert planned["image"] is None
    else:
        assert (planned["image"]["id"], planned["image"]["tier"]) == (image, tier)
    assert [item["change"] for item in planned["unlocks"]] == unlocks


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name):
    facts, asked, errors, unlocks = REFUSED[name]
    planned = plan(facts, **asked)
    assert not planned["ok"]
    assert planned["steps"] == {}
    assert [error["rule"] for error in planned["errors"]] == [rule for rule, *_ in errors]
    for error, (_, found, needed, fix) in zip(planned["errors"], errors, strict=True):
        assert found in error["found"]
        assert needed in error["needed"]
        assert fix in error["fix"]
    assert [item["change"] for item in planned["unlocks"]] == unlocks


def test_an_unlock_names_release_and_image():
    unlocks = plan(machine("H100", "550.163.01"))["unlocks"]
    assert unlocks[-1]["message"] == "driver >= 580 would allow verl 0.9.0 (vllm024, tested)"


def test_passed_over_backends_are_named():
    planned = plan(machine("H100", docker=False, sudo=False))
    said = " ".join(planned["why"])
    assert "skipped docker: Docker is not installed, and user may not install it" in said
    assert "skipped podman" in said
    assert "skipped apptainer" in said
    assert planned["profile"] == "gpu"


def test_minor_version_compatibility_is_always_warned_about():
    planned = plan(machine("H100", "535.261.03"))
    assert "native_driver" in [warning["rule"] for warning in planned["warnings"]]


def test_every_driver_floor_is_told_for_every_image():
    planned = plan(machine("H100", "470.256.02"))
    turned_down = {row["candidate"] for row in planned["rejected"] if row["rule"] == "driver_floor"}
    assert {"vllm024", "vllm017", "vllm011", "verl04-vllm085-mcore0122"} <= turned_down


def test_cuda_13_is_no_choice_for_a_v100_whatever_its_driver():
    planned = plan(machine("V100", "580.95.05"))
    rules = {row["rule"] for row in planned["rejected"] if row["candidate"] == "vllm024"}
    assert {"compute_capability", "end_of_life"} <= rules
