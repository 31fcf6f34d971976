"""Which hosts each play meets, and which steps a host does in it: from what the run keeps on `localhost`. Pure."""

from collections.abc import Mapping
from typing import Any

from verl_provision.plan import rolling
from verl_provision.plan.steps import AT, VERIFICATION, ray_cluster
from verl_provision.plan.steps.step import Item
from verl_provision.variables import settings

OUT = ("__verl_failure", "__verl_deferred")  # a host with one of these has left the run
CLAIM = "claim"  # the step of a host that another run has (playbooks/tasks/claim.yml): it is that run's to take back
NO_HOSTS = ["all:!all"]  # a pattern that matches nobody and warns nobody

Vars = Mapping[str, Mapping[str, Any]]


def hosts(hostvars: Vars, play: str, check_mode: bool = False) -> list[str]:
    """The hosts of a play; a pattern that matches nobody where there are none, as without a run (a syntax check).

    `facts` are those that may be connected to, `failed` those that fail the run (none in plan mode: plan.yml tells what
    doesn't fit from what drifted), `before`, `disturb`, `after`, `ray` and `prove` those that have steps
    or chores there; `release` are those that this run claimed, since something was to be done on them.
    """
    known = hostvars.get("localhost", {})
    run, fleet = known.get("__verl_run", {}), known.get("__verl_fleet", {})
    if play == "facts":
        return list(run.get("look_at", [])) or NO_HOSTS
    if play == "failed":
        told = {} if run.get("mode") == "plan" else known.get("__verl_report", {})
        return [str(name) for name, verdict in told.get("verdicts", {}).items() if not verdict["well"]] or NO_HOSTS
    names = [str(name) for name in fleet.get("hosts", {})]
    if play == "release":
        return ([] if check_mode else [name for name in names if "__verl_claimed" in hostvars[name]]) or NO_HOSTS
    also = chores(hostvars, fleet, play, check_mode)
    found = [name for name in names if in_run(hostvars, fleet, name) and steps(hostvars, name, play, check_mode)]
    found = [name for name in names if name in found or name in also]
    if play == "ray":
        head = (fleet.get("cluster") or {}).get("head")
        found.sort(key=lambda name: name != head)
    return found or NO_HOSTS


def in_run(hostvars: Vars, fleet: Mapping[str, Any], name: str) -> bool:
    """Whether the host's plan is fine and nothing failed or was left there so far."""
    return bool(fleet["hosts"][name]["ok"]) and not any(fact in hostvars[name] for fact in OUT)


def chores(hostvars: Vars, fleet: Mapping[str, Any], play: str, check_mode: bool = False) -> set[str]:
    """The hosts with something to do in a play beside their steps.

    `before`: those on which this run does something are claimed. `after`: those that an earlier run left drained are
    taken back, where no step of this run did that.
    """
    if check_mode:
        return set()
    if play == "after":
        left = {str(name) for name in fleet.get("drained", []) if "__verl_drained" not in hostvars[name]}
        return {name for name in left if (hostvars[name].get("__verl_failure") or {}).get("step") != CLAIM}
    if play != "before":
        return set()
    drained = set(fleet.get("drained", []))
    return {str(name) for name, plan in fleet.get("hosts", {}).items() if works(plan) or name in drained}


def works(plan: Item) -> bool:
    """Whether anything is done on a host."""
    return bool(plan["ok"] and (plan["steps"] or plan["verification"]["needed"]))


def steps(hostvars: Vars, name: str, play: str, check_mode: bool = False) -> list[str]:
    """The steps that a host does in a play, in order.

    In check mode, and where only the cluster is started, a step that needs another planned step isn't entered: what it
    needs isn't there yet. In check mode nothing is disturbed, so all steps come before.
    """
    known = hostvars["localhost"]
    plan, mode = known["__verl_fleet"]["hosts"][name], known["__verl_run"]["mode"]
    planned = {} if mode == "verify" else plan["steps"]
    if play in ("ray", "ray_disturbed"):
        entered = entered_steps(planned, check_mode or mode == "cluster")
        wanted = ray_cluster.NAME in entered
        if play == "ray_disturbed":
            wanted = wanted and not check_mode and rolling.disruptive(planned[ray_cluster.NAME])
        return [ray_cluster.NAME] if wanted else []
    if mode == "cluster":
        return []
    together = "cluster" in plan["verification"].get("expected", {})
    proof = [VERIFICATION] if plan["verification"]["needed"] and not (check_mode and planned) else []
    if play == "prove":
        return proof if together else []
    parts = rolling.parts({step: about for step, about in planned.items() if step != ray_cluster.NAME})
    if check_mode:
        parts = {"before": entered_steps(planned, True), "disturb": [], "after": []}
        parts["before"] = [step for step in parts["before"] if step != ray_cluster.NAME]
    return parts[play] + (proof if play == "after" and not together else [])


def entered_steps(planned: Mapping[str, Item], alone: bool) -> list[str]:
    """The steps that may be begun; `alone`: what they need isn't brought about in this run."""
    return [step for step, about in planned.items() if not (alone and any(need in planned for need in about["needs"]))]


def batches(hostvars: Vars, check_mode: bool = False) -> list[int]:
    """`serial` of the play that disturbs: a canary, then batches. [] is all at once."""
    names = hosts(hostvars, "disturb", check_mode) if hostvars.get("localhost", {}).get("__verl_run") else NO_HOSTS
    return [] if names == NO_HOSTS else rolling.rolling_of(hostvars["localhost"]["__verl_run"]).sizes(len(names))


def gate(hostvars: Vars, play: str, play_hosts: list[str], batch: list[str]) -> dict[str, Any]:
    """Why what disturbs isn't begun on the hosts of this batch, `{step, by, reason, fix}`; {} where it may be.

    `play_hosts` are all hosts of the play, in its order. The nodes of a cluster begin together.
    """
    if play != "disturb" or not batch:
        return {}
    how = rolling.rolling_of(hostvars["localhost"]["__verl_run"])
    lost, left = [], []
    for name in how.before(play_hosts, batch[0]):
        failure, deferred = (hostvars[name].get(key) or {} for key in OUT)
        if deferred.get("by") == "rolling":
            left.append(name)
        elif failure or deferred.get("by") == "drain":
            lost.append(name)
    why = how.stopped(play_hosts, batch[0], lost, left)
    step = ",".join(steps(hostvars, batch[0], play))
    fix = "Mend what failed, then run again: the step is done then."
    return {"step": step, "by": "rolling", "reason": why, "fix": fix} if why else {}


def role_variables(hostvars: Vars, name: str, step: str) -> dict[str, Any]:
    """What a step's role is told, as variables of that role; never a secret.

    `AT` tells whoever watches the run which step the host is in, `__verl_set` the next playbook of the same
    invocation which variables are not the user's.
    """
    known = hostvars["localhost"]
    plan = known["__verl_fleet"]["hosts"][name]
    if step == VERIFICATION:
        told = {**plan["verification"], "again": True}
        told["state_dir"] = known["__verl_run"]["hosts"][name]["variables"]["verl_state_dir"]
    else:
        told = {**plan["steps"][step]["args"], "key": plan["steps"][step]["key"]}
    named = {f"{step}_{key}": value for key, value in told.items()}
    found = {key: value for key, value in named.items() if key in settings.open_variables(step) and value is not None}
    before = hostvars[name].get("__verl_set") or []
    return {**found, AT: step, "__verl_set": sorted({*before, *found})}


def lost(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What a host had before a step that disturbs, and hasn't any more, each in a sentence."""
    said = []
    engine, now = (((facts.get("engines") or {}).get("docker") or {}) for facts in (before, after))
    if (engine.get("reachable") or engine.get("with_sudo")) and not (now.get("reachable") or now.get("with_sudo")):
        said.append(f"Docker answered before and doesn't now: {now.get('reason') or 'no reason given'}")
    had, has = (
        [gpu.get("uuid") or gpu.get("name") for gpu in (facts.get("nvidia") or {}).get("gpus") or []]
        for facts in (before, after)
    )
    gone = [gpu for gpu in had if gpu not in has]
    if gone:
        why = (after.get("nvidia") or {}).get("reason") or "nvidia-smi lists the others"
        said.append(f"{len(gone)} of {len(had)} GPUs are gone ({', '.join(map(str, gone[:3]))}): {why}")
    return said
