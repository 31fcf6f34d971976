"""What each orchestrator is given, and what it is refused, with the reason."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from verl_provision import versions
from verl_provision.render.model import CHECKOUT, Job

NAME_MAX = {"RayJob": 47, "RayCluster": 53}  # KubeRay's own limits
SIDECAR, TOKEN_OPERATOR, TOKEN_RAY = "1.5", "1.6", "2.52"


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a target can't have: `when` it is so, what was found, what is needed, what to do."""

    when: Callable[[Job], Any]
    found: Callable[[Job], str]
    needed: str
    fix: str


@dataclass(frozen=True, slots=True)
class Target:
    """An orchestrator: its manifest's file name, also its template's, and its refusals."""

    title: str
    file: str
    refuses: tuple[Refusal, ...] = ()


def errors(made: Job) -> list[dict[str, str]]:
    """Everything that the job's target refuses."""
    reason = made.by_vendor["refused"].get(made.target)
    found = [(f"{made.gpus} {made.vendor} devices: {reason}", "another target", "KubeRay and Compose take them.")]
    found = found if reason and made.vendor else []
    found += [(one.found(made), one.needed, one.fix) for one in TARGETS[made.target].refuses if one.when(made)]
    row = {"rule": "render", "where": f"render {made.target}"}
    return [{**row, "found": what, "needed": needed, "fix": fix} for what, needed, fix in found]


def at_least(version: str | None, floor: str) -> bool:
    """Whether a version is known and not older."""
    return version is not None and versions.compare(version, floor) >= 0


def token(made: Job) -> bool:
    """Whether KubeRay can give this Ray a token: an older operator would drop the field in silence."""
    return at_least(made.site["operator_version"], TOKEN_OPERATOR) and at_least(made.ray_version, TOKEN_RAY)


ONE_NODE = Refusal(
    lambda made: made.nodes > 1,
    lambda made: f"verl_nnodes {made.nodes}",
    "one node: Compose starts containers on one machine",
    "Use render slurm or kuberay, or the group cluster (docs/cluster.md).",
)
PRODUCT = Refusal(
    lambda made: made.gpu is None,
    lambda made: "a GPU whose product is not known",
    "a product's name: the platform finds machines by it",
    "Name it with --gpu.",
)
TARGETS = {
    "slurm": Target(
        "Slurm",
        "job.sbatch",
        (
            Refusal(
                lambda made: made.runner in ("apptainer", "pyxis") and not made.image,
                lambda made: f"runner {made.runner}, and the decision is a source environment",
                "an image",
                "Leave verl_backend=source out, or use --set runner=source.",
            ),
            Refusal(
                lambda made: made.site["environment"] and made.runner != "source",
                lambda made: f"environment, and runner {made.runner}",
                "runner=source",
                "Use --set runner=source, or leave environment out.",
            ),
            Refusal(
                lambda made: made.site["image_file"] and made.runner == "source",
                lambda made: "image_file, and runner source",
                "runner=apptainer or pyxis",
                "Leave image_file out.",
            ),
        ),
    ),
    "kuberay": Target(
        "KubeRay",
        "ray.yaml",
        (
            Refusal(
                lambda made: len(made.name) > NAME_MAX[made.site["kind"]],
                lambda made: f"name of {len(made.name)} characters",
                "at most 47 for a RayJob, 53 for a RayCluster: KubeRay's services append to it",
                "Use a shorter --set name=...",
            ),
            Refusal(
                lambda made: made.ray_version is None,
                lambda made: f"no version of Ray is known for {made.image}",
                "ray_version: KubeRay's probes differ by it, and a wrong one leaves the head never ready",
                "Ask the image: docker run --rm IMAGE ray --version; then --set ray_version=...",
            ),
            Refusal(
                lambda made: made.shm_gb >= made.memory_gb,
                lambda made: f"shm_gb {made.shm_gb} of memory_gb {made.memory_gb}",
                "less than the memory: what lies in /dev/shm counts as the pod's memory",
                "Raise memory_gb or lower shm_gb.",
            ),
            Refusal(
                lambda made: made.site["scheduler"] == "kueue" and not made.site["queue"],
                lambda made: "scheduler kueue without a queue",
                "queue: Kueue finds a job by it",
                "Use --set queue=...",
            ),
            Refusal(
                lambda made: made.site["queue"] and not made.site["scheduler"],
                lambda made: f"queue {made.site['queue']} without a scheduler",
                "scheduler: volcano or kueue",
                "Use --set scheduler=kueue or scheduler=volcano.",
            ),
            Refusal(
                lambda made: made.site["working_dir"] and made.verl not in (CHECKOUT, "working_dir"),
                lambda made: "working_dir, and an image that has verl in it",
                "one verl: the image's own is patched for its GPUs",
                "Leave working_dir out.",
            ),
        ),
    ),
    "skypilot": Target("SkyPilot", "task.yaml", (PRODUCT,)),
    "dstack": Target("dstack", "task.dstack.yml", (PRODUCT,)),
    "compose": Target("Compose", "compose.yaml", (ONE_NODE,)),
}
