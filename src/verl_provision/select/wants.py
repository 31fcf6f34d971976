"""What an image should have beside the engine and the trainer that rules demand: asked for outright, or advised."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from verl_provision.select.inputs import Preferences
from verl_provision.select.scenario import Advice


@dataclass(frozen=True, slots=True)
class Want:
    """One thing, who wants it, and whether an image has it."""

    who: str  # the variable and its value
    what: str
    met: Callable[[Any], bool]


@lru_cache(maxsize=256)
def asked(preferences: Preferences) -> tuple[Want, ...]:
    """What a scenario asks for: it decides before evidence and release."""
    found = []
    scenario = f"verl_scenario {preferences.scenario}"
    if preferences.scenario == "large_model" and preferences.trainer == "auto":
        found.append(Want(scenario, "Megatron", _megatron))
    if preferences.scenario in ("large_model", "fast_rollout") and preferences.engine == "auto":
        found.append(Want(scenario, "vLLM", _vllm))
    if preferences.scenario == "prototype" and preferences.engine == "auto":
        found.append(Want(scenario, "the light image, without vLLM", lambda image: image.source or not _vllm(image)))
    return tuple(found)


def advised(preferences: Preferences, advice: Advice) -> tuple[Want, ...]:
    """What family and size of the model and the number of hosts speak for; warned about where it isn't to be had."""
    found = []
    if preferences.family:
        found.append(Want(f"verl_model_family {preferences.family}", "an image made for it", made_for(preferences)))
    if advice.trainer == "megatron" and preferences.trainer == "auto" and preferences.scenario == "auto":
        who = f"verl_nnodes {preferences.nnodes}" if preferences.nnodes > 1 else _size(preferences)
        found.append(Want(who, "Megatron", _megatron))
    if advice.strong_vllm and preferences.engine == "auto" and preferences.scenario == "auto":
        found.append(Want(_size(preferences), "vLLM", _vllm))
    return tuple(found)


def made_for(preferences: Preferences) -> Callable[[Any], bool]:
    """Whether an image was made for the family of models that was named."""
    return lambda image: preferences.family in image.families


def _size(preferences: Preferences) -> str:
    return f"verl_model_params_b {preferences.params_b:g}" if preferences.params_b else "verl_model_params_b"


def _megatron(image: Any) -> bool:
    return "megatron" in image.trainers


def _vllm(image: Any) -> bool:
    return "vllm" in image.engines
