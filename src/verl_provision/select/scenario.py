"""The write-up's advice (its chapters 4.1-4.3 and 7): what the wishes want of an image, beyond what they say outright.

Precedence: explicit image > scenario > trainer > size > algorithm > memory. What is overruled is warned about.
docs/selection.md has the table, a row per sentence.
"""

from dataclasses import dataclass, field

from verl_provision.facts import Host
from verl_provision.select.findings import Warning
from verl_provision.select.wanted import Wishes

VLLM_ABOVE_B = 7  # "larger than 7 B: Hugging Face's own generate is too slow"
MEGATRON_FROM_B = 13  # "13 B parameters or more"
TIGHT_MEMORY_MB = 22_000  # below what verl's quickstart asks for: 24 GB, of which a 24 GB card shows 22.5 GiB or more
NO_SAMPLING = ("dpo", "sft")


@dataclass(slots=True)
class Wants:
    """What an image should have, with the reason for each."""

    engine: str = "vllm"
    trainer: str = "fsdp"
    light: bool = False
    flashinfer: bool = False
    families: bool = False
    strong_vllm: bool = False  # wanted for a stated reason, not only because most algorithms sample
    scenario: str = "auto"
    why: list[str] = field(default_factory=list)
    warnings: list[Warning] = field(default_factory=list)


def resolve(wishes: Wishes, host: Host) -> Wants:
    """What the wishes want of an image; explicit `verl_engine` and `verl_trainer` are rules of their own."""
    wants = Wants(scenario=wishes.scenario)
    _trainer(wishes, wants)
    _weight(wishes, host, wants)
    if wishes.scenario == "large_model":
        wants.families = wants.strong_vllm = True
    if wishes.scenario == "fast_rollout":
        wants.flashinfer = wants.strong_vllm = True
        wants.why.append("verl_scenario fast_rollout wants vLLM with FlashInfer: lowest latency of rollout")
    if wishes.engine in ("vllm", "sglang"):
        wants.engine = wishes.engine
        wants.strong_vllm = wants.strong_vllm and wishes.engine == "vllm"
    return wants


def _trainer(wishes: Wishes, wants: Wants) -> None:
    """Megatron or FSDP: scenario, then trainer, then size."""
    big = _big(wishes)
    if wishes.scenario == "large_model":
        wants.trainer = "fsdp" if wishes.trainer == "fsdp" else "megatron"
        wants.why.append("verl_scenario large_model wants an image with Megatron")
    elif wishes.scenario == "prototype":
        wants.trainer = "fsdp"
        if wishes.trainer == "megatron":
            _overruled(
                wants,
                "verl_scenario prototype",
                "the light image, with FSDP",
                "verl_trainer megatron",
                "Leave one of the two out.",
            )
        if big:
            _overruled(
                wants,
                "verl_scenario prototype",
                "the light image, with FSDP",
                f"{big} wants Megatron",
                "For a model of that size use verl_scenario large_model.",
            )
    elif wishes.trainer == "megatron":
        wants.trainer = "megatron"
        wants.why.append("verl_trainer megatron: there is a Megatron workflow to build on")
    elif wishes.trainer == "fsdp":
        if big:
            _overruled(
                wants,
                "verl_trainer fsdp",
                "FSDP",
                f"{big} wants Megatron",
                "Leave verl_trainer out, or set it to megatron.",
            )
    elif big and wishes.scenario == "auto":
        wants.trainer = "megatron"
        wants.why.append(f"{big} wants Megatron")
    elif big:
        wants.warnings.append(
            Warning(
                f"verl_scenario {wishes.scenario} wants FSDP, though {big} wants Megatron",
                "Leave verl_scenario out, or set verl_trainer.",
            )
        )


def _big(wishes: Wishes) -> str:
    """Why Megatron is wanted, if size or the number of hosts asks for it."""
    if wishes.params_b is not None and wishes.params_b >= MEGATRON_FROM_B:
        return f"verl_model_params_b {wishes.params_b:g} (>= {MEGATRON_FROM_B})"
    if wishes.nnodes > 1:
        return f"verl_nnodes {wishes.nnodes} (more than one host)"
    return ""


def _weight(wishes: Wishes, host: Host, wants: Wants) -> None:
    """vLLM or the light image: scenario, then trainer and size, then algorithm, then memory."""
    large = wishes.params_b is not None and wishes.params_b > VLLM_ABOVE_B
    sampling = wishes.algorithm not in NO_SAMPLING
    tight = [gpu for gpu in host.gpus if gpu.memory_mb is not None and gpu.memory_mb < TIGHT_MEMORY_MB]
    if wishes.scenario == "prototype":
        wants.light, wants.engine = True, "sglang"
        wants.why.append("verl_scenario prototype wants the lightest image: it needs no vLLM")
        if large and wants.trainer == "fsdp" and not _big(wishes):
            _overruled(
                wants,
                "verl_scenario prototype",
                "the light image",
                f"verl_model_params_b {wishes.params_b:g} (> {VLLM_ABOVE_B}) wants vLLM",
                "Leave verl_scenario out.",
            )
        return
    if wishes.scenario != "auto":
        return
    lighter = ""
    if not sampling:
        lighter = f"verl_algorithm {wishes.algorithm} does not sample, so it needs no vLLM"
    elif tight:
        lighter = f"GPU memory is tight ({tight[0].name}: {tight[0].memory_mb} MB, needed {TIGHT_MEMORY_MB} MB)"
    if not lighter or large:
        wants.strong_vllm = large
    if not lighter:
        reason = (
            f"verl_model_params_b {wishes.params_b:g} (> {VLLM_ABOVE_B}) wants vLLM"
            if large
            else f"verl_algorithm {wishes.algorithm} samples, so it wants vLLM"
        )
        wants.why.append(reason)
    elif large:
        _overruled(
            wants,
            f"verl_model_params_b {wishes.params_b:g}",
            "vLLM",
            lighter,
            "Choose the engine yourself with verl_engine.",
        )
    elif wants.trainer == "megatron":
        if wishes.trainer == "megatron" or wishes.nnodes > 1:
            wants.why.append(f"{lighter}; but Megatron is wanted, which the light image does not have")
    else:
        wants.light, wants.engine = True, "sglang"
        wants.why.append(f"{lighter}: the lightest image will do")


def _overruled(wants: Wants, winner: str, what: str, loser: str, fix: str) -> None:
    wants.warnings.append(Warning(f"{winner} ({what}) comes before {loser}", fix))
