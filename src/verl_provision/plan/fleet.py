"""The plan of a host and of a fleet: plain data (catalog/schema/plan.json). Pure; never raises."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from verl_provision import facts as hosts
from verl_provision import versions
from verl_provision.catalog import model
from verl_provision.catalog.model import Catalog
from verl_provision.decide.junk import items, mapping
from verl_provision.facts import Host
from verl_provision.plan import fit, gpus, standing
from verl_provision.plan import steps as stepping
from verl_provision.plan.steps import Planned
from verl_provision.plan.steps.container_image import pull_reference
from verl_provision.plan.steps.step import Item, Notes
from verl_provision.select import decision as decisions
from verl_provision.select.decision import Decision
from verl_provision.select.inputs import Preferences, SelectionFacts
from verl_provision.variables import Request, parse

SCHEMA_VERSION = 1


@dataclass(slots=True)
class Memory:
    """What one call has worked out already; hosts with the same inputs share it."""

    decisions: dict[tuple[SelectionFacts, Preferences], tuple[Decision, str]] = field(default_factory=dict)
    requests: dict[str, tuple[Request, list[dict[str, Any]]]] = field(default_factory=dict)


def plan_host(
    facts: Any, request: Any, catalog: Any, settings: Any = None, errors: Any = None, secrets: Any = None
) -> dict[str, Any]:
    """The plan of one host, with `rejected`, `runners_up` and `unlocks` in it. `secrets` is `{name: new|kept}`."""
    given = {"settings": settings, "errors": errors, "secrets": secrets}
    plan, decision, dummy = _plan(facts, request, _read_catalog(catalog), given, Memory())
    return {**plan, **_told(decision)}


def plan_fleet(inputs: Any, catalog: Any, planned: dict[str, Planned] | None = None) -> dict[str, Any]:
    """The plans of `{host: {facts, request, settings, errors, secrets, head}}`; what was rejected, once each.

    A `request` may be a mapping of variables that nobody has parsed yet.
    `planned` is filled with the steps of the hosts that fit, by name, for what is decided over several hosts.
    """
    fleet: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "hosts": {}, "decisions": {}, "step_hosts": {}}
    known, memory = _read_catalog(catalog), Memory()
    with _nothing_collected():
        for name, given in mapping(inputs).items():
            given = mapping(given)
            plan, decision, steps = _plan(given.get("facts"), given.get("request"), known, given, memory)
            if planned is not None and steps:
                planned[name] = steps
            fleet["hosts"][name] = plan
            if plan["decision"] not in fleet["decisions"]:
                fleet["decisions"][plan["decision"]] = _told(decision)
            for step in plan["steps"]:
                fleet["step_hosts"].setdefault(step, []).append(name)
    return fleet


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """A large fleet's plans are millions of objects, all kept: looking for garbage costs a fifth of the time."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def _read_catalog(catalog: Any) -> Catalog:
    try:
        return model.read(catalog)
    except Exception as error:  # the last net: an unreadable catalog is an error of every plan
        return Catalog(faults=(f"the catalog cannot be read: {type(error).__name__}: {error}",))


def _told(decision: Decision) -> dict[str, Any]:
    return {"rejected": decision.rejected, "runners_up": decision.runners_up, "unlocks": decision.hints}


def _plan(
    facts: Any, asked: Any, known: Catalog, given: dict[str, Any], memory: Memory
) -> tuple[dict[str, Any], Decision, Planned | None]:
    try:
        return _plan_or_raise(facts, asked, known, given, memory)
    except Exception as error:  # the last net; tests show that no input of the schemas' shape meets it
        found = f"{type(error).__name__}: {error}"[:300]
        problem = {
            "rule": "internal",
            "found": found,
            "needed": "a decision",
            "where": None,
            "fix": "This is a fault of verl-provision: please report it with the facts of this host.",
        }
        decision = Decision(errors=[problem])
        return _assemble(decision, decision.id, None, None), decision, None


def _plan_or_raise(
    facts: Any, asked: Any, known: Catalog, given: dict[str, Any], memory: Memory
) -> tuple[dict[str, Any], Decision, Planned | None]:
    request, errors = _request(asked, memory)
    errors = [*items(given.get("errors")), *errors]
    if errors or not isinstance(facts, dict) or not facts:
        decision = Decision(errors=[_variable_error(error) for error in errors] or [no_facts(facts)])
        return _assemble(decision, decision.id, None, None), decision, None
    host = gpus.choose(hosts.read(facts, known), request.gpus, known)
    decision, name = _remembered(host, request, known, memory)
    if decision.ok:
        again = partial(_remembered, host, known=known, memory=memory)
        request, decision, name = standing.keep(host, request, decision, name, again)
    if not decision.ok:
        return _assemble(decision, name, request, None), decision, None
    settings, secrets = mapping(given.get("settings")), mapping(given.get("secrets"))
    seen = hosts.served_by(host, decision.backend)
    planned = stepping.plan(seen, request, decision, known, settings, secrets, given.get("head") is True)
    plan = _assemble(decision, name, request, planned)
    plan["warnings"] = [*plan["warnings"], *fit.warnings(host, request, decision)]
    told = {key: doable(plan[key], host) for key in ("errors", "warnings", "deferred")}
    return {**plan, **told, "why": [*plan["why"], *fabrics(host)]}, decision, planned


def _request(given: Any, memory: Memory) -> tuple[Request, list[dict[str, Any]]]:
    """The request, parsed here where that wasn't done before, and what is wrong with it."""
    if isinstance(given, Request):
        return given, []
    said = repr(given)
    if said not in memory.requests:
        parsed = parse(given if given is not None else {})
        memory.requests[said] = (Request.of(parsed.values), list(parsed.errors))
    return memory.requests[said]


def _remembered(host: Host, request: Request, known: Catalog, memory: Memory) -> tuple[Decision, str]:
    key = (SelectionFacts.of(host, known), Preferences.of(request))
    found = memory.decisions.get(key)
    if found is None:
        decision = decisions.decide(*key, known)
        for told in (decision.errors, decision.warnings, decision.rejected, decision.hints):
            told[:] = doable(told, host)
        found = memory.decisions[key] = (decision, decision.id)
    return found


def doable(told: list[Item], host: Host) -> list[Item]:
    """The same, with what needs sudo left to somebody who has it where this user hasn't."""
    if host.root or host.sudo != "none":
        return told
    return [
        {**row, "fix": f"As an administrator, since {host.user} has no sudo: {row['fix']}"}
        if "sudo " in str(row.get("fix")) and "administrator" not in str(row["fix"])
        else row
        for row in told
    ]


def fabrics(host: Host) -> list[str]:
    """The networks for RDMA that the host has, a sentence each."""
    found = []
    for link, name in (("infiniband", "InfiniBand"), ("roce", "RoCE")):
        ports = [port for port in host.rdma if port[0] == link]
        if ports:
            up = [port for port in ports if port[1]]
            speeds = " and ".join(f"{speed} Gb/s" for speed in sorted({port[2] for port in up if port[2]}))
            devices = ", ".join(dict.fromkeys(port[-1] for port in ports))
            at = f" at {speeds}" if speeds else ""
            found.append(f"{name}: {len(up)} of {len(ports)} ports up{at} ({devices})")
    return found


def no_facts(facts: Any) -> dict[str, Any]:
    """The error of a host of which nothing is known."""
    return {
        "rule": "facts",
        "found": "no facts" if facts is None else f"facts of the wrong shape ({type(facts).__name__})",
        "needed": "the facts of the module verl_host_facts",
        "where": None,
        "fix": "Run it on the host: ansible HOST -m verl_host_facts",
    }


def _variable_error(error: Any) -> dict[str, Any]:
    error = mapping(error)
    return {
        "rule": "wishes",
        "variable": str(error.get("variable")),
        "found": f"{error.get('variable')}: {error.get('found')}",
        "needed": str(error.get("needed")),
        "where": "the inventory",
        "fix": str(error.get("fix")),
    }


def _assemble(decision: Decision, name: str, request: Request | None, planned: Planned | None) -> dict[str, Any]:
    """The plan as plain data; complete whether or not anything fits."""
    notes = planned.notes if planned else Notes()
    errors = [*decision.errors, *notes.errors]
    ok = decision.ok and not errors
    candidate = decision.candidate if decision.ok else None
    verification = (planned.verification if planned else None) or {
        "level": None, "backend": decision.backend, "prefix": None, "container": None, "become": False, "key": None,
        "needed": False, "reason": "nothing to verify", "expected": {},
    }  # fmt: skip
    return {
        "ok": ok,
        "profile": decision.profile,
        "backend": decision.backend if ok else None,
        "verl_version": candidate.release.version if candidate else None,
        "engine": decision.engine,
        "trainer": decision.trainer,
        "scenario": decision.scenario,
        "image": _image(decision, request) if candidate and request else None,
        "why": list(decision.why),
        "steps": planned.entries() if ok else {},
        "verification": verification,
        "expected": verification["expected"],
        "shell": planned.shell if ok else None,
        "deferred": [*notes.deferred] if ok else [],
        "warnings": [*decision.warnings, *notes.warnings],
        "errors": errors,
        "decision": name,
    }


def _image(decision: Decision, request: Request) -> dict[str, Any] | None:
    image = decision.candidate.image
    if image.source:
        return None
    return {
        "id": image.id,
        "ref": image.ref,
        "pull_ref": pull_reference(image, request, decision.backend),
        "digest": image.digest,
        "tier": decision.tier,
        "cuda": versions.minor(image.cuda) if image.cuda else None,
        "torch": image.torch,
        "engines": dict(image.engines),
        "size_gb": image.size_gb,
        "evidence": decision.candidate.evidence,
        "notes": [
            {"id": str(defect.get("id")), "effect": str(defect.get("effect")), "fix": str(defect.get("fix") or "")}
            for defect in image.defects
            if defect.get("severity") == "informs"
        ],
    }
