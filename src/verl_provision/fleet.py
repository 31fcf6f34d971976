"""The run as the playbooks see it: variables read, hosts planned, steps dealt out. Pure, over plain data."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from verl_provision import __version__, access, catalog, inventory
from verl_provision.boundary import documents
from verl_provision.paths import ROOT
from verl_provision.plan import cluster, preflight, rolling
from verl_provision.plan import fleet as decide
from verl_provision.plan.plays import NO_HOSTS
from verl_provision.variables import Reader, Request

VERIFICATION = ROOT / "roles/verification/files"


def begin(hostvars: Mapping[str, Mapping], hosts: list[str], about: dict[str, Any]) -> dict[str, Any]:
    """Read every host's variables; nothing has been connected to yet.

    Returns the run: `{id, mode, started, ..., hosts: {NAME: {variables, settings, secrets, errors}}, look_at}`, where
    `secrets` are names, `errors` is what was refused, and `look_at` are the hosts that may be connected to.
    `cluster` is the Ray cluster of the inventory's group `cluster` (null without one); `beyond` are its hosts that
    `--limit` leaves out and of which something has to be known.
    """
    run = {
        "id": about["started"].replace("-", "").replace(":", ""),
        "version": __version__,
        **about,
        "hosts": {},
    }
    reader = Reader()
    for name in hosts:
        read = reader.read(own(hostvars, name))
        values = dict(read.values)
        if about["mode"] == "verify":
            values["verl_verify_again"] = True
        if "verl_nnodes" not in read.given:
            values["verl_nnodes"] = None  # counted below
        run["hosts"][name] = {
            "variables": values,
            "settings": read.settings,
            "secrets": list(read.secrets),
            "errors": list(read.errors),
        }
    for name, errors in inventory.check(hostvars, run["hosts"]).items():
        run["hosts"][name]["errors"] += errors
    run["cluster"], run["beyond"] = inventory.ray_cluster(hostvars, run["hosts"], outside)
    for name, host in run["hosts"].items():
        if host["variables"]["verl_nnodes"] is None:
            members = (run["cluster"] or {}).get("members", [])
            host["variables"]["verl_nnodes"] = len(members) if name in members else 1
    run["look_at"] = [name for name, host in run["hosts"].items() if not host["errors"]] or NO_HOSTS
    return run


class Own(Mapping):
    """A host's variables without those that a step of this invocation set; each is worked out when it is asked for."""

    def __init__(self, variables: Mapping[str, Any], kept: dict[str, Any]):
        self.variables, self.kept = variables, kept
        self.names = [name for name in variables if name not in (variables.get("__verl_set") or []) or name in kept]

    def __getitem__(self, name: str) -> Any:
        return self.kept[name] if name in self.kept else self.variables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def own(hostvars: Mapping[str, Mapping], name: str) -> Mapping[str, Any]:
    """What the user set for a host. Two playbooks in one invocation: the first one's steps set variables of roles."""
    variables = hostvars[name]
    set_here = variables.get("__verl_set")
    if not set_here:
        return variables
    before = hostvars["localhost"]["__verl_run"]["hosts"].get(name, {}).get("settings", {})
    return Own(variables, {key: value for own in before.values() for key, value in own.items() if key in set_here})


def outside(variables: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of a host that `--limit` leaves out; what is wrong with them is for a run with it."""
    read = Reader().read(variables)
    return {"variables": read.values, "settings": read.settings, "errors": []}


def plan(hostvars: Mapping[str, Mapping], run: dict[str, Any]) -> dict[str, Any]:
    """Plan every host of the run; see catalog/schema/plan.json. Unlooked hosts are in `unlooked`."""
    inputs: dict[str, Any] = {}
    unlooked: dict[str, dict[str, str]] = {}
    for name, host in run["hosts"].items():
        inputs[name] = {**host, "facts": None}
        if host["errors"]:
            continue
        try:
            inputs[name]["facts"] = looked(name, hostvars[name].get("__verl_facts"))
        except NoFacts as why:
            unlooked[name] = {"state": why.state, "reason": str(why)}
            del inputs[name]
            continue
        verification = {**host["settings"].get("verification", {}), "verification_script": script_hash()}
        stamps = inputs[name]["facts"].get("stamps") or {}
        inputs[name]["secrets"] = access.states(host["secrets"], hostvars[name], stamps)
        inputs[name]["settings"] = {**host["settings"], "verification": verification}
    for name in {(run["cluster"] or {}).get("head")} & set(inputs):
        inputs[name]["head"] = True
    planners: dict[str, Any] = {}
    fleet = planned(inputs, planners)
    if run["cluster"]:
        cluster.add(fleet, planners, run["cluster"], look_beyond(hostvars, run, planners))
    fleet["unlooked"] = unlooked
    fleet["machines"] = {name: machine(host["facts"]) for name, host in inputs.items() if host["facts"]}
    add_ways(fleet, hostvars, inputs)
    fleet["preflight"] = preflight.queue(fleet)
    fleet["disturbed"] = rolling.disturbed(fleet["hosts"])
    fleet["drained"] = [name for name, host in inputs.items() if fleet["hosts"][name]["ok"] and drained(host)]
    return fleet


class NoFacts(Exception):
    """A host that can't be planned, with its state and why."""

    def __init__(self, state: str, why: str):
        super().__init__(why)
        self.state = state


def looked(name: str, said: Any, given_only: bool = False) -> dict[str, Any]:
    """The facts that a host gave; `given_only`: it was asked for some of them."""
    said = said if isinstance(said, Mapping) else {}
    if said.get("facts") is None:
        raise NoFacts("unreachable" if said.get("unreachable") is True else "failed", not_looked(name, said))
    try:
        return documents.facts(said["facts"], given_only)
    except documents.Refused as why:
        fix = f"See what it answers: ansible {name} -m verl_host_facts; leave it out meanwhile: --limit 'all:!{name}'"
        raise NoFacts("refused", f"{why}. {fix}") from None


def not_looked(name: str, said: Mapping[str, Any]) -> str:
    """Why a host gave no facts."""
    hung = said.get("timedout")
    if isinstance(hung, Mapping):
        return (
            f"found no facts within {documents.line(hung.get('period'))} s (verl_look_timeout): the host takes the "
            f"connection, and then something hangs. Next: ssh to {name} and see what (ps, df); end it, and run again. "
            "A host that is only slow gets a larger verl_look_timeout"
        )
    return documents.line(said.get("msg") or "no facts came back")


def drained(host: dict[str, Any]) -> bool:
    """Whether an earlier run drained this host and didn't come to take it back."""
    asked = host["variables"]["verl_drain_before"] or host["variables"]["verl_drain_after"]
    return bool(asked and (host["facts"].get("stamps") or {}).get("drained"))


def look_beyond(
    hostvars: Mapping[str, Mapping], run: dict[str, Any], planners: dict[str, Any]
) -> dict[str, str | None]:
    """The addresses of the cluster's hosts outside this run; the head's planner is added to `planners`."""
    addresses: dict[str, str | None] = {}
    for host in run["beyond"]:
        name = host["host"]
        said = hostvars[name].get("__verl_facts")
        try:
            facts = (
                documents.facts(said["facts"], given_only=True)
                if isinstance(said, Mapping) and said.get("facts")
                else {}
            )
        except documents.Refused:
            facts = {}  # as of a host that doesn't answer
        if host["gather"] == "all" and facts:
            planned({name: {**host, "facts": facts, "head": True}}, planners)
        addresses[name] = inventory.own_address(host) or (facts.get("network") or {}).get("address")
    inside = {host["host"] for host in run["beyond"]} | set(run["hosts"])
    for name in set(run["cluster"]["members"]) - inside:  # not looked at: its address is in the inventory
        addresses[name] = str(hostvars[name]["ray_cluster_address"])
    return addresses


def planned(inputs: dict[str, Any], planners: dict[str, Any] | None = None) -> dict[str, Any]:
    """Plan all hosts that share a catalog at once; hosts with an overlay of their own get theirs."""
    groups: dict[str, dict[str, Any]] = {}
    requests: dict[str, Request] = {}
    for name, host in inputs.items():
        said = repr(host["variables"])
        if said not in requests:
            requests[said] = Request.of(host["variables"])
        extra = [] if host["errors"] else host["variables"]["verl_catalog_extra"]
        groups.setdefault(json.dumps(extra), {})[name] = {**host, "request": requests[said]}
    fleet: dict[str, Any] = {"schema_version": decide.SCHEMA_VERSION, "hosts": {}, "decisions": {}, "step_hosts": {}}
    for extra, members in groups.items():
        part = decide.plan_fleet(members, catalog.load(extra=json.loads(extra)), planners)
        fleet["hosts"] |= part["hosts"]
        fleet["decisions"] |= part["decisions"]
        for step, names in part["step_hosts"].items():
            fleet["step_hosts"].setdefault(step, []).extend(names)
    fleet["hosts"] = {name: fleet["hosts"][name] for name in inputs}
    return fleet


@lru_cache(maxsize=1)
def script_hash() -> str:
    """The verification script's hash: a pass holds for the script that passed."""
    digest = hashlib.sha256()
    for path in sorted(VERIFICATION.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def machine(facts: dict[str, Any]) -> dict[str, Any]:
    """What a person calls this machine, and what preflight has to know of it."""
    nvidia = facts.get("nvidia") or {}
    names = [gpu.get("name") or "unnamed GPU" for gpu in nvidia.get("gpus") or []]
    gpus = ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))
    for accelerator in (facts.get("other_accelerators") or {}).values():
        if accelerator.get("present"):
            gpus = gpus or f"{accelerator.get('devices')} x {accelerator.get('name') or 'accelerator'}"
    in_slots = len([gpu for gpu in (facts.get("pci") or {}).get("gpus") or [] if gpu.get("vendor") == "10de"])
    if not gpus and in_slots:
        gpus = f"{in_slots} x NVIDIA GPU without a working driver"
    return {
        "gpus": gpus or "no GPU",
        "driver": nvidia.get("driver_version"),
        "arch": facts.get("arch"),
        "os": (facts.get("os") or {}).get("id"),
        "codename": (facts.get("os") or {}).get("codename"),
        "docker": ((facts.get("engines") or {}).get("docker") or {}).get("installed"),
    }


def add_ways(fleet: dict[str, Any], hostvars: Mapping[str, Mapping], inputs: dict[str, Any]) -> None:
    """Number the ways by which hosts get at what they fetch (`access`), and say which registries need no TLS there."""
    ways: dict[str, int] = {}
    for name, about in fleet["machines"].items():
        if not fleet["hosts"][name]["steps"]:
            continue
        about["access"] = ways.setdefault(access.way(hostvars[name]), len(ways))
        engine, mirror = (
            inputs[name]["settings"].get("docker_engine", {}),
            inputs[name]["variables"]["verl_mirror_registry"],
        )
        about["insecure"] = list(engine.get("docker_engine_insecure_registries") or [])
        if mirror and mirror.startswith("http://"):
            about["insecure"].append(mirror.removeprefix("http://").partition("/")[0])


def drifted(verdicts: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """What is wrong with the hosts that have no plan, and the hosts whose plan would do something (or a pattern)."""
    unwell = [f"{name}: {verdict['message']}" for name, verdict in verdicts.items() if not verdict["well"]]
    names = [str(name) for name, verdict in verdicts.items() if verdict["state"] == "planned"]
    return unwell, names or NO_HOSTS
