"""Does the model fit: a floor, which must never refuse what is known to run."""

import pytest

from tests.unit.decide.machines import machine, plan


def told(facts, **asked):
    return [row for row in plan(facts, **asked)["warnings"] if row["rule"] == "model_fit"]


def hosts_with(gpu, count, gib, **changes):
    facts = machine(gpu, gpu_count=count, **changes)
    for card in facts["nvidia"]["gpus"]:
        card["memory_mb"] = gib * 1024
    return facts


@pytest.mark.parametrize(
    ("gpu", "count", "gib", "asked"),
    [  # verl's docs/perf/device_tuning.rst: the smallest machines on which its authors ran these
        ("H800", 2, 79, {"model_params_b": 7.6, "algorithm": "grpo"}),
        ("H800", 4, 79, {"model_params_b": 14.8, "algorithm": "grpo"}),
        ("H20", 8, 95, {"model_params_b": 32.8, "algorithm": "grpo", "trainer": "megatron"}),
        ("H20", 8, 95, {"model_params_b": 72.7, "algorithm": "grpo", "trainer": "fsdp", "nnodes": 4}),
    ],
)
def test_what_verl_says_it_ran_is_not_warned_about(gpu, count, gib, asked):
    assert told(hosts_with(gpu, count, gib), **asked) == []


def test_a_model_that_cannot_fit_is_said_with_what_is_needed_and_found():
    row = told(machine("RTX 4090", gpu_count=1), model_params_b=671)[0]
    assert "9,999 GiB" in row["message"] and "found 24 GiB" in row["message"] and "an estimate" in row["message"]
    assert "LoRA fits on verl_nnodes: 105, full training on 417" in row["fix"]


def test_the_smallest_setting_that_fits_is_named():
    small = told(machine("RTX 4090", gpu_count=1), model_params_b=7)[0]["fix"]
    assert "offloading (FSDP2) fits here (actor_rollout_ref.actor.fsdp_config.offload_policy=True)" in small
    assert "verl_nnodes: 5" in small
    big = told(machine("RTX 3090", gpu_count=4), model_params_b=70, trainer="fsdp")[0]["fix"]
    assert "offloading (FSDP2) fits on verl_nnodes: 2, full training on 11" in big
    little_memory = hosts_with("H100", 8, 80, memory={"total_mb": 512 * 1024})
    assert (
        "LoRA fits here (actor_rollout_ref.model.lora_rank=32)"
        in told(little_memory, model_params_b=72, trainer="fsdp")[0]["fix"]
    )  # as in verl's docs/advance/ppo_lora.rst


def test_trainer_algorithm_and_hosts_count():
    deepseek = hosts_with("H20", 8, 95, memory={"total_mb": 2000 * 1024})
    twelve = told(deepseek, model_params_b=671, nnodes=12)[0]  # 96 x H20, which verl's dpsk.md says are enough
    assert "an optimizer in the host's memory fits here" in twelve["fix"]
    assert told(deepseek, model_params_b=671, nnodes=16) == []
    one = hosts_with("H100", 1, 24)
    assert "offloading" in told(one, model_params_b=13, trainer="fsdp")[0]["fix"].split(" fits on ")[0]
    assert "verl_nnodes: 2" in told(one, model_params_b=13, trainer="fsdp")[0]["fix"]  # the rollout's copy
    assert "offloading (FSDP2) fits here," in told(one, model_params_b=13, trainer="fsdp", algorithm="sft")[0]["fix"]


def test_what_is_not_known_is_not_judged():
    assert told(machine("RTX 4090")) == []
    unknown = machine("H100")
    for card in unknown["nvidia"]["gpus"]:
        card["memory_mb"] = None
    assert told(unknown, model_params_b=671) == []
    assert told(machine(None), model_params_b=671) == []
    mig = machine("H100")
    mig["nvidia"]["gpus"][0] |= {"mig": "enabled", "mig_devices": 2}
    assert told(mig, model_params_b=671) == []
