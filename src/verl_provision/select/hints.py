"""What change on the host would allow something better: a newer driver, more disk, access to Docker, a Python."""

from typing import Any

from verl_provision import versions
from verl_provision.catalog import gpus
from verl_provision.catalog.model import Catalog
from verl_provision.select import candidates, judging, ranking, releases
from verl_provision.select.inputs import Preferences, SelectionFacts
from verl_provision.select.rules import driver, machine
from verl_provision.select.scenario import Advice

DRIVER_RULES = {"driver_floor", "native_driver", "forward_compat", "ptx_jit"}


def find(
    decision: Any, facts: SelectionFacts, preferences: Preferences, advice: Advice, catalog: Catalog
) -> list[dict[str, Any]]:
    """Each `{rule, change, allows, message}`, the smallest change first."""
    found = []
    if facts.gpus and facts.driver:
        found += _driver(decision, facts, catalog)
    found += _one(decision, "disk", _disk_change, facts)
    found += _one(decision, "python", _python_change, facts)
    if decision.backend == "source" and facts.gpus and preferences.backend in ("auto", "source"):
        found += _engine(decision, facts, preferences, advice, catalog)
    return found


def _better(decision: Any, judged: Any) -> bool:
    """Whether a candidate has a newer verl than the one taken, or would be the first that can be had."""
    if decision.candidate is None:
        return True
    return versions.compare(judged.candidate.release.version, decision.candidate.release.version) > 0


def _driver(decision: Any, facts: SelectionFacts, catalog: Catalog) -> list[dict[str, Any]]:
    """Per driver branch that would carry something better natively, the best of it."""
    first = [gpu.first_driver_branch for gpu in facts.kinds if gpu.first_driver_branch]
    last = [gpu.last_driver_branch for gpu in facts.kinds if gpu.last_driver_branch]
    too_old = any(versions.compare(versions.major(facts.driver), branch) < 0 for branch in first)
    best: dict[tuple[Any, ...], tuple[str, Any]] = {}
    for judged in decision.judged:
        image = judged.candidate.image
        rules = {rule for rule, _ in judged.rejections}
        if not image.cuda or rules - DRIVER_RULES or not _better(decision, judged):
            continue
        if not rules and not too_old and ranking.tier(judged.candidate, facts, catalog) == ranking.NATIVE:
            continue
        branch = gpus.native_branch(image.cuda, catalog)
        if branch is None or any(versions.compare(branch, end) > 0 for end in last):
            continue
        branch = max([branch, *first], key=versions.key_or_zero)
        if versions.at_least(facts.driver, branch):
            continue
        key = versions.key_or_zero(branch)
        rank = judged.rank[2:]  # as if it were native
        if key not in best or rank < best[key][1].rank[2:]:
            best[key] = (branch, judged)
    found, newest = [], None
    if decision.candidate is None:
        found += _floor(decision, facts, catalog, best)
    for key in sorted(best):
        branch, judged = best[key]
        version = judged.candidate.release.version
        if newest is None or versions.compare(version, newest) > 0:
            newest = version
            found.append(_row("driver_floor", f"driver >= {branch}", f"verl {version} ({judged.candidate.name})"))
    return found


def _floor(decision: Any, facts: SelectionFacts, catalog: Catalog, best: dict[Any, Any]) -> list[dict[str, Any]]:
    """The smallest driver on which anything runs, where that is less than what carries it natively."""
    able = [
        judged
        for judged in decision.judged
        if judged.candidate.image.cuda and {rule for rule, _ in judged.rejections} == {"driver_floor"}
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
        if {name for name, _ in judged.rejections} == {rule} and _better(decision, judged):
            version = judged.candidate.release.version
            return [_row(rule, change(judged.candidate, facts, judged), f"verl {version} ({judged.candidate.name})")]
    return []


def _disk_change(candidate: Any, facts: SelectionFacts, judged: Any) -> str:
    return f"{machine.needed_gb(candidate, facts) or 0:.0f} GB free in {machine.store_of(candidate, facts).path}"


def _python_change(candidate: Any, facts: SelectionFacts, judged: Any) -> str:
    return f"Python {candidate.release.python} with venv"


def _engine(
    decision: Any, facts: SelectionFacts, preferences: Preferences, advice: Advice, catalog: Catalog
) -> list[dict[str, Any]]:
    """The image that a usable container engine would allow."""
    wanted, _ = releases.wanted(preferences, catalog)
    pool = [candidate for image in catalog.images for candidate in candidates.of_image(image, wanted, catalog)]
    usable = [judged for judged in judging.judge(pool, facts, preferences, advice, catalog) if not judged.rejections]
    if not usable:
        return []
    best = usable[0].candidate
    change = "a container engine (access to Docker, rootless Docker, Podman with CDI, or Apptainer)"
    return [
        _row("rights", change, f"the image {best.name} with verl {best.release.version}, built and tested upstream")
    ]


def _row(rule: str, change: str, allows: str) -> dict[str, Any]:
    return {"rule": rule, "change": change, "allows": allows, "message": f"{change} would allow {allows}"}
