"""Rules about what was asked for: engine, trainer, and defects of an image that matter here."""

from typing import Any

from verl_provision import versions
from verl_provision.catalog import gpus
from verl_provision.catalog.model import World
from verl_provision.decide.junk import mapping, text, texts, whole
from verl_provision.facts import Host
from verl_provision.select.candidates import Candidate
from verl_provision.select.findings import Finding, Rejection, Warning
from verl_provision.select.wanted import Wishes

KNOWN_FEATURES = ("deepep",)  # others are told as notes: nothing in the wishes says whether they're used


def engine(candidate: Candidate, host: Host, wishes: Wishes, world: World) -> Finding | None:
    """A wished rollout engine must be in the image; an explicit image comes before the wish."""
    image = candidate.image
    if wishes.engine in ("auto", "none") or wishes.engine in image.engines or not image.known:
        return None
    found = " and ".join(f"{name} {version}" for name, version in image.engines.items()) or "no engine"
    if wishes.image:
        return Warning(
            f"verl_image {image.id} (with {found}) comes before verl_engine {wishes.engine}",
            "Leave one of the two out.",
        )
    return Rejection(found, wishes.engine, f"Set verl_engine to auto, or choose an image with {wishes.engine}.")


def trainer(candidate: Candidate, host: Host, wishes: Wishes, world: World) -> Finding | None:
    """A wished training backend must be in the image; image and scenario come before the wish."""
    image = candidate.image
    if wishes.trainer == "auto" or wishes.trainer in image.trainers or not image.known:
        return None
    found = ", ".join(image.trainers) or "no trainer"
    if wishes.image:
        return Warning(
            f"verl_image {image.id} (with {found}) comes before verl_trainer {wishes.trainer}",
            "Leave one of the two out.",
        )
    if wishes.scenario == "prototype":  # warned about by scenario.py
        return None
    return Rejection(found, wishes.trainer, f"Set verl_trainer to auto, or choose an image with {wishes.trainer}.")


def defects(candidate: Candidate, host: Host, wishes: Wishes, world: World) -> Finding | list[Finding] | None:
    """A known defect that applies here: one that blocks refuses the image, one that degrades is warned about."""
    findings: list[Finding] = []
    for defect in candidate.image.defects:
        applies = mapping(defect.get("applies"))
        severity = text(defect.get("severity")) or "degrades"
        where = applies_here(applies, host, wishes, world)
        if where is None or severity == "informs":
            continue
        effect, fix = text(defect.get("effect")) or "a known defect", text(defect.get("fix")) or ""
        source = f" ({defect['source']})" if text(defect.get("source")) else ""
        feature = text(applies.get("feature"))
        if feature and feature not in KNOWN_FEATURES:
            continue
        wanted = not feature or (wishes.image is not None and feature in candidate.image.tags)
        if severity == "blocks" and wanted:
            findings.append(
                Rejection(
                    where,
                    f"not to be met by defect {defect.get('id')}: {effect}{source}",
                    fix or "Choose another image.",
                )
            )
        else:
            said = f"{candidate.image.id} on {where}: {effect}{source}"
            said = f"{said}; only where {feature} is used" if feature else said
            findings.append(Warning(said, fix, conditional=bool(feature)))
    return [*findings, *_deepep(candidate, host, wishes, world)] or None


def _deepep(candidate: Candidate, host: Host, wishes: Wishes, world: World) -> list[Finding]:
    """An image that was wished for its DeepEP needs a GPU that DeepEP was compiled for."""
    image = candidate.image
    if wishes.image is None or "deepep" not in image.tags or not image.deepep:
        return []
    for gpu in host.kinds:
        if gpu.capability and gpu.capability not in image.deepep:
            twin = image.id.removesuffix("-deepep")
            return [
                Rejection(
                    f"{gpu.name} (compute capability {gpu.capability})",
                    f"{' or '.join(image.deepep)}: what DeepEP in this image was compiled for",
                    f"Use {twin}, the same without DeepEP, or a GPU of that family."
                    if any(other.id == twin for other in world.images) and twin != image.id
                    else "Choose an image without DeepEP.",
                )
            ]
    return []


def applies_here(applies: dict[str, Any], host: Host, wishes: Wishes, world: World) -> str | None:
    """Where on this host a defect applies, in words; None where it doesn't. No condition applies everywhere."""
    kinds = list(host.kinds)
    if "trainer" in applies and applies["trainer"] != wishes.trainer:
        return None
    branches = texts(applies.get("driver_branches"))
    if branches and (host.driver is None or versions.major(host.driver) not in branches):
        return None
    parallel = whole(applies.get("tensor_parallel_min"))
    if parallel and len(host.gpus) < parallel:
        return None
    names, capabilities = texts(applies.get("gpus")), texts(applies.get("compute_capabilities"))
    if names:
        kinds = [gpu for gpu in kinds if any(gpus.is_a(gpu.name, name) for name in names)]
    if capabilities:
        kinds = [gpu for gpu in kinds if gpu.capability in capabilities]
    if (names or capabilities) and not kinds:
        return None
    if names or capabilities:
        return f"{kinds[0].name} ({kinds[0].capability})"
    if branches:
        return f"driver {host.driver}"
    return f"{len(host.gpus)} GPUs" if parallel else host.arch or "this host"
