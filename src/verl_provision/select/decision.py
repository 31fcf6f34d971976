"""The decision for one host: backend, image and release, with everything that was rejected."""

import difflib
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from verl_provision import versions
from verl_provision.catalog.model import Catalog, Release
from verl_provision.select import backend as backends
from verl_provision.select import candidates, hints, ranking, releases, scenario, wants
from verl_provision.select.candidates import Candidate
from verl_provision.select.findings import Rejection, Warning
from verl_provision.select.inputs import Preferences, SelectionFacts
from verl_provision.select.judging import Judged, judge
from verl_provision.select.rules import RULES, ask
from verl_provision.select.scenario import Advice

RUNNERS_UP = 3
# What no driver and no setting changes.
GPU_RULES = frozenset({"vendor", "cpu_architecture", "compute_capability", "end_of_life"})


@dataclass(slots=True)
class Decision:
    """What is decided for a host; shared by hosts of which the same is known."""

    ok: bool = False
    profile: str = "cpu"
    backend: str | None = None
    choice: backends.Choice = field(default_factory=backends.Choice)
    candidate: Candidate | None = None
    tier: str | None = None
    engine: str = "none"
    trainer: str = "fsdp"
    scenario: str = "auto"
    why: list[str] = field(default_factory=list)
    warnings: list[dict[str, Any]] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    runners_up: list[dict[str, Any]] = field(default_factory=list)
    hints: list[dict[str, Any]] = field(default_factory=list)
    judged: list[Judged] = field(default_factory=list)

    @property
    def id(self) -> str:
        """Names what was rejected: the same for hosts with the same reasons."""
        told = json.dumps([self.rejected, self.hints, self.runners_up], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:16]


def decide(facts: SelectionFacts, preferences: Preferences, catalog: Catalog) -> Decision:
    """Judge every candidate by every rule and take the best."""
    decision = Decision(profile="gpu" if facts.gpus else "cpu", scenario=preferences.scenario)
    decision.warnings += [Warning(fault).row("catalog") for fault in catalog.faults]
    _host_rules(decision, facts, preferences, catalog)
    wanted, error = releases.wanted(preferences, catalog)
    if error:
        decision.errors.append(error)
    if any(error["rule"] in ("vendor_apply", "driver_state") for error in decision.errors):
        return decision  # nothing is known about the GPUs that the other rules ask for
    decision.choice = choice = backends.choose(facts, preferences, catalog)
    decision.backend = choice.name
    decision.errors += choice.errors
    facts = facts.served_by(choice.name)
    advice = scenario.resolve(preferences, facts)
    pool, errors = _pool(choice.name, wanted, facts, preferences, catalog)
    decision.errors += errors
    decision.judged = judge(pool, facts, preferences, advice, catalog)
    usable = [judged for judged in decision.judged if not judged.rejections]
    decision.rejected = _rejected(decision, choice)
    if usable and not decision.errors:
        _take(decision, usable, facts, preferences, advice, catalog)
    elif decision.judged and not usable:
        decision.errors += nearest(decision.judged)
    elif not decision.judged and not decision.errors:
        decision.errors.append(empty_catalog())
    decision.hints = hints.find(decision, facts, preferences, advice, catalog)
    if decision.ok:
        decision.warnings = [*_old(decision, preferences), *decision.warnings]
    return decision


def _host_rules(decision: Decision, facts: SelectionFacts, preferences: Preferences, catalog: Catalog) -> None:
    for rule in RULES:
        if rule.scope != "host":
            continue
        for finding in ask(rule, None, facts, preferences, catalog):
            if isinstance(finding, Rejection):
                decision.errors.append(finding.error(rule.id))
            else:
                decision.warnings.append(finding.row(rule.id))


def _pool(
    name: str | None, wanted: tuple[Any, ...], facts: SelectionFacts, preferences: Preferences, catalog: Catalog
) -> tuple[list[Candidate], list[dict[str, Any]]]:
    """The candidates of a backend, and an error where `verl_image` names none of them."""
    if name == "source":
        profile = "gpu" if facts.gpus else "cpu"
        return candidates.of_source(wanted, facts, catalog, profile), []
    if preferences.image is None:
        return [candidate for image in catalog.images for candidate in candidates.of_image(image, wanted, catalog)], []
    image = candidates.wanted_image(preferences, catalog)
    if image is None and preferences.force:
        image = candidates.unknown_image(preferences.image)
    if image is None:
        return [], [unknown_image(preferences, catalog)]
    return candidates.of_image(image, wanted, catalog), []


def unknown_image(preferences: Preferences, catalog: Catalog) -> dict[str, Any]:
    """The error for an image that the catalog doesn't have."""
    names = [name for image in catalog.images for name in (image.id, image.ref)]
    near = difflib.get_close_matches(preferences.image or "", names, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]}? " if near else ""
    return {
        "rule": "image",
        "found": f"verl_image {preferences.image}",
        "needed": "an id or reference of the catalog",
        "where": "verl_image",
        "fix": f"{hint}Describe your own in a file that verl_catalog_extra names, or set verl_image_force.",
    }


def _take(
    decision: Decision,
    usable: list[Judged],
    facts: SelectionFacts,
    preferences: Preferences,
    advice: Advice,
    catalog: Catalog,
) -> None:
    best = usable[0]
    candidate = best.candidate
    decision.ok, decision.candidate = True, candidate
    decision.tier = ranking.tier(candidate, facts, catalog) if facts.gpus else None
    decision.engine = engine_of(candidate, preferences, advice)
    decision.trainer = trainer_of(candidate, preferences, advice)
    decision.warnings += [finding.row(rule) for rule, finding in best.findings]
    decision.warnings += [warning.row("scenario") for warning in advice.warnings] if not preferences.image else []
    decision.warnings += _unmet(decision, preferences, advice, catalog) if facts.gpus else []
    decision.warnings += _unused(decision, preferences)
    decision.why = _why(decision, facts, preferences, advice)
    shown: set[str] = {candidate.name}
    for judged in usable[1:]:
        if judged.candidate.name not in shown and len(decision.runners_up) < RUNNERS_UP:
            shown.add(judged.candidate.name)
            decision.runners_up.append(_runner_up(judged, best, facts, catalog))


def engine_of(candidate: Candidate, preferences: Preferences, advice: Advice) -> str:
    """The rollout engine that will be used."""
    engines = candidate.image.engines
    if preferences.engine == "none" or not engines:
        return "none"
    for name in (preferences.engine, advice.engine, "vllm", "sglang"):
        if name in engines:
            return name
    return "none"


def trainer_of(candidate: Candidate, preferences: Preferences, advice: Advice) -> str:
    """The training backend that will be used."""
    if advice.trainer in candidate.image.trainers:
        return advice.trainer
    return "megatron" if candidate.image.trainers == ("megatron",) else "fsdp"


def _unmet(decision: Decision, preferences: Preferences, advice: Advice, catalog: Catalog) -> list[dict[str, Any]]:
    """What was asked for or advised and isn't in the image that is best all the same, with what would meet it."""
    image = decision.candidate.image
    if not image.known or preferences.image:
        return []
    return [
        Warning(
            f"{want.who} wants {want.what}; {decision.candidate.name} with verl "
            f"{decision.candidate.release.version} does not have it",
            hints.would_meet(want, decision, catalog),
        ).row("scenario")
        for want in (*wants.asked(preferences), *wants.advised(preferences, advice))
        if not want.met(image)
    ]


def _unused(decision: Decision, preferences: Preferences) -> list[dict[str, Any]]:
    """What was asked for by name and plays no part in what was chosen."""
    found = []
    if preferences.image and decision.candidate.image.source:
        said = f"verl_image {preferences.image} is not used: the backend is a source environment"
        found.append(Warning(said, "Set verl_backend to a container engine that this host has.").row("image"))
    if preferences.policy == "compat" and decision.tier != ranking.COMPAT:
        refused = (
            finding for judged in decision.judged for rule, finding in judged.rejections if rule == "forward_compat"
        )
        why_not = next(refused, None)
        if why_not:
            said = f"verl_driver_policy compat gives nothing here: {why_not.found}"
            found.append(Warning(said, why_not.fix).row("forward_compat"))
    return found


def _not_taken(decision: Decision, preferences: Preferences) -> list[str]:
    """Why a newer release than the one chosen was not: the reason of the candidate that came nearest."""
    release, newest = decision.candidate.release, _newest(decision)
    if preferences.version not in (ranking.AUTO, ranking.LATEST) or newest is None or preferences.image:
        return []
    if versions.compare(newest.version, release.version) <= 0:
        return []
    near = min(
        (judged for judged in decision.judged if judged.candidate.release is newest and _runs_on_the_gpu(judged)),
        key=lambda judged: (len(judged.rejections), judged.rank),
    )
    if near.rejections:
        because = f"found {near.rejections[0][1].found}, needed {near.rejections[0][1].needed}"
    else:
        best = next(judged for judged in decision.judged if judged.candidate is decision.candidate)
        weak = (found.message for found in near.warnings if found.weakens)
        because = next(weak, ranking.difference(best.rank, near.rank))
    return [f"not verl {newest.version} ({near.candidate.name}): {because}"]


def _newest(decision: Decision) -> Release | None:
    """The newest release that something serves which the GPU can run, whatever driver and settings say."""
    able = (judged for judged in decision.judged if _runs_on_the_gpu(judged))
    newest = min(able, key=lambda judged: judged.merits.release, default=None)
    return newest.candidate.release if newest else None


def _old(decision: Decision, preferences: Preferences) -> list[dict[str, Any]]:
    """The warning of a release that nobody would choose unasked."""
    release, newest = decision.candidate.release, _newest(decision)
    if preferences.version not in (ranking.AUTO, ranking.LATEST) or newest is None:
        return []
    if not ranking.older(release.date, newest.date):
        return []
    said = (
        f"verl {release.version} is of {release.date}, more than a year older than verl {newest.version} of "
        f"{newest.date}, which the GPU can run"
    )
    newer = [hint["message"] for hint in decision.hints]
    return [Warning(said, f"{newer[0]}." if newer else "Set verl_version to latest.").row("old_release")]


def _runs_on_the_gpu(judged: Judged) -> bool:
    return bool(judged.candidate.evidence) and not any(rule in GPU_RULES for rule, dummy in judged.rejections)


def _why(decision: Decision, facts: SelectionFacts, preferences: Preferences, advice: Advice) -> list[str]:
    candidate = decision.candidate
    image, release = candidate.image, candidate.release
    why = [f"backend {decision.backend}: {decision.choice.how}"]
    tried = dict((name, rejection) for name, rejection, dummy in decision.choice.passed if name != decision.backend)
    why += [f"skipped {name}: {rejection.found}" for name, rejection in tried.items()]
    chosen = {
        ranking.AUTO: "the best known that this host can have",
        ranking.LATEST: "the newest that this host can have",
    }.get(preferences.version, "asked for")
    if facts.gpus and preferences.version == ranking.AUTO and decision.tier == ranking.NATIVE:
        chosen = "the best known whose CUDA this driver carries natively"
    why.append(f"verl {release.version}: {chosen}")
    why += _not_taken(decision, preferences)
    if image.source:
        if not facts.gpus:
            why.append("profile cpu: a development environment without GPU support; rollout and training need GPUs")
        elif image.cuda:
            why.append(_carries(image, decision.tier, facts))
        return why
    contents = ", ".join(f"{name} {version}" for name, version in image.engines.items())
    why.append(f"image {image.id}: {contents or 'no engine'}, torch {image.torch}, {_proof(candidate)}")
    if facts.gpus and image.cuda:
        why.append(_carries(image, decision.tier, facts))
    why += advice.why if preferences.image is None else [f"verl_image {preferences.image} was asked for"]
    return why


def _carries(image: Any, tier: str | None, facts: SelectionFacts) -> str:
    how = {
        "native": "carries it natively",
        "minor": "runs it by minor-version compatibility",
        "compat": "needs the forward-compatibility libraries for it",
    }[tier or "native"]
    built = f"its torch is built for CUDA {versions.minor(image.cuda)}"
    return f"{built}; driver {facts.driver} (CUDA {facts.driver_cuda}) {how}"


def _proof(candidate: Candidate) -> str:
    return {
        "tested": f"tested by the CI of verl {candidate.basis}",
        "inherited": f"tested by the CI of verl {candidate.basis}, which {candidate.release.version} patches",
        "documented": f"named by the documentation of verl {candidate.basis}",
        "floor_only": f"above the version floors of verl {candidate.basis}, tested by nobody known",
    }.get(candidate.evidence, "not in the catalog")


def _runner_up(judged: Judged, best: Judged, facts: SelectionFacts, catalog: Catalog) -> dict[str, Any]:
    candidate = judged.candidate
    tier = ranking.tier(candidate, facts, catalog) if facts.gpus else None
    return {
        "candidate": candidate.name,
        "verl_version": candidate.release.version,
        "tier": tier,
        "because": ranking.difference(best.rank, judged.rank),
    }


def _rejected(decision: Decision, choice: backends.Choice) -> list[dict[str, Any]]:
    """Every rejection once: those about an image once for all its releases, then those of its releases."""
    rows = [rejection.row(name, rule) for name, rejection, rule in choice.passed]
    seen = set()
    for judged in decision.judged:
        for rule, finding in judged.rejections:
            told = (judged.candidate.name, rule, finding)
            if told not in seen:
                seen.add(told)
                rows.append(finding.row(judged.candidate.name, rule))
    kept = []
    for row in rows:
        if row not in kept[: len(choice.passed)]:
            kept.append(row)
    return kept


def empty_catalog() -> dict[str, Any]:
    """The error where there's nothing to choose from."""
    return {
        "rule": "catalog",
        "found": "no candidate",
        "needed": "an image or a release in the catalog",
        "where": None,
        "fix": "Check catalog/ and verl_catalog_extra.",
    }


def nearest(judged: list[Judged]) -> list[dict[str, Any]]:
    """The errors of the candidate that lacks least: serves the release, runs on the GPU, fewest rejections,
    oldest CUDA."""
    closest = min(judged, key=_distance)
    where = f"{closest.candidate.name} with verl {closest.candidate.release.version}, the nearest candidate"
    return [finding.error(rule, where) for rule, finding in closest.rejections]


def _distance(item: Judged) -> tuple[Any, ...]:
    rules = {rule for rule, dummy in item.rejections}
    cuda = versions.key_or_zero(item.candidate.image.cuda or "0") if "driver_floor" in rules else ()
    return (not item.candidate.evidence, len(rules & GPU_RULES), len(rules), cuda)
