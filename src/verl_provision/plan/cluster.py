"""Ray over the hosts of the group `cluster`: whether its nodes are alike, and which of them start Ray. Pure."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from verl_provision import addresses as ip
from verl_provision import versions
from verl_provision.decide.junk import mapping, text, texts
from verl_provision.plan import steps, verification
from verl_provision.plan.steps import Planned, ray_cluster
from verl_provision.plan.steps.ray_cluster import NAME, Place, problem
from verl_provision.select import releases

SAME = "cluster_same"
RULES = (
    SAME, "cluster_backend", "cluster_address", "cluster_head", "cluster_service", "cluster_linger", "cluster_firewall",
)  # fmt: skip


def add(
    fleet: dict[str, Any], planned: Mapping[str, Planned], group: dict[str, Any], addresses: Mapping[str, str | None]
) -> None:
    """Give every node of the cluster its step.

    `group` is `{head, members, leaving}`, names of the inventory. `planned` are the hosts whose steps are planned, in
    the run or (the head) outside of it; `addresses` what is known of hosts of which only facts were gathered.
    """
    members, head = group["members"], group["head"]
    nodes = {name: planned[name] for name in members if name in planned}
    known = {name: ray_cluster.address(node.host, node.context) for name, node in nodes.items()}
    fleet["cluster"] = {"head": head, "nodes": {name: compared(node) for name, node in nodes.items()}}
    place = Place(
        name=head,
        head=head,
        members=tuple(members),
        addresses=known | {name: ip.parse(address) for name, address in addresses.items() if name not in nodes},
        nodes=tuple(expected(name, node) for name, node in nodes.items() if name in fleet["hosts"]),
        busy=tuple(name for name, node in nodes.items() if node.host.ray_busy),
        head_state_dir=nodes[head].context.state_dir if head in nodes else None,
    )
    for name in (*nodes, *group["leaving"]):
        host, plan = planned.get(name), fleet["hosts"].get(name)
        if host and plan and not plan["errors"]:
            enter(fleet, host, replace(place, name=name, leaving=name not in nodes))
    settle(fleet)


def enter(fleet: dict[str, Any], node: Planned, place: Place) -> None:
    """Plan one node's step, and enter it into the fleet's plan."""
    plan = fleet["hosts"][place.name]
    step = ray_cluster.plan(node.host, node.request, node.decision, replace(node.context, cluster=place))
    if step is None:
        return
    for error in step.notes.errors:
        refuse(plan, error)
    plan["warnings"] += step.notes.warnings
    plan["deferred"] += step.notes.deferred
    if step.reason and not step.notes.errors:
        plan["steps"][NAME] = steps.entry(NAME, step, plan["steps"])
        fleet["step_hosts"].setdefault(NAME, []).append(place.name)


def expected(name: str, node: Planned) -> dict[str, Any]:
    """What Ray is to say of this node."""
    address, gpus = ray_cluster.address(node.host, node.context), ray_cluster.gpus(node.host, node.context)
    return {"name": name, "address": address, "gpus": gpus}


def compared(node: Planned) -> dict[str, Any]:
    """What is compared between nodes, as plain data."""
    host, decision, told = node.host, node.decision, node.context
    image, release, checkout = decision.candidate.image, decision.candidate.release, host.checkout or {}
    address = ray_cluster.address(host, told)
    deferred = {item["step"] for item in node.notes.deferred}
    ours = node.arguments("verl_checkout")
    wanted = str(ours["version"] if ours else release.version)
    found = {
        "backend": str(decision.backend),
        "ref": image.ref,  # its name, whatever mirror it comes from
        "digest": image.digest or local_digest(node, image.ref),
        "verl": str(checkout.get("commit") or wanted) if "verl_checkout" in deferred else wanted,
        "commit": None if told.has_work("verl_checkout") else text(checkout.get("commit")),
        "python": None,
        "ray": None,
        "family": address and ip.family(address),
    }
    if decision.backend != "source":
        return found
    found["ref"] = f"a source environment, verl {release.version}, torch {image.torch}"
    if ours is None:  # from the index: a checkout that lies there is nobody's business
        found["commit"] = None
        if "source_environment" in deferred:
            found["verl"] = text(mapping(host.source).get("verl_version")) or wanted
    # Ray asks for the same of these, too; an image has them in it. Those of an environment that is still to be
    # built are compared by the role, before it starts anything.
    built = ray_cluster.built(host, told)
    found["ray"] = text(built.get("ray"))
    python = text(built.get("python"))
    if not host.source:
        chosen, dummy = releases.choose_python(host, release)
        python = chosen.version if chosen else release.python_recommended
    found["python"] = versions.minor(python) if python else None
    return found


def local_digest(node: Planned, ref: str) -> str | None:
    """The digest of the image that is on the host under a tag that nobody pinned."""
    refs = {ref, mapping(node.arguments("training_container")).get("image")}
    for local in node.host.local_images:
        if refs & set(texts(local.get("refs"))):
            return next((digest.rpartition("@")[2] for digest in texts(local.get("digests"))), None)
    return None


FACETS = (
    ("backend", "backend"), ("ref", "image"), ("digest", "image"), ("verl", "verl at"), ("commit", "verl at commit"),
    ("python", "Python"), ("ray", "Ray"), ("family", "an address of"),
)  # fmt: skip
FIX = "Set verl_image and verl_version for the group cluster to what all its hosts can have."
FIXES = {
    "backend": "Set verl_backend for the group cluster: containers and source environments don't mix in one.",
    "python": "Set source_environment_python or verl_source_manager so that all have it, and remove ~/verl/env there.",
    "family": ray_cluster.ONE_FAMILY,
    "ray": "Remove ~/verl/env and run again; source_environment_constraints keeps Ray at one version everywhere.",
}


def differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """What a node's state file says otherwise than the head's: what a run has checked out or built itself.

    The plan has compared what was there before it. Of Python the minor release counts, as for Ray.
    """
    found = []
    names = dict(FACETS)
    for name, what in (("verl_version", "verl"), *((name, names[name]) for name in ("commit", "ray", "python"))):
        own, heads = text(mapping(here).get(name)), text(mapping(there).get(name))
        if name == "python":
            own, heads = (value and versions.minor(value) for value in (own, heads))
        if own and heads and own != heads:
            found.append(f"{what} {own}, the head has {heads}")
    return found


# ---- the cluster as a whole, over plain data: asked again when preflight has resolved tags


def settle(fleet: dict[str, Any]) -> None:
    """Refuse the nodes that differ from the others, and start nothing where one does or the head can't be there."""
    cluster = fleet.get("cluster")
    if not cluster:
        return
    nodes, head = cluster["nodes"], cluster["head"]
    for name, node in nodes.items():
        image = mapping(mapping(fleet["hosts"].get(name)).get("image"))
        node["digest"] = text(image.get("digest")) or node["digest"]
    reasons: list[str] = []
    others: dict[str, set[str]] = {}  # by facet: the nodes that differ in it
    for facet, what in FACETS:
        apart = others["backend"] | (others["ref"] if facet == "digest" else set()) if others else set()
        values = {n: value for n, node in nodes.items() if n not in apart and (value := _facet(node, facet))}
        wanted = _most(values, head)
        others[facet] = {name for name, value in values.items() if value != wanted}
        for name, value in values.items():
            if value != wanted:
                reasons.append(f"{name} has {what} {value}, the others {wanted}")
                needed = f"{what} {wanted}, as {_who(values, wanted, head)}: Ray wants the same on every node"
                refuse(fleet["hosts"].get(name), problem(SAME, f"{what} {value}", needed, FIXES.get(facet, FIX)))
    first = fleet["hosts"].get(head)
    if first is not None and not first["ok"] and not reasons:
        reasons.append(f"the head {head} is refused")
    if reasons:
        for name in nodes:
            hold(fleet, name, "; ".join(reasons))


def _facet(node: dict[str, Any], facet: str) -> str | None:
    """What is compared; None where it isn't known yet, as a tag's digest before preflight."""
    if facet == "digest" and node["digest"]:
        return f"{node['ref']}@{node['digest']}"
    return node[facet]


def _most(values: dict[str, str], head: str) -> str | None:
    """What most nodes have; the head decides where as many have something else."""
    count = Counter(values.values())
    return max(count, key=lambda value: (count[value], values.get(head) == value), default=None)


def _who(values: dict[str, str], wanted: str | None, head: str) -> str:
    names = [name for name, value in values.items() if value == wanted]
    shown = sorted(names, key=lambda name: name != head)[:3]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return f"{', '.join(shown)}{more} have"


def refuse(plan: dict[str, Any] | None, problem: dict[str, Any]) -> None:
    """Speak against a host's plan; a host outside the run has none."""
    if plan is not None and problem not in plan["errors"]:
        plan["ok"] = False
        plan["errors"].append(problem)


def hold(fleet: dict[str, Any], name: str, because: str) -> None:
    """Start nothing on this node in this run."""
    plan = mapping(fleet["hosts"].get(name))
    verification.without_ray(mapping(plan.get("verification")))
    step = plan.get("steps", {}).pop(NAME, None)
    if step is None:
        return
    fleet["step_hosts"][NAME].remove(name)
    plan["deferred"].append(
        {
            "step": NAME,
            "action": "start Ray",
            "disruption": "none",
            "because": because,
            "fix": "Mend that host, then run again: the nodes of a cluster start together.",
        }
    )
