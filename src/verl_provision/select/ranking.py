"""Which of several usable candidates is the best. docs/selection.md has the order in words."""

from functools import lru_cache
from typing import Any

from verl_provision import versions
from verl_provision.catalog.model import EVIDENCE, Catalog
from verl_provision.select.candidates import Candidate
from verl_provision.select.findings import Warning
from verl_provision.select.inputs import Preferences, SelectionFacts
from verl_provision.select.rules import driver
from verl_provision.select.scenario import Advice

NATIVE, MINOR, COMPAT = "native", "minor", "compat"
TIERS = (NATIVE, MINOR, COMPAT)


def tier(candidate: Candidate, facts: SelectionFacts, catalog: Catalog) -> str:
    """How the driver carries the candidate's CUDA: native, minor-version compatibility, forward compatibility."""
    cuda = candidate.image.cuda
    if not cuda or not facts.gpus or driver.is_native(cuda, facts):
        return NATIVE
    return COMPAT if driver.below_floor(candidate, facts, catalog) else MINOR


def rank(
    candidate: Candidate,
    findings: list[tuple[str, Any]],
    facts: SelectionFacts,
    preferences: Preferences,
    advice: Advice,
    catalog: Catalog,
) -> tuple[Any, ...]:
    """A sortable rank, the best first:

    tier (native, then minor-version compatibility by the smallest CUDA gap, then forward compatibility); newest verl;
    what the scenario, trainer, size and algorithm want; CI-tested, inherited by a patch release, documented, above
    the floors only; the wanted engine, vLLM; fewest defects that apply; an image for users before one for CI, preview
    or DeepEP; verl's own; the newest engine, torch; the reference.
    """
    image = candidate.image
    place = tier(candidate, facts, catalog)
    number = TIERS.index(place)
    gap = versions.gap(image.cuda or "", facts.driver_cuda or "") if place == MINOR else (0, 0)
    if preferences.policy == "minor" and place == MINOR:
        number, gap = 0, (0, 0)
    return (
        number,
        gap,
        _descending(candidate.release.version),
        preference(candidate, advice, preferences),
        EVIDENCE.index(candidate.evidence) if candidate.evidence in EVIDENCE else len(EVIDENCE),
        advice.engine not in image.engines,
        "vllm" not in image.engines,
        sum(
            rule == "defects" and isinstance(finding, Warning) and not finding.conditional for rule, finding in findings
        ),
        oddity(candidate),
        not image.official,
        _descending(image.engines.get("vllm") or image.engines.get("sglang") or "0"),
        _descending(image.torch or "0"),
        image.ref,
        image.id,
    )


def preference(candidate: Candidate, advice: Advice, preferences: Preferences) -> tuple[int, ...]:
    """How far an image misses what is wanted of it (0 = not at all), beyond what the rules ask."""
    image = candidate.image
    if image.source:
        return ()
    missed = []
    if advice.trainer == "megatron" or advice.scenario == "large_model":
        missed.append(int("megatron" not in image.trainers))
    if advice.strong_vllm:
        missed.append(int("vllm" not in image.engines))
    if advice.families:
        missed.append(int(not image.families))
    if advice.flashinfer:
        tagged = "flashinfer" in image.tags or advice.scenario in image.scenarios
        missed.append(0 if tagged else 1 if image.flashinfer else 2)
    if advice.light:
        missed.append(0 if "lightweight" in image.tags else 1 if "vllm" not in image.engines else 2)
    if preferences.family:
        missed.append(int(preferences.family not in image.families))
    return tuple(missed)


def oddity(candidate: Candidate) -> int:
    """What speaks against an image that would do as well as another."""
    image = candidate.image
    return sum(tag in image.tags for tag in ("preview", "deepep")) + (image.role != "app")


@lru_cache(maxsize=1024)
def _descending(version: str) -> tuple[Any, ...]:
    """A key that sorts the newest first."""
    numbers, phase, number = versions.key_or_zero(version)
    padded = (*numbers, 0, 0, 0, 0, 0, 0)[:6]
    return (*(-part for part in padded), -phase, -number)


STEPS = (
    "its CUDA is further from what the driver carries",
    "its CUDA is further from what the driver carries",
    "an older verl",
    "it has less of what is wanted",
    "it is less well tested with this release",
    "it does not have the engine that is wanted",
    "it has no vLLM",
    "more known defects apply here",
    "it is a build for CI, a preview or for DeepEP",
    "it is not verl's own",
    "an older engine",
    "an older torch",
)


def difference(best: tuple[Any, ...], other: tuple[Any, ...]) -> str:
    """In words, where `other` first falls behind `best`."""
    for said, mine, yours in zip(STEPS, best, other, strict=False):
        if mine != yours:
            return said
    return "the same in all that counts; the order of references decides"
