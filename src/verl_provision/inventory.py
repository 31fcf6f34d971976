"""The inventory as a whole, checked before any host is touched: its groups, and what hosts must agree on."""

import difflib
import json
from collections.abc import Callable, Mapping
from typing import Any

from verl_provision.plan import rolling
from verl_provision.variables import Error

CLUSTER = "cluster"
# What has to be one and the same on all hosts that train together.
SHARED = ("verl_version", "verl_engine", "verl_trainer", "verl_image", "verl_commit")
LOCAL = ("local", "community.docker.docker", "docker", "podman")


def check(hostvars: Mapping[str, Mapping], hosts: dict[str, dict[str, Any]]) -> dict[str, list[Error]]:
    """`{host: errors}` for the hosts (`{name: {variables, ...}}`) of a run."""
    found: dict[str, list[Error]] = {name: [] for name in hosts}
    if not hosts:
        return found
    groups = hostvars[next(iter(hosts))].get("groups") or {}
    members = [str(name) for name in groups.get(CLUSTER) or []]
    for name in members:
        if name in found:
            found[name] += _disagreements(members, hosts)
    if CLUSTER not in groups:
        for group, near in _misspelt(groups).items():
            for name in near:
                if name in found:
                    found[name].append(_group_error(group))
    for name, error in _twins(hostvars, hosts).items():
        found[name].append(error)
    for error in _contradictions(hosts):
        for errors in found.values():
            errors.append(error)
    return found


def ray_cluster(
    hostvars: Mapping[str, Mapping],
    hosts: dict[str, dict[str, Any]],
    read: Callable[[Mapping[str, Any]], dict[str, Any]],
) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """`({head, members, leaving}, beyond)` of the group `cluster`; (None, []) where no host of the run is in it.

    `beyond` are its hosts outside the run of which something has to be known; `read` gives such a host's variables.
    """
    first = next(iter(hosts), None)
    names = [str(name) for name in ((hostvars[first].get("groups") or {}).get(CLUSTER) or [])] if first else []
    if not set(names) & set(hosts):
        return None, []
    nodes = {name: hosts.get(name) or read(hostvars[name]) for name in names}
    members = [name for name in names if nodes[name]["variables"]["verl_cluster_state"] == "present"]
    asked = {nodes[name]["variables"]["verl_cluster_head"] for name in members} or {None}
    head = (members or names)[0] if asked == {None} else str(sorted(asked, key=str)[0])
    for name in set(names) & set(hosts):
        if len(asked) > 1 or head not in (members or names):
            hosts[name]["errors"].append(_head_error(asked, members))
        if name in members:
            hosts[name]["errors"] += _nnodes(len(members), hosts[name]["variables"])
    # The head tells what the others have to be like; of other nodes only the address matters, where nobody gave it.
    beyond = [
        {"host": name, "gather": "all" if name == head else "network", **nodes[name]}
        for name in members
        if name not in hosts and (name == head or not own_address(nodes[name]))
    ]
    return {"head": head, "members": members, "leaving": [name for name in names if name not in members]}, beyond


def own_address(node: dict[str, Any]) -> str | None:
    """The address that the inventory gives a node."""
    return node["settings"].get("ray_cluster", {}).get("ray_cluster_address")


def _head_error(asked: set[Any], members: list[str]) -> Error:
    return {
        "variable": "verl_cluster_head",
        "found": ", ".join(sorted(repr(name) for name in asked)),
        "needed": f"one host of the group `{CLUSTER}`: {_some(members, 10)}",
        "fix": f"Set it once, in group_vars/{CLUSTER}.yml.",
    }


def _misspelt(groups: Mapping[str, Any]) -> dict[str, list[str]]:
    """Groups that were probably meant to be `cluster`; one with a number, as `cluster1`, has a meaning of its own."""
    return {
        str(group): [str(name) for name in members]
        for group, members in groups.items()
        if str(group).isalpha() and difflib.SequenceMatcher(None, str(group).lower(), CLUSTER).ratio() > 0.85
    }


def _group_error(group: str) -> Error:
    return {
        "variable": f"group {group}",
        "found": f"a group `{group}` and no group `{CLUSTER}`",
        "needed": f"`{CLUSTER}`, where these hosts are to train together",
        "fix": f"Rename the group to `{CLUSTER}`, or to something that can't be taken for it.",
    }


def _nnodes(size: int, variables: dict[str, Any]) -> list[Error]:
    """A number of nodes that isn't the cluster's."""
    wanted = variables["verl_nnodes"]
    if wanted in (size, None):
        return []
    return [
        {
            "variable": "verl_nnodes",
            "found": str(wanted),
            "needed": f"{size}, the number of hosts in group `{CLUSTER}`",
            "fix": "Leave `verl_nnodes` out: it is counted; or correct the group.",
        }
    ]


def _disagreements(members: list[str], hosts: dict[str, dict[str, Any]]) -> list[Error]:
    """What the hosts of the cluster set differently, and may not."""
    errors = []
    for variable in SHARED:
        said: dict[str, list[str]] = {}
        for name in members:
            if name in hosts:
                said.setdefault(json.dumps(hosts[name]["variables"][variable]), []).append(name)
        if len(said) > 1:
            found = "; ".join(f"{value} on {_some(names)}" for value, names in said.items())
            errors.append(
                {
                    "variable": variable,
                    "found": found,
                    "needed": f"the same on all hosts of group `{CLUSTER}`, which train together",
                    "fix": f"Set `{variable}` once, in group_vars/{CLUSTER}.yml.",
                }
            )
    return errors


def _contradictions(hosts: dict[str, dict[str, Any]]) -> list[Error]:
    """What a run has once, and two of its hosts say differently; a host whose own value is refused isn't asked."""
    errors = []
    for variable in rolling.VARIABLES:
        said: dict[str, list[str]] = {}
        for name, host in hosts.items():
            if all(error["variable"] != variable for error in host["errors"]):
                said.setdefault(json.dumps(host["variables"][variable]), []).append(name)
        if len(said) > 1:
            errors.append(
                {
                    "variable": variable,
                    "found": "; ".join(f"{value} on {_some(names)}" for value, names in said.items()),
                    "needed": "one value for all hosts of a run",
                    "fix": f"Set `{variable}` once, in group_vars/all.yml, or run on these hosts apart (--limit).",
                }
            )
    return errors


def _twins(hostvars: Mapping[str, Mapping], hosts: dict[str, dict[str, Any]]) -> dict[str, Error]:
    """Names that lead to one and the same place: two runs at once would meet there."""
    places: dict[tuple[str, ...], list[str]] = {}
    for name, host in hosts.items():
        variables = hostvars[name]
        if variables.get("ansible_connection") in LOCAL or variables.get("ansible_host") is None:
            continue
        address = (str(variables.get(key, "")) for key in ("ansible_host", "ansible_port", "ansible_user"))
        places.setdefault((*address, host["variables"]["verl_state_dir"]), []).append(name)
    return {
        name: {
            "variable": "ansible_host",
            "found": f"{place[0]} for {_some(names)}",
            "needed": "one name for each host",
            "fix": "Remove the other name, or give it a verl_state_dir of its own.",
        }
        for place, names in places.items()
        if len(names) > 1
        for name in names
    }


def _some(names: list[str], shown: int = 5) -> str:
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")
