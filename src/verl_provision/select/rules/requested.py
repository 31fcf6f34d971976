"""Rules about what was asked for: engine, trainer, and defects of an image that matter here."""

from typing import Any

from verl_provision import versions
from verl_provision.catalog import products
from verl_provision.catalog.model import Catalog
from verl_provision.decide.junk import mapping, text, texts, whole
from verl_provision.select.candidates import Candidate
from verl_provision.select.findings import Finding, Rejection, Warning
from verl_provision.select.inputs import Preferences, SelectionFacts

KNOWN_FEATURES = ("deepep",)  # others are told as notes: no variable says whether they're used


def engine(candidate: Candidate, facts: SelectionFacts, preferences: Preferences, catalog: Catalog) -> Finding | None:
    """A requested rollout engine must be in the image; an explicit image comes first."""
    image = candidate.image
    if preferences.engine in ("auto", "none") or preferences.engine in image.engines or not image.known:
        return None
    found = " and ".join(f"{name} {version}" for name, version in image.engines.items()) or "no engine"
    if preferences.image:
        return Warning(
            f"verl_image {image.id} (with {found}) comes before verl_engine {preferences.engine}",
            "Leave one of the two out.",
        )
    return Rejection(
        found, preferences.engine, f"Set verl_engine to auto, or choose an image with {preferences.engine}."
    )


def trainer(candidate: Candidate, facts: SelectionFacts, preferences: Preferences, catalog: Catalog) -> Finding | None:
    """A requested training backend must be in the image; image and scenario come first."""
    image = candidate.image
    if preferences.trainer == "auto" or preferences.trainer in image.trainers or not image.known:
        return None
    found = ", ".join(image.trainers) or "no trainer"
    if preferences.image:
        return Warning(
            f"verl_image {image.id} (with {found}) comes before verl_trainer {preferences.trainer}",
            "Leave one of the two out.",
        )
    if preferences.scenario == "prototype":  # warned about by scenario.py
        return None
    return Rejection(
        found, preferences.trainer, f"Set verl_trainer to auto, or choose an image with {preferences.trainer}."
    )


def defects(
    candidate: Candidate, facts: SelectionFacts, preferences: Preferences, catalog: Catalog
) -> Finding | list[Finding] | None:
    """A known defect that applies here: one that blocks refuses the image, one that degrades is warned about."""
    findings: list[Finding] = []
    for defect in candidate.image.defects:
        applies = mapping(defect.get("applies"))
        severity = text(defect.get("severity")) or "degrades"
        where = applies_here(applies, facts, preferences, catalog)
        if where is None or severity == "informs":
            continue
        effect, fix = text(defect.get("effect")) or "a known defect", text(defect.get("fix")) or ""
        source = f" ({defect['source']})" if text(defect.get("source")) else ""
        feature = text(applies.get("feature"))
        if feature and feature not in KNOWN_FEATURES:
            continue
        wanted = not feature or (preferences.image is not None and feature in candidate.image.tags)
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
    return [*findings, *_deepep(candidate, facts, preferences, catalog)] or None


def _deepep(candidate: Candidate, facts: SelectionFacts, preferences: Preferences, catalog: Catalog) -> list[Finding]:
    """An image that was chosen for its DeepEP needs a GPU that DeepEP was compiled for."""
    image = candidate.image
    if preferences.image is None or "deepep" not in image.tags or not image.deepep:
        return []
    for gpu in facts.kinds:
        if gpu.arch and gpu.arch not in image.deepep:
            twin = image.id.removesuffix("-deepep")
            return [
                Rejection(
                    f"{gpu.model} (compute capability {gpu.arch})",
                    f"{' or '.join(image.deepep)}: what DeepEP in this image was compiled for",
                    f"Use {twin}, the same without DeepEP, or a GPU of that family."
                    if any(other.id == twin for other in catalog.images) and twin != image.id
                    else "Choose an image without DeepEP.",
                )
            ]
    return []


def applies_here(
    applies: dict[str, Any], facts: SelectionFacts, preferences: Preferences, catalog: Catalog
) -> str | None:
    """Where on this host a defect applies, in words; None where it doesn't. No condition applies everywhere."""
    kinds = list(facts.kinds)
    if "trainer" in applies and applies["trainer"] != preferences.trainer:
        return None
    branches = texts(applies.get("driver_branches"))
    if branches and (facts.driver is None or versions.major(facts.driver) not in branches):
        return None
    parallel = whole(applies.get("tensor_parallel_min"))
    if parallel and len(facts.gpus) < parallel:
        return None
    names, capabilities = texts(applies.get("gpus")), texts(applies.get("compute_capabilities"))
    if names:
        kinds = [gpu for gpu in kinds if any(products.is_a(gpu.model, name) for name in names)]
    if capabilities:
        kinds = [gpu for gpu in kinds if gpu.arch in capabilities]
    if (names or capabilities) and not kinds:
        return None
    if names or capabilities:
        return f"{kinds[0].model} ({kinds[0].arch})"
    if branches:
        return f"driver {facts.driver}"
    return f"{len(facts.gpus)} GPUs" if parallel else facts.arch or "this host"
