"""The write-up's advice (its chapters 4.1-4.3 and 7): what it advises for what the user asked for.

Precedence: explicit image > scenario > trainer > size > algorithm > memory. What is overruled is warned about.
docs/selection.md has the table, a row per sentence.
"""

from dataclasses import dataclass, field

from verl_provision.select.findings import Warning
from verl_provision.select.inputs import Preferences, SelectionFacts

VLLM_ABOVE_B = 7  # "larger than 7 B: Hugging Face's own generate is too slow"
MEGATRON_FROM_B = 13  # "13 B parameters or more"
TIGHT_MEMORY_MB = 22_000  # below what verl's quickstart asks for: 24 GB, of which a 24 GB card shows 22.5 GiB or more
NO_SAMPLING = ("dpo", "sft")


@dataclass(slots=True)
class Advice:
    """What an image should have by the selection guide, with the reason for each."""

    engine: str = "vllm"
    trainer: str = "fsdp"
    light: bool = False
    flashinfer: bool = False
    families: bool = False
    strong_vllm: bool = False  # wanted for a stated reason, not only because most algorithms sample
    scenario: str = "auto"
    why: list[str] = field(default_factory=list)
    warnings: list[Warning] = field(default_factory=list)


def resolve(preferences: Preferences, facts: SelectionFacts) -> Advice:
    """What an image should have; explicit `verl_engine` and `verl_trainer` are rules of their own."""
    advice = Advice(scenario=preferences.scenario)
    _trainer(preferences, advice)
    _weight(preferences, facts, advice)
    if preferences.scenario == "large_model":
        advice.families = advice.strong_vllm = True
    if preferences.scenario == "fast_rollout":
        advice.flashinfer = advice.strong_vllm = True
        advice.why.append("verl_scenario fast_rollout wants vLLM with FlashInfer: lowest latency of rollout")
    if preferences.engine in ("vllm", "sglang"):
        advice.engine = preferences.engine
        advice.strong_vllm = advice.strong_vllm and preferences.engine == "vllm"
    return advice


def _trainer(preferences: Preferences, advice: Advice) -> None:
    """Megatron or FSDP: scenario, then trainer, then size."""
    big = _big(preferences)
    if preferences.scenario == "large_model":
        advice.trainer = "fsdp" if preferences.trainer == "fsdp" else "megatron"
        advice.why.append("verl_scenario large_model wants an image with Megatron")
    elif preferences.scenario == "prototype":
        advice.trainer = "fsdp"
        if preferences.trainer == "megatron":
            _overruled(
                advice,
                "verl_scenario prototype",
                "the light image, with FSDP",
                "verl_trainer megatron",
                "Leave one of the two out.",
            )
        if big:
            _overruled(
                advice,
                "verl_scenario prototype",
                "the light image, with FSDP",
                f"{big} wants Megatron",
                "For a model of that size use verl_scenario large_model.",
            )
    elif preferences.trainer == "megatron":
        advice.trainer = "megatron"
        advice.why.append("verl_trainer megatron: there is a Megatron workflow to build on")
    elif preferences.trainer == "fsdp":
        if big:
            _overruled(
                advice,
                "verl_trainer fsdp",
                "FSDP",
                f"{big} wants Megatron",
                "Leave verl_trainer out, or set it to megatron.",
            )
    elif big and preferences.scenario == "auto":
        advice.trainer = "megatron"
        advice.why.append(f"{big} wants Megatron")
    elif big:
        advice.warnings.append(
            Warning(
                f"verl_scenario {preferences.scenario} wants FSDP, though {big} wants Megatron",
                "Leave verl_scenario out, or set verl_trainer.",
            )
        )


def _big(preferences: Preferences) -> str:
    """Why Megatron is wanted, if size or the number of hosts asks for it."""
    if preferences.params_b is not None and preferences.params_b >= MEGATRON_FROM_B:
        return f"verl_model_params_b {preferences.params_b:g} (>= {MEGATRON_FROM_B})"
    if preferences.nnodes > 1:
        return f"verl_nnodes {preferences.nnodes} (more than one host)"
    return ""


def _weight(preferences: Preferences, facts: SelectionFacts, advice: Advice) -> None:
    """vLLM or the light image: scenario, then trainer and size, then algorithm, then memory."""
    large = preferences.params_b is not None and preferences.params_b > VLLM_ABOVE_B
    sampling = preferences.algorithm not in NO_SAMPLING
    tight = [gpu for gpu in facts.gpus if gpu.memory_mb is not None and gpu.memory_mb < TIGHT_MEMORY_MB]
    if preferences.scenario == "prototype":
        advice.light, advice.engine = True, "sglang"
        advice.why.append("verl_scenario prototype wants the lightest image: it needs no vLLM")
        if large and advice.trainer == "fsdp" and not _big(preferences):
            _overruled(
                advice,
                "verl_scenario prototype",
                "the light image",
                f"verl_model_params_b {preferences.params_b:g} (> {VLLM_ABOVE_B}) wants vLLM",
                "Leave verl_scenario out.",
            )
        return
    if preferences.scenario != "auto":
        return
    lighter = ""
    if not sampling:
        lighter = f"verl_algorithm {preferences.algorithm} does not sample, so it needs no vLLM"
    elif tight:
        lighter = f"GPU memory is tight ({tight[0].model}: {tight[0].memory_mb} MB, needed {TIGHT_MEMORY_MB} MB)"
    if not lighter or large:
        advice.strong_vllm = large
    if not lighter:
        reason = (
            f"verl_model_params_b {preferences.params_b:g} (> {VLLM_ABOVE_B}) wants vLLM"
            if large
            else f"verl_algorithm {preferences.algorithm} samples, so it wants vLLM"
        )
        advice.why.append(reason)
    elif large:
        _overruled(
            advice,
            f"verl_model_params_b {preferences.params_b:g}",
            "vLLM",
            lighter,
            "Choose the engine yourself with verl_engine.",
        )
    elif advice.trainer == "megatron":
        if preferences.trainer == "megatron" or preferences.nnodes > 1:
            advice.why.append(f"{lighter}; but Megatron is wanted, which the light image does not have")
    else:
        advice.light, advice.engine = True, "sglang"
        advice.why.append(f"{lighter}: the lightest image will do")


def _overruled(advice: Advice, winner: str, what: str, loser: str, fix: str) -> None:
    advice.warnings.append(Warning(f"{winner} ({what}) comes before {loser}", fix))
