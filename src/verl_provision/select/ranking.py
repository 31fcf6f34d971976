"""Which of several usable candidates is the best. docs/selection.md has the order in words, with the reasons."""

from collections.abc import Callable
from datetime import date, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from verl_provision import versions
from verl_provision.catalog.model import EVIDENCE, FLOOR_ONLY, Catalog
from verl_provision.select import wants
from verl_provision.select.candidates import Candidate
from verl_provision.select.findings import Warning
from verl_provision.select.inputs import Preferences, SelectionFacts
from verl_provision.select.rules import driver
from verl_provision.select.scenario import Advice

NATIVE, MINOR, COMPAT = "native", "minor", "compat"
AUTO, LATEST = "auto", "latest"  # what `verl_version` may say instead of a release
OLD = timedelta(days=365)  # older than that, a release is no longer what one would choose unasked

Gap = tuple[int, int]
NO_GAP: Gap = (0, 0)


class Merits(NamedTuple):
    """What a candidate is ranked by; of each the smallest is best."""

    degraded: bool  # a known defect degrades this host's use of it, or it lacks the engine that this use asks for
    gap: Gap  # how far its CUDA is ahead of the driver's: (majors, minors)
    unmet: int  # of what was asked for outright
    evidence: int
    release: tuple[Any, ...]
    advice: tuple[int, ...]  # how far it misses what the selection guide advises
    rest: tuple[Any, ...]
    date: date | None  # of the release

    @property
    def worth(self) -> tuple[Any, ...]:
        """Everything but the driver, best first."""
        return (self.degraded, self.unmet, self.evidence, self.release, self.advice, self.rest)


def tier(candidate: Candidate, facts: SelectionFacts, catalog: Catalog) -> str:
    """How the driver carries the candidate's CUDA: native, minor-version compatibility, forward compatibility."""
    cuda = candidate.image.cuda
    if not cuda or not facts.gpus or driver.is_native(cuda, facts):
        return NATIVE
    return COMPAT if driver.below_floor(candidate, facts, catalog) else MINOR


class Suit(NamedTuple):
    """How an image suits a host and its user, whatever release it is used with."""

    degraded: bool
    gap: Gap
    unmet: int
    advice: tuple[int, ...]
    rest: tuple[Any, ...]


def suit(
    candidate: Candidate,
    findings: list[tuple[str, Any]],
    facts: SelectionFacts,
    preferences: Preferences,
    advice: Advice,
    catalog: Catalog,
) -> Suit:
    """What an image's own findings, and the advice, say for it and against it."""
    image = candidate.image
    minor = tier(candidate, facts, catalog) == MINOR
    defects = sum(
        rule == "defects" and isinstance(finding, Warning) and not finding.conditional for rule, finding in findings
    )
    engine = preferences.engine if preferences.engine in image.engines else advice.engine
    return Suit(
        degraded=defects > 0 or _without_its_engine(candidate, preferences, advice),
        gap=versions.gap(image.cuda or "", facts.driver_cuda or "") if minor else NO_GAP,
        unmet=sum(not want.met(image) for want in wants.asked(preferences)) if image.known else 0,
        advice=advised(candidate, preferences, advice),
        rest=(
            advice.engine not in image.engines,
            "vllm" not in image.engines,
            defects,
            oddity(candidate),
            not image.official,
            _descending(image.engines.get(engine) or image.engines.get("vllm") or image.engines.get("sglang") or "0"),
            _descending(image.torch or "0"),
            len(image.engines),
            _descending(image.megatron_core or "0"),
            image.ref,
            image.id,
        ),
    )


def merits(candidate: Candidate, findings: list[tuple[str, Any]], suits: Suit) -> Merits:
    """What speaks for a candidate and against it; `findings` are those about the image with the release."""
    weak = bool(findings) and any(isinstance(finding, Warning) and finding.weakens for dummy, finding in findings)
    known = FLOOR_ONLY if weak else candidate.evidence
    return Merits(
        suits.degraded,
        suits.gap,
        suits.unmet,
        EVIDENCE.index(known) if known in EVIDENCE else len(EVIDENCE),
        _descending(candidate.release.version),
        suits.advice,
        suits.rest,
        candidate.release.date,
    )


def reach(found: list[Merits], preferences: Preferences) -> Gap:
    """How far ahead of the driver the image's CUDA may be, so that its verl isn't needlessly old.

    None at all, unless that means a release more than a year older than the best that any gap gives; then the smallest
    gap that ends it.
    """
    fit = [merit for merit in found if not merit.degraded] or found
    if not fit or preferences.policy == "minor":
        return NO_GAP
    newest = min(fit, key=lambda merit: merit.worth).date
    for gap in sorted({merit.gap for merit in fit}):
        best = min((merit for merit in fit if merit.gap == gap), key=lambda merit: merit.worth)
        if not older(best.date, newest):
            return gap
    return NO_GAP


def older(release: date | None, newest: date | None) -> bool:
    """Whether a release is more than a year older than another; what has no date is not."""
    return release is not None and newest is not None and newest - release > OLD


def by(preferences: Preferences, allowed: Gap) -> Callable[[Merits], tuple[Any, ...]]:
    """What gives a sortable rank, the best first; STEPS has what each part means."""
    any_gap, newest = preferences.policy == "minor", preferences.version == LATEST
    pinned = preferences.version not in (AUTO, LATEST) and (preferences.scenario != "auto" or preferences.family)

    def rank(merit: Merits) -> tuple[Any, ...]:
        reached = (False, NO_GAP) if any_gap else (merit.gap != allowed, merit.gap)
        release = merit.release if newest else ()
        scenario = merit.advice if pinned else ()  # the release is given: this chooses among its images
        return (
            *(release, merit.degraded, reached, merit.unmet, scenario, merit.evidence, merit.release, merit.advice),
            *merit.rest,
        )

    return rank


STEPS = (
    "an older verl",
    "a known defect applies here, or it has no vLLM, which is advised",
    "its CUDA is further from what the driver carries",
    "it has less of what was asked for",
    "it has less of what the scenario asks for",
    "it is less well tested with this release",
    "an older verl",
    "it has less of what is advised",
    "it does not have the engine that is advised",
    "it has no vLLM",
    "more known defects apply here",
    "it is a build for CI, a preview or for DeepEP",
    "it is not verl's own",
    "an older engine",
    "an older torch",
    "it has another engine beside the one that is used",
    "an older Megatron",
)


def difference(best: tuple[Any, ...], other: tuple[Any, ...]) -> str:
    """In words, where `other` first falls behind `best`."""
    for said, mine, yours in zip(STEPS, best, other, strict=False):
        if mine != yours:
            return said
    return "the same in all that counts; the order of references decides"


def advised(candidate: Candidate, preferences: Preferences, advice: Advice) -> tuple[int, ...]:
    """How far an image misses what the selection guide advises (0 = not at all)."""
    image = candidate.image
    if image.source:
        return ()
    missed = []
    if advice.scenario != "auto":
        missed.append(int(advice.scenario not in image.scenarios))
    if preferences.family:
        missed.append(int(preferences.family not in image.families))
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
    return tuple(missed)


def _without_its_engine(candidate: Candidate, preferences: Preferences, advice: Advice) -> bool:
    """Whether an algorithm that samples would have to do without vLLM, though nobody chose another engine."""
    return preferences.engine == "auto" and advice.engine == "vllm" and "vllm" not in candidate.image.engines


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
