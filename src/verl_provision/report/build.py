"""Build report.json: what became of each host, in one document (catalog/schema/report.json)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from verl_provision.boundary import documents
from verl_provision.boundary.text import visible
from verl_provision.decide.junk import mapping
from verl_provision.facts import kept_container
from verl_provision.plain import to_plain
from verl_provision.plan.container_files import kept_warning

SCHEMA_VERSION = 1
WELL = {
    "apply": {"verified"},
    "verify": {"verified"},
    "cluster": {"verified"},
    "check": {"verified", "planned"},
    "plan": {"verified", "planned"},
}


def build(hostvars: Mapping[str, Mapping], run: dict[str, Any], fleet: dict[str, Any], finished: str) -> dict[str, Any]:
    """Return the report of `run`; every host of the run is in it, whatever happened to it.

    `finished` is UTC, ISO 8601 with a Z, as `run["started"]` is.
    """
    hosts = {name: host_report(name, hostvars, run, fleet) for name in run["hosts"]}
    well = WELL[run["mode"]]
    about = {key: value for key, value in run.items() if key not in ("hosts", "look_at", "cluster", "beyond")}
    about |= {"finished": finished, "seconds": seconds_between(run["started"], finished)}
    ok = bool(hosts) and all(host["state"] in well for host in hosts.values())
    return {
        "schema_version": SCHEMA_VERSION,
        "ok": ok,
        "run": about,
        "hosts": hosts,
        "decisions": fleet.get("decisions", {}),
    }


def seconds_between(started: str, finished: str) -> int:
    """Whole seconds between two ISO 8601 times."""
    return int((datetime.fromisoformat(finished) - datetime.fromisoformat(started)).total_seconds())


def host_report(
    name: str, hostvars: Mapping[str, Mapping], run: dict[str, Any], fleet: dict[str, Any]
) -> dict[str, Any]:
    """One host's part of the report."""
    plan = fleet.get("hosts", {}).get(name)
    report: dict[str, Any] = {
        "state": "failed",
        "reason": "the run ended before this host was done",
        "plan": plan,
        "checks": [],
        "failure": None,
        "verified_at": None,
    }
    if name in fleet.get("unlooked", {}):
        return report | fleet["unlooked"][name]
    if plan is None:
        return report
    if not plan["ok"]:
        return report | {"state": "refused", "reason": sentence(plan["errors"])}
    variables = hostvars[name]
    report["plan"] = plan | {"warnings": [*plan["warnings"], *newly_kept(variables, plan)]}
    failure = documents.note(variables.get("__verl_failure"), "step", "task", "message")
    try:
        outcome = documents.outcome(variables.get("verification_result"))
    except documents.Refused as why:
        outcome, failure = {}, failure or {"step": "verification", "task": "", "message": str(why)}
    report["checks"] = outcome.get("checks", [])
    if failure:
        state = "unreachable" if failure.get("unreachable") else "failed"
        return report | {
            "state": state,
            "reason": f"{failure['step']}: {failure['message']}",
            "failure": failure,
        }
    deferred = documents.note(variables.get("__verl_deferred"), "step", "by", "reason", "fix")
    if deferred:
        return report | {
            "state": "deferred",
            "reason": f"{deferred['step']}: {deferred['reason']}. {deferred['fix']}",
            "deferred": deferred,
        }
    verification = plan["verification"]
    back = name in fleet.get("drained", []) and run["mode"] in ("plan", "check")
    if not plan["steps"] and not verification["needed"] and not back:
        return report | {
            "state": "verified",
            "reason": verification["reason"],
            "verified_at": verification.get("passed_at"),
        }
    left = {step: detail for step, detail in plan["steps"].items() if step != "ray_cluster"}
    if run["mode"] in ("plan", "check") or (run["mode"] == "cluster" and (left or verification["needed"])):
        return report | {"state": "planned", "reason": planned(plan, back)}
    if not verification["needed"]:  # the steps changed nothing that is verified
        reason = f"{verification['reason']}; done: {', '.join(plan['steps'])}"
        return report | {"state": "verified", "reason": reason, "verified_at": verification.get("passed_at")}
    if outcome.get("verified_at"):
        reason = f"{level(verification['level'], outcome)} passed at {outcome['verified_at']}"
        return report | {"state": "verified", "reason": reason, "verified_at": outcome["verified_at"]}
    return report


def newly_kept(variables: Mapping, plan: dict[str, Any]) -> list[dict[str, str]]:
    """The warning of a container that this run replaced and kept; the plan was made before."""
    result = mapping(to_plain(variables.get("training_container_result") or {}))
    kept = kept_container({**mapping(result.get("kept")), "engine": plan["backend"]}, [])
    if kept is None:
        return []
    command = f"{'sudo ' * bool(plan['verification']['become'])}{kept.engine}"
    warning = kept_warning(kept, command)
    return [warning] if not any(kept.name in known["message"] for known in plan["warnings"]) else []


def level(wanted: str, outcome: dict[str, Any]) -> str:
    """The level that passed; said, where a wanted one was only skipped."""
    got = outcome.get("reached") or wanted
    return f"level {wanted}" if got == wanted else f"level {got} (wanted {wanted}: no GPU here)"


def planned(plan: dict[str, Any], back: bool) -> str:
    """What the plan would do, in one line; `back`: an earlier run left the host drained."""
    steps = [*plan["steps"], *["verl_drain_after"] * back, *["verification"] * plan["verification"]["needed"]]
    return "would do: " + ", ".join(steps)


def sentence(errors: list[dict[str, Any]]) -> str:
    """All of a host's errors in one line: found, needed, fix."""
    return "; ".join(error_line(error) for error in errors) or "nothing fits this host"


def error_line(error: dict[str, Any]) -> str:
    """One error: `rule: found ..., needed ...; fix`."""
    where = f" ({error['where']})" if error.get("where") else ""
    label = error.get("rule") or error.get("variable")
    return f"{label}{where}: found {error['found']}, needed {error['needed']}. {error['fix']}"


def verdicts(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """For each host `{state, well, message}`: whether this run counts as a success there."""
    well = WELL[report["run"]["mode"]]
    return {
        name: {
            "state": host["state"],
            "well": host["state"] in well,
            "message": visible(f"{host['state']}: {host['reason']}"),
        }
        for name, host in report["hosts"].items()
    }
