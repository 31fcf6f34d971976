"""Whether the result has to be proved again, and against what."""

from collections.abc import Collection
from typing import Any

from verl_provision import versions
from verl_provision.decide.junk import text
from verl_provision.facts import Host
from verl_provision.plan.keys import digest
from verl_provision.select.decision import Decision
from verl_provision.variables import Request

CONTENT = {"verl_checkout", "training_container", "source_environment"}  # what is verified
LEVELS = ("import", "devices", "gpu", "engine", "train", "collective")
THRESHOLD = ("gpus", "size_mb", "algorithm", "busbw_gbs")


def covers(passed: str, wanted: str) -> bool:
    """Whether a pass at one level is one at another. `collective` stands beside the ladder, on `gpu`."""
    if "collective" in (passed, wanted):
        return passed == wanted or (passed == "collective" and LEVELS.index(wanted) <= LEVELS.index("gpu"))
    return LEVELS.index(passed) >= LEVELS.index(wanted)


def plan(
    host: Host,
    request: Request,
    decision: Decision,
    steps: Collection[str],
    content: dict[str, str],
    prefix: str,
    become: bool,
    settings: dict[str, Any],
    deferred: set[str],
    ray: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The plan's `verification`; `content` = the keys of the steps that make up the environment, needed or not.

    `ray`, on the head of a cluster: `{nodes, dashboard, token}`, through which level train makes its step as well.
    """
    level = request.verify_level
    if level == "auto":
        level = "gpu" if decision.profile == "gpu" else "import"
    if "level" in settings:
        level = settings["level"]
    key = digest(
        {
            "backend": decision.backend,
            "content": content,
            "driver": host.driver,
            "gpus": [gpu.model for gpu in host.gpus],
            **({"gpu_uuids": [uuid for dummy, uuid in host.gpus_used]} if host.gpus_used else {}),
            "settings": {name: value for name, value in settings.items() if name not in ("level", "again")},
            **({"nodes": ray["nodes"]} if ray and level == "train" else {}),
        }
    )
    needed, reason = _needed(host, request, steps, level, key, deferred)
    planned = {
        "level": level,
        "backend": decision.backend,
        "prefix": prefix,
        "container": request.container,
        "become": become,
        "key": key,
        "needed": needed,
        "reason": reason,
        "expected": expected(host, decision, level),
    }
    if ray and level == "train":
        planned["expected"]["cluster"] = {"nodes": ray["nodes"], "dashboard": ray["dashboard"]}
        planned["ray_token"] = ray["token"]
    if request.commit and request.source_method != "pypi":
        planned["expected"]["verl_version"] = None  # whatever that commit calls itself
    if not needed:
        planned["passed_at"] = host.verification.get("passed_at")
    return planned


def without_ray(planned: dict[str, Any]) -> None:
    """Verify the head of a cluster alone, in a run that doesn't start Ray; what passes holds for that only."""
    if planned.get("expected", {}).pop("cluster", None):
        planned.pop("ray_token")
        planned["key"] = digest([planned["key"], "without Ray"])


def _needed(
    host: Host, request: Request, steps: Collection[str], level: str, key: str, deferred: set[str]
) -> tuple[bool, str]:
    stamp = host.verification
    passed = text(stamp.get("level"))
    if deferred & CONTENT and passed in LEVELS:
        when = text(stamp.get("passed_at")) or "an earlier time"
        return False, f"what runs now was verified at {when}; the deferred change is verified when it is done"
    if steps:
        return True, "the environment changes in this run"
    if request.verify_again:
        return True, "verl_verify_again is set"
    if passed not in LEVELS:
        return True, "it was never verified"
    if level in LEVELS and not covers(passed, level):
        return True, f"verified at level {passed} only, wanted is {level}"
    if stamp.get("key") != key:
        return True, "the driver, the GPUs or the environment changed since it was verified"
    container = text(stamp.get("container_id"))
    if container and host.container and container[:12] != host.container.id[:12]:
        return True, "the container is another one than the verified one"
    return False, f"verified at {text(stamp.get('passed_at')) or 'an earlier time'}"


def expected(host: Host, decision: Decision, level: str) -> dict[str, Any]:
    """What verification checks against."""
    candidate = decision.candidate
    if candidate is None:
        return {}
    image, release = candidate.image, candidate.release
    gpu = decision.profile == "gpu"
    python = release.python if image.source else f"=={image.python}.*" if image.python else None
    queue = image.source and any(package.startswith("TransferQueue") for package in release.extra_packages)
    return {
        "profile": decision.profile,
        "gpus": len(host.gpus),
        "gpu_names": sorted({gpu.model for gpu in host.gpus}),
        **({"gpu_uuids": [uuid for dummy, uuid in host.gpus_used]} if host.gpus_used else {}),
        "compute_capabilities": sorted({gpu.arch for gpu in host.gpus if gpu.arch}),
        "driver": host.driver,
        "verl_version": release.version,
        "python": python,
        "torch": image.torch,
        "torch_cuda": versions.minor(image.cuda) if gpu and image.cuda else None,
        "engine": decision.engine,
        "engine_version": image.engines.get(decision.engine),
        "trainer": decision.trainer,
        "megatron_core": image.megatron_core if decision.trainer == "megatron" else None,
        "flash_attn": image.flash_attn if gpu else None,
        "tensordict": f">={release.tensordict_runtime}" if release.tensordict_runtime else None,
        "transfer_queue": queue,
        "numpy": release.numpy if image.source else None,
        "transformers": release.transformers if image.source else None,
        "rollout_name_required": bool(release.verify.get("rollout_name_required")),
        **({"collective": thresholds(host)} if level == "collective" else {}),
    }


def thresholds(host: Host) -> list[dict[str, Any]]:
    """What a collective over this host's GPUs should reach; nothing where they are of several kinds."""
    if not host.gpus or len({gpu.model for gpu in host.gpus}) > 1:
        return []
    return [dict(zip(THRESHOLD, entry, strict=True)) for entry in host.gpus[0].thresholds]
