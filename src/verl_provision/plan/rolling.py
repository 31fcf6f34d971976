"""Steps that disturb a host, a few hosts at a time: a canary, then batches, until too many failed. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

HARMLESS = ("none", "reload")  # of a step's `disruption`
VARIABLES = ("verl_rolling_canary", "verl_rolling_batch", "verl_rolling_max_fail_percentage")  # Rolling's, in order
TOGETHER = ("ray_cluster",)  # the nodes of a cluster start together, so no batches


def disruptive(step: Mapping[str, Any]) -> bool:
    """Whether a step of a plan ends or restarts something on its host: not for all hosts at once, and drained first."""
    return step["disruption"] not in HARMLESS


def disturbed(plans: Mapping[str, Any]) -> dict[str, list[str]]:
    """`{step: hosts that it disturbs}`, in the order of the plans."""
    found: dict[str, list[str]] = {}
    for name, plan in plans.items():
        for step, about in plan["steps"].items():
            if plan["ok"] and disruptive(about):
                found.setdefault(step, []).append(name)
    return found


def parts(steps: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """A host's steps as plays do them: `before` its first one that disturbs, what is done in its batch, and `after`.

    Steps keep their order and come after what they need. A host is drained for as little as possible: what its steps
    that disturb need (the image that a new container starts from) comes before, unless that itself needs one of them.
    """
    disturbing = [name for name, step in steps.items() if disruptive(step)]
    if not disturbing:
        return {"before": list(steps), "disturb": [], "after": []}
    first = list(steps).index(disturbing[0])
    before = list(steps)[:first]
    wanted = needed(steps, disturbing)
    batch, after = [], []
    for name in list(steps)[first:]:
        waits = needed(steps, [name]) & {*disturbing, *batch}
        if name in disturbing or (name in wanted and waits):
            batch.append(name)
        elif name in wanted:
            before.append(name)
        else:
            after.append(name)
    return {"before": before, "disturb": batch, "after": after}


def needed(steps: Mapping[str, Mapping[str, Any]], names: Collection[str]) -> set[str]:
    """The steps that `names` need, and those that these need."""
    found = {need for name in names for need in steps[name]["needs"] if need in steps}
    return found | needed(steps, found) if found else set()


@dataclass(frozen=True, slots=True)
class Rolling:
    """How a fleet goes through a step that disturbs hosts; one and the same for all of them."""

    canary: int
    batch: int
    max_fail: int  # percent

    def sizes(self, disturbed: int) -> list[int]:
        """The sizes of a play's batches, as `serial` takes them: the canary, then batches."""
        return [size for size in (min(self.canary, disturbed),) if size] + [self.batch]

    def before(self, hosts: list[str], host: str) -> list[str]:
        """Of the hosts that a step disturbs, in order, those whose batch comes before the one of `host`."""
        place = hosts.index(host)
        if place < self.canary:
            return []
        return hosts[: self.canary + (place - self.canary) // self.batch * self.batch]

    def stopped(self, hosts: list[str], host: str, lost: Collection[str], left: Collection[str]) -> str:
        """Why the step isn't begun on `host`, or ''. `lost` are hosts where it went wrong, `left` those not begun."""
        tried = [name for name in self.before(hosts, host) if name not in left]
        failed = [name for name in tried if name in lost]
        if len(failed) * 100 <= self.max_fail * len(tried):
            return ""
        some = ", ".join(failed[:5]) + (f" and {len(failed) - 5} more" if len(failed) > 5 else "")
        return (
            f"not begun: {len(failed)} of the {len(tried)} hosts before this one failed ({some}), "
            f"more than verl_rolling_max_fail_percentage ({self.max_fail}) allows"
        )


def batches(hosts: list[str], rolling: Rolling) -> list[list[str]]:
    """The hosts that a step disturbs, as they get their turn."""
    first = rolling.canary
    rest = [hosts[place : place + rolling.batch] for place in range(first, len(hosts), rolling.batch)]
    return [hosts[:first], *rest] if first else rest


def rolling_of(run: Mapping[str, Any]) -> Rolling:
    """How a run goes through steps that disturb; its hosts agree on that (inventory.py)."""
    hosts = run["hosts"].values()
    asked = next((host for host in hosts if not host["errors"]), next(iter(hosts)))["variables"]
    return Rolling(*(asked[name] for name in VARIABLES))
