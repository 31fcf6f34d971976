"""Does the model fit? A floor from its size: what no training can do without. docs/selection.md has the formula."""

import math
from dataclasses import dataclass
from typing import Any

from verl_provision.facts import Host
from verl_provision.select.decision import Decision
from verl_provision.select.findings import Warning
from verl_provision.select.scenario import NO_SAMPLING
from verl_provision.variables import Request

GIB = 2**30
ROLLOUT = 2  # bytes a parameter: the engine's copy in bf16, beside which there are no gradients


@dataclass(frozen=True, slots=True)
class Way:
    """A way to train, with the bytes a parameter that it needs in all."""

    name: str
    setting: str
    rests: float  # on the GPUs, always
    gradients: float  # on the GPUs, while it trains
    host: float = 0  # in the hosts' own memory

    def on_gpus(self, samples: bool) -> float:
        """The larger of training and generation, which verl does in turn on the same GPUs."""
        return self.rests + max(self.gradients, ROLLOUT if samples else 0)


FULL = Way("full training", "", 12, 4)  # fp32 weights and Adam's two states; fp32 gradients
_OPTIMIZER = "actor_rollout_ref.actor.optim.override_optimizer_config.optimizer_cpu_offload=True"
SMALLER = {  # by trainer, what changes least first
    "fsdp": (
        Way("offloading (FSDP2)", "actor_rollout_ref.actor.fsdp_config.offload_policy=True", 0, 0, host=16),
        Way("LoRA", "actor_rollout_ref.model.lora_rank=32", 2, 0),
    ),
    "megatron": (
        Way("an optimizer in the host's memory", _OPTIMIZER, 2, 2, host=12),
        Way("LoRA", "actor_rollout_ref.model.lora.rank=32", 2, 0),
    ),
}


def warnings(host: Host, request: Request, decision: Decision) -> list[dict[str, Any]]:
    """A warning where a model of this size can't be trained in these GPUs' memory; [] where it may, or who knows."""
    gpus = [gpu for gpu in host.accelerators if gpu.memory_mb and not gpu.mig]
    if request.params_b is None or not gpus or len(gpus) != len(host.accelerators):
        return []
    samples = request.algorithm not in NO_SAMPLING
    parameters = request.params_b * 1e9 / GIB  # bytes a parameter -> GiB
    each = min(gpu.memory_mb or 0 for gpu in gpus) / 1024  # every GPU holds an equal share
    here, nodes = each * len(gpus), request.nnodes
    needed = FULL.on_gpus(samples) * parameters
    if needed <= here * nodes:
        return []
    said = (
        f"full training of {request.params_b:g} B parameters does not fit: it needs {needed:,.0f} GiB of GPU memory at "
        f"the least (an estimate: 16 bytes a parameter for weights, gradients and Adam's states), found "
        f"{here * nodes:,.0f} GiB ({nodes} x {len(gpus)} x {each:.0f})"
    )
    return [Warning(said, _smallest(host, request, decision, parameters, here)).row("model_fit")]


def _smallest(host: Host, request: Request, decision: Decision, parameters: float, here: float) -> str:
    """What would fit: on these hosts, else on how many like them."""
    samples = request.algorithm not in NO_SAMPLING
    memory = host.memory_mb / 1024 if host.memory_mb else None
    full = math.ceil(FULL.on_gpus(samples) * parameters / here)
    counted = []
    for way in SMALLER[decision.trainer]:
        hosts = max(
            math.ceil(way.on_gpus(samples) * parameters / here),
            math.ceil(way.host * parameters / memory) if memory else 1,
        )
        if hosts <= request.nnodes:
            setting = f" ({way.setting})" if samples else ""
            return f"By the same estimate {way.name} fits here{setting}, or full training on verl_nnodes: {full}."
        counted.append((hosts, way.name))
    hosts, name = min(counted)
    return (
        f"By the same estimate {name} fits on verl_nnodes: {hosts}, full training on {full}; or take a smaller model."
    )
