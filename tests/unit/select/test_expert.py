"""What an expert would answer: the machines on which the first edition answered something else, or in silence."""

import pytest

from tests.unit.decide.machines import loaded, machine, plan
from verl_provision.catalog.model import TESTED


def answer(planned):
    """(verl, image, tier, evidence)."""
    image = planned["image"] or {"id": None, "tier": None, "evidence": TESTED}
    return planned["verl_version"], image["id"], image["tier"], image["evidence"]


def said(planned, rule):
    return [row for row in planned["warnings"] if row["rule"] == rule]


def hints(planned):
    return " | ".join(hint["message"] for hint in planned["unlocks"])


def h100(driver, **options):
    return machine("H100", driver, **options)


def test_an_old_driver_that_cannot_be_changed_is_told_of_forward_compatibility():
    planned = plan(h100("535.261.03"))
    assert planned["image"]["evidence"] == TESTED
    assert not [row for row in planned["warnings"] if "crashed" in row["message"]], "it had a known crash there"
    assert planned["warnings"][0]["rule"] == "old_release"
    assert "verl_driver_policy: compat would allow verl 0.9.0 (vllm024, tested)" in hints(planned)
    taken = plan(h100("535.261.03"), driver_policy="compat")
    assert answer(taken) == ("0.9.0", "vllm024", "compat", TESTED)


def test_without_docker_an_old_driver_gets_no_release_of_two_years_ago():
    planned = plan(h100("535.261.03", docker=False, sudo=False))
    assert planned["verl_version"] == "0.5.0"  # native would be 0.2.0.post2, of February 2025
    first = planned["warnings"][0]
    assert first["rule"] == "old_release" and "2025-07-23" in first["message"] and "2026-09-11" in first["message"]
    assert "verl_driver_policy: minor would allow verl 0.7.1" in first["fix"]
    assert "verl_driver_policy: compat would allow verl 0.9.1" in hints(planned)


@pytest.mark.parametrize(("gpu", "count", "size"), [("RTX 4090", 1, 671), ("RTX 3090", 4, 70)])
def test_a_model_that_cannot_fit_is_said(gpu, count, size):
    row = said(plan(machine(gpu, gpu_count=count), model_params_b=size), "model_fit")[0]
    assert "does not fit" in row["message"] and "found" in row["message"] and "verl_nnodes" in row["fix"]


def test_what_its_own_ci_tested_comes_before_a_newer_release_that_nobody_tried():
    planned = plan(h100("550.163.01"))
    verl, image, tier, evidence = answer(planned)
    assert (verl, tier, evidence) == ("0.5.0", "native", TESTED)
    assert image == "verl04-vllm085-mcore0122-te22", "its own CI's, for vLLM"
    first = planned["unlocks"][0]["message"]
    assert first.startswith("verl_driver_policy: minor would allow verl 0.7.1 (vllm017, tested)")
    assert "with verl_version: latest verl 0.8.0" in first
    minor = plan(h100("550.163.01"), driver_policy="minor")
    assert answer(minor) == ("0.7.1", "vllm017", "minor", TESTED)
    newest = plan(h100("550.163.01"), driver_policy="minor", version="latest")
    assert answer(newest)[0] == "0.8.0" and said(newest, "release"), "less tried: warned about"


def test_one_gpu_gets_the_tested_pair():
    assert answer(plan(machine("RTX 3090", "570.124.06", gpu_count=1))) == ("0.6.1", "vllm011", "native", TESTED)


def test_with_a_wished_engine_its_versions_are_compared():
    planned = plan(machine("L40S", "570.124.06", gpu_count=4), engine="sglang")
    assert answer(planned) == ("0.6.0", "verl06-tf4561-sgl052-mcore0130-te22", "native", TESTED)


def test_a_defect_that_degrades_this_host_is_worth_a_newer_cuda():
    planned = plan(machine("B200", "570.124.06"))
    assert answer(planned) == ("0.7.1", "vllm017", "minor", TESTED)
    assert not said(planned, "defects") and said(planned, "native_driver")


def test_a_defect_of_every_image_is_no_reason_for_an_older_one():
    planned = plan(machine("B300", "580.95.05"))  # kernels for 10.3: reported for one tag, tried on none
    assert answer(planned)[:3] == ("0.9.0", "vllm024", "native") and said(planned, "defects")


@pytest.mark.parametrize("driver", ["550.163.01", "570.124.06", "580.95.05"])
def test_a_family_that_the_image_was_not_made_for_is_said(driver):
    planned = plan(machine("H800", driver), model_family="deepseek-v3", nnodes=2)
    assert planned["trainer"] == "megatron" and planned["image"]["evidence"] == TESTED
    unmet = [row for row in said(planned, "scenario") if "verl_model_family deepseek-v3" in row["message"]]
    assert unmet and "deepseekv3" in unmet[0]["fix"], planned["warnings"]
    met = plan(machine("H800", driver), model_family="deepseek-v3", version="0.4.1")
    assert "deepseekv3" in met["image"]["id"]
    assert not [row for row in said(met, "scenario") if "verl_model_family" in row["message"]]


def test_a_wish_that_nothing_meets_says_so():
    planned = plan(machine("H100"), model_family="no-such-family")
    row = next(row for row in said(planned, "scenario") if "no-such-family" in row["message"])
    assert "leave verl_model_family out" in row["fix"]


def test_a_policy_that_gives_nothing_is_said():
    planned = plan(machine("RTX 4090", "535.261.03"), driver_policy="compat")
    assert planned["ok"] and "not a data-centre GPU" in said(planned, "forward_compat")[0]["message"]
    assert not said(plan(machine("RTX 4090", "580.95.05"), driver_policy="compat"), "forward_compat")


def test_an_image_that_was_asked_for_is_not_dropped_in_silence():
    planned = plan(machine("H100", docker=False, sudo=False), image="vllm024")
    assert planned["backend"] == "source" and "vllm024" in said(planned, "image")[0]["message"]


def test_a_digest_that_was_asked_for_is_pulled():
    digest = "sha256:" + "ab" * 32
    planned = plan(machine("H100"), image=f"verlai/verl:vllm024.latest@{digest}")
    assert planned["image"]["id"] == "vllm024" and planned["image"]["digest"] == digest
    assert planned["steps"]["container_image"]["args"]["digest"] == digest


def test_a_patch_release_inherits_only_what_its_wheel_is_content_with():
    planned = plan(machine("H100"))
    assert answer(planned) == ("0.9.0", "vllm024", "native", TESTED)
    assert any("not verl 0.9.1" in line and "TransferQueue 0.1.8" in line for line in planned["why"])
    for wished in ("latest", "0.9.1"):
        asked = plan(machine("H100"), version=wished)
        assert answer(asked)[0] == "0.9.1"
        row = said(asked, "release_pairing")[0]
        assert "TransferQueue 0.1.8" in row["message"] and ">=0.1.10" in row["message"]
        assert "verl_version to 0.9.0" in row["fix"] and "verl_backend to source" in row["fix"]
    source = plan(machine("H100"), version="0.9.1", backend="source")
    assert source["ok"] and "TransferQueue>=0.1.10" in str(source["steps"]["source_environment"]["args"])


def test_a_requirement_that_ci_ran_without_refuses_nothing():
    # transformers 5.3.0, where the wheel asks for 5.5.3: CI of 0.9.0 ran on just that
    assert answer(plan(machine("GB200")))[:2] == ("0.9.0", "vllm023-aarch64-dev1")


@pytest.mark.parametrize(
    ("gpu", "limits"), [("GB200", ["flash-attn"]), ("GH200", ["flash-attn"]), ("GB10", ["flash-attn", "12.1"])]
)
def test_aarch64_has_images_with_their_limits(gpu, limits):
    planned = plan(machine(gpu, gpu_count=1))
    assert planned["ok"] and planned["image"]["evidence"] == "floor_only"
    warned = " | ".join(row["message"] for row in said(planned, "defects"))
    assert all(limit in warned for limit in limits)


def test_a_gpu_that_nobody_knows_is_decided_by_its_compute_capability():
    facts, known = machine("H100"), plan(machine("H100"))
    for gpu in facts["nvidia"]["gpus"]:
        gpu |= {"name": "NVIDIA Z9000", "compute_capability": "9.0"}
    planned = plan(facts)
    assert answer(planned) == answer(known)
    for gpu in facts["nvidia"]["gpus"]:
        gpu["compute_capability"] = "7.5"
    assert plan(facts)["errors"][0]["rule"] == "compute_capability"


@pytest.mark.parametrize("printed", ["910B1", "Ascend 910B3", "910B4", "Ascend910B2"])
def test_npu_smis_own_names_are_known(printed):
    facts = machine(None)
    facts["other_accelerators"]["ascend"] = {"present": True, "name": printed, "devices": 8}
    error = plan(facts)["errors"][0]
    assert error["rule"] == "vendor_apply" and error["found"].startswith("8 x") and "-910b-" in error["fix"]


def test_driver_620_carries_cuda_13_5():
    assert loaded()["cuda"]["branch_cuda"]["620"] == "13.5"
    assert answer(plan(machine("H100", "620.70.06")))[:3] == ("0.9.0", "vllm024", "native")


@pytest.mark.parametrize(
    "name",
    [
        "RTX 2070", "RTX 3070", "RTX 3060", "RTX 5050", "GTX 1080", "GTX 1660", "TITAN RTX", "TITAN Xp",
        "Quadro RTX 5000", "T1000", "K80", "V100S", "A10M", "A30X", "A100X", "A2000", "A4500", "A5500", "B100", "L2",
        "L40G", "RTX 2000 Ada", "RTX 4500 Ada", "RTX 5880 Ada", "RTX PRO 2000", "RTX PRO 6000D",
    ],
)  # fmt: skip
def test_a_gpu_that_was_missing_gets_an_answer(name):
    planned = plan(machine(name, "570.124.06", gpu_count=1))
    assert planned["ok"] or planned["errors"][0]["rule"] in ("end_of_life", "compute_capability", "driver_state")
