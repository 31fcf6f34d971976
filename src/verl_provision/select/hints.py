"""What would allow something better: a setting, a newer driver, more disk, access to Docker, a Python."""

from dataclasses import replace
from typing import Any

from verl_provision import versions
from verl_provision.catalog import gpus
from verl_provision.catalog.model import Catalog
from verl_provision.select import candidates, judging, ranking, releases
from verl_provision.select.inputs import Preferences, SelectionFacts
from verl_provision.select.rules import RULES, driver, machine
from verl_provision.select.scenario import Advice

HOST_RULES = {rule.id for rule in RULES if rule.scope == "host"}
DRIVER_RULES = {"driver_floor", "native_driver", "forward_compat", "ptx_jit"}


def find(
    decision: Any, facts: SelectionFacts, preferences: Preferences, advice: Advice, catalog: Catalog
) -> list[dict[str, Any]]:
    """Each `{rule, change, allows, message}`, the smallest change first."""
    found = []
    if HOST_RULES & {error["rule"] for error in decision.errors}:  # then no setting helps
        return _driver(decision, facts, preferences, catalog) if facts.gpus and facts.driver else []
    if facts.gpus and facts.driver:
        found += _policies(decision, facts, preferences, catalog)
        found += _driver(decision, facts, preferences, catalog)
    found += _one(decision, "disk", _disk_change, facts)
    found += _one(decision, "python", _python_change, facts)
    if facts.gpus and decision.backend == "source" and preferences.backend in ("auto", "source"):
        found += _engine(decision, facts, preferences, advice, catalog)
    if facts.gpus and decision.backend not in ("source", None) and preferences.backend == "auto":
        found += _source(decision, facts, preferences, advice, catalog)
    return found


def _policies(decision: Any, facts: SelectionFacts, preferences: Preferences, catalog: Catalog) -> list[dict[str, Any]]:
    """What another `verl_driver_policy`, or the newest release, would give."""
    found = []
    minor = _under(decision, preferences, {"native_driver"})
    newest = _under(decision, replace(preferences, version="latest"), {"native_driver"})
    if preferences.policy != "minor" and minor and _better(decision, minor):
        allows = f"{_shown(minor)} by minor-version compatibility"
        if preferences.version == "auto" and newest and _newer(newest, minor):
            allows += f", and with verl_version: latest {_shown(newest)}"
        found.append(_row("native_driver", "verl_driver_policy: minor", allows))
    elif preferences.version == "auto" and newest and _better(decision, newest):
        found.append(_row("release", "verl_version: latest", _shown(newest)))
    if preferences.policy != "compat":
        able = [judged for judged in decision.judged if driver.compat_allowed(judged.candidate, facts, catalog)[0]]
        compat = _under(decision, preferences, {"driver_floor", "native_driver"}, able)
        if compat and _better(decision, compat) and (minor is None or _newer(compat, minor)):
            how = "by NVIDIA's forward-compatibility libraries"
            found.append(_row("forward_compat", "verl_driver_policy: compat", f"{_shown(compat)} {how}"))
    return found


def _under(decision: Any, preferences: Preferences, lifted: set[str], among: Any = None) -> Any:
    """The best, whatever the driver carries natively, of the candidates that nothing but `lifted` refuses."""
    able = [
        judged
        for judged in (decision.judged if among is None else among)
        if not {rejection[0] for rejection in judged.rejections} - lifted
        and not any(found.weakens for found in judged.warnings)
    ]
    rank = ranking.by(replace(preferences, policy="minor"), ranking.NO_GAP)
    return min(able, key=lambda judged: rank(judged.merits), default=None)


def _shown(judged: Any) -> str:
    """`verl 0.7.1 (vllm017, tested)`."""
    candidate = judged.candidate
    known = candidate.evidence.replace("floor_only", "above its version floors only")
    return f"verl {candidate.release.version} ({candidate.name}, {known})"


def would_meet(want: Any, decision: Any, catalog: Catalog) -> str:
    """Which candidate has what is wanted, and what it would take to get it."""
    having = [judged for judged in decision.judged if want.met(judged.candidate.image) and judged.candidate.evidence]
    for judged in having:
        rules = {rule for rule, dummy in judged.rejections}
        pair = f"{judged.candidate.name} with verl {judged.candidate.release.version}"
        if not rules:
            return f"Set verl_image to {judged.candidate.name}: {pair} has it."
        branch = gpus.native_branch(judged.candidate.image.cuda, catalog) if judged.candidate.image.cuda else None
        if rules <= DRIVER_RULES and branch:
            return f"Install driver >= {branch}: {pair} has it."
        if rules <= {"disk"}:
            return f"Free the disk space that {pair} needs: it has it."
    for image in catalog.images:
        listed = catalog.served.get(image.id)
        if want.met(image) and listed:
            others = {judged.candidate.image.id for judged in having}
            if image.id not in others:
                return f"Set verl_version to {listed[0][0].version}: {image.id} has it."
    return f"No image that this host can use has it: leave {want.who.split()[0]} out, or use another host."


def _better(decision: Any, judged: Any) -> bool:
    """Whether a candidate has a newer verl than the one taken, or would be the first that can be had."""
    if decision.candidate is None:
        return True
    return _newer(judged, decision)


def _taken(decision: Any, preferences: Preferences) -> tuple[Any, ...] | None:
    """What a driver has to better where evidence counts before release: the worth of the candidate that was taken."""
    if decision.candidate is None or preferences.version != "auto":
        return None
    return next(judged.merits.worth for judged in decision.judged if judged.candidate is decision.candidate)


def _newer(one: Any, other: Any) -> bool:
    return versions.compare(one.candidate.release.version, other.candidate.release.version) > 0


def _driver(decision: Any, facts: SelectionFacts, preferences: Preferences, catalog: Catalog) -> list[dict[str, Any]]:
    """Per driver branch that would carry something better natively, the best of it."""
    first = [gpu.first_driver_branch for gpu in facts.kinds if gpu.first_driver_branch]
    last = [gpu.last_driver_branch for gpu in facts.kinds if gpu.last_driver_branch]
    too_old = any(versions.compare(versions.major(facts.driver), branch) < 0 for branch in first)
    best: dict[tuple[Any, ...], tuple[str, Any]] = {}
    taken = _taken(decision, preferences)
    for judged in decision.judged:
        image, rejections = judged.candidate.image, judged.rejections
        if not image.cuda or not all(rule in DRIVER_RULES for rule, dummy in rejections):
            continue
        if judged.merits.worth >= taken if taken else not _better(decision, judged):
            continue
        if not rejections and not too_old and ranking.tier(judged.candidate, facts, catalog) == ranking.NATIVE:
            continue
        branch = gpus.native_branch(image.cuda, catalog)
        if branch is None or any(versions.compare(branch, end) > 0 for end in last):
            continue
        branch = max([branch, *first], key=versions.key_or_zero)
        if versions.at_least(facts.driver, branch):
            continue
        key = versions.key_or_zero(branch)
        if key not in best or judged.merits.worth < best[key][1].merits.worth:  # as if it were native
            best[key] = (branch, judged)
    found, newest = [], None
    if decision.candidate is None:
        found += _floor(decision, facts, catalog, best)
    for key in sorted(best):
        branch, judged = best[key]
        version = judged.candidate.release.version
        if newest is None or versions.compare(version, newest) > 0:
            newest = version
            found.append(_row("driver_floor", f"driver >= {branch}", _shown(judged)))
    return found


def _floor(decision: Any, facts: SelectionFacts, catalog: Catalog, best: dict[Any, Any]) -> list[dict[str, Any]]:
    """The smallest driver on which anything runs, where that is less than what carries it natively."""
    able = [
        judged
        for judged in decision.judged
        if judged.candidate.image.cuda and {rule for rule, dummy in judged.rejections} == {"driver_floor"}
    ]
    if not able:
        return []
    lowest = min(
        able,
        key=lambda item: (
            versions.key_or_zero(driver.floor(item.candidate.image.cuda, catalog) or "0"),
            versions.key_or_zero(item.candidate.image.cuda),
        ),
    )
    oldest = driver.floor(lowest.candidate.image.cuda, catalog)
    if oldest and any(
        versions.compare(oldest, gpu.first_driver_branch) < 0 for gpu in facts.kinds if gpu.first_driver_branch
    ):
        return []
    if oldest is None or versions.key_or_zero(versions.major(oldest)) in best:
        return []
    said = f"verl {lowest.candidate.release.version} ({lowest.candidate.name}) by minor-version compatibility"
    return [_row("driver_floor", f"driver >= {oldest}", said)]


def _one(decision: Any, rule: str, change: Any, facts: SelectionFacts) -> list[dict[str, Any]]:
    """The best candidate that only `rule` refuses."""
    for judged in decision.judged:
        if {name for name, dummy in judged.rejections} == {rule} and _better(decision, judged):
            return [_row(rule, change(judged.candidate, facts, judged), _shown(judged))]
    return []


def _disk_change(candidate: Any, facts: SelectionFacts, judged: Any) -> str:
    return f"{machine.needed_gb(candidate, facts) or 0:.0f} GB free in {machine.store_of(candidate, facts).path}"


def _python_change(candidate: Any, facts: SelectionFacts, judged: Any) -> str:
    return f"Python {candidate.release.python} with venv"


def _engine(
    decision: Any, facts: SelectionFacts, preferences: Preferences, advice: Advice, catalog: Catalog
) -> list[dict[str, Any]]:
    """The image that a usable container engine would allow."""
    wanted, dummy = releases.wanted(preferences, catalog)
    pool = [candidate for image in catalog.images for candidate in candidates.of_image(image, wanted, catalog)]
    usable = [judged for judged in judging.judge(pool, facts, preferences, advice, catalog) if not judged.rejections]
    if not usable:
        return []
    best = usable[0].candidate
    change = "a container engine (access to Docker, rootless Docker, Podman with CDI, or Apptainer)"
    return [
        _row("rights", change, f"the image {best.name} with verl {best.release.version}, built and tested upstream")
    ]


def _source(
    decision: Any, facts: SelectionFacts, preferences: Preferences, advice: Advice, catalog: Catalog
) -> list[dict[str, Any]]:
    """The source environment, where no image fits or only an old release does."""
    wanted, dummy = releases.wanted(preferences, catalog)
    dates = [release.date for release in wanted if release.date]
    old = decision.candidate is None or ranking.older(decision.candidate.release.date, max(dates, default=None))
    if preferences.image or not old:
        return []
    pool = candidates.of_source(wanted, facts, catalog, "gpu")
    found = judging.judge(pool, facts, preferences, advice, catalog)
    best = next((judged for judged in found if not judged.rejections), None)
    if best is None or not _better(decision, best):
        return []
    return [_row("source", "verl_backend: source", f"verl {best.candidate.release.version}, built in the home")]


def _row(rule: str, change: str, allows: str) -> dict[str, Any]:
    return {"rule": rule, "change": change, "allows": allows, "message": f"{change} would allow {allows}"}
