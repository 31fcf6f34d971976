"""What change on the host would allow something better: a newer driver, more disk, access to Docker, a Python."""

from typing import Any

from verl_provision import versions
from verl_provision.catalog import gpus
from verl_provision.catalog.model import World
from verl_provision.facts import Host
from verl_provision.select import candidates, judging, ranking, releases
from verl_provision.select.rules import driver, machine
from verl_provision.select.scenario import Wants
from verl_provision.select.wanted import Wishes

DRIVER_RULES = {"driver_floor", "native_driver", "forward_compat", "ptx_jit"}


def find(decision: Any, host: Host, wishes: Wishes, wants: Wants, world: World) -> list[dict[str, Any]]:
    """Each `{rule, change, allows, message}`, the smallest change first."""
    found = []
    if host.gpus and host.driver:
        found += _driver(decision, host, world)
    found += _one(decision, "disk", _disk_change, host)
    found += _one(decision, "python", _python_change, host)
    if decision.backend == "source" and host.gpus and wishes.backend in ("auto", "source"):
        found += _engine(decision, host, wishes, wants, world)
    return found


def _better(decision: Any, judged: Any) -> bool:
    """Whether a candidate has a newer verl than the one taken, or would be the first that can be had."""
    if decision.candidate is None:
        return True
    return versions.compare(judged.candidate.release.version, decision.candidate.release.version) > 0


def _driver(decision: Any, host: Host, world: World) -> list[dict[str, Any]]:
    """Per driver branch that would carry something better natively, the best of it."""
    first = [gpu.first_driver_branch for gpu in host.kinds if gpu.first_driver_branch]
    last = [gpu.last_driver_branch for gpu in host.kinds if gpu.last_driver_branch]
    too_old = any(versions.compare(versions.major(host.driver), branch) < 0 for branch in first)
    best: dict[tuple[Any, ...], tuple[str, Any]] = {}
    for judged in decision.judged:
        image = judged.candidate.image
        rules = {rule for rule, _ in judged.rejections}
        if not image.cuda or rules - DRIVER_RULES or not _better(decision, judged):
            continue
        if not rules and not too_old and ranking.tier(judged.candidate, host, world) == ranking.NATIVE:
            continue
        branch = gpus.native_branch(image.cuda, world)
        if branch is None or any(versions.compare(branch, end) > 0 for end in last):
            continue
        branch = max([branch, *first], key=versions.key_or_zero)
        if versions.at_least(host.driver, branch):
            continue
        key = versions.key_or_zero(branch)
        rank = judged.rank[2:]  # as if it were native
        if key not in best or rank < best[key][1].rank[2:]:
            best[key] = (branch, judged)
    found, newest = [], None
    if decision.candidate is None:
        found += _floor(decision, host, world, best)
    for key in sorted(best):
        branch, judged = best[key]
        version = judged.candidate.release.version
        if newest is None or versions.compare(version, newest) > 0:
            newest = version
            found.append(_row("driver_floor", f"driver >= {branch}", f"verl {version} ({judged.candidate.name})"))
    return found


def _floor(decision: Any, host: Host, world: World, best: dict[Any, Any]) -> list[dict[str, Any]]:
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
            versions.key_or_zero(driver.floor(item.candidate.image.cuda, world) or "0"),
            versions.key_or_zero(item.candidate.image.cuda),
        ),
    )
    oldest = driver.floor(lowest.candidate.image.cuda, world)
    if oldest and any(
        versions.compare(oldest, gpu.first_driver_branch) < 0 for gpu in host.kinds if gpu.first_driver_branch
    ):
        return []
    if oldest is None or versions.key_or_zero(versions.major(oldest)) in best:
        return []
    said = f"verl {lowest.candidate.release.version} ({lowest.candidate.name}) by minor-version compatibility"
    return [_row("driver_floor", f"driver >= {oldest}", said)]


def _one(decision: Any, rule: str, change: Any, host: Host) -> list[dict[str, Any]]:
    """The best candidate that only `rule` refuses."""
    for judged in decision.judged:
        if {name for name, _ in judged.rejections} == {rule} and _better(decision, judged):
            version = judged.candidate.release.version
            return [_row(rule, change(judged.candidate, host, judged), f"verl {version} ({judged.candidate.name})")]
    return []


def _disk_change(candidate: Any, host: Host, judged: Any) -> str:
    return f"{machine.needed_gb(candidate, host) or 0:.0f} GB free in {machine.store_of(candidate, host).path}"


def _python_change(candidate: Any, host: Host, judged: Any) -> str:
    return f"Python {candidate.release.python} with venv"


def _engine(decision: Any, host: Host, wishes: Wishes, wants: Wants, world: World) -> list[dict[str, Any]]:
    """The image that a usable container engine would allow."""
    wanted, _ = releases.wanted(wishes, world)
    pool = [candidate for image in world.images for candidate in candidates.of_image(image, wanted, world)]
    usable = [judged for judged in judging.judge(pool, host, wishes, wants, world) if not judged.rejections]
    if not usable:
        return []
    best = usable[0].candidate
    change = "a container engine (access to Docker, rootless Docker, Podman with CDI, or Apptainer)"
    return [
        _row("rights", change, f"the image {best.name} with verl {best.release.version}, built and tested upstream")
    ]


def _row(rule: str, change: str, allows: str) -> dict[str, Any]:
    return {"rule": rule, "change": change, "allows": allows, "message": f"{change} would allow {allows}"}
