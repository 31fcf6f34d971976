"""The terminal views: the plan before, the report after. Plain lines, readable in a log and in a pipe.

Only the standard library: these run inside `ansible-playbook`, where nothing but ansible-core may be assumed.
"""

from typing import Any

from verl_provision.boundary.text import one_line, visible
from verl_provision.plan.rolling import TOGETHER, batches, rolling_of
from verl_provision.report.build import error_line

FEW = 20  # hosts shown one by one with their reasons; a bigger fleet reads plan.json


def table(rows: list[list[str]], header: list[str]) -> list[str]:
    """Align `rows` under `header`; a column as wide as its widest cell."""
    every = [header, *([one_line(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in every) for column in range(len(header))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in every]


def shown(lines: list[str]) -> list[str]:
    """Lines that a terminal shows as they are; whatever a host says, it adds none."""
    return [visible(line).replace("\n", " ") for line in lines]


def plan_lines(fleet: dict[str, Any], run: dict[str, Any]) -> list[str]:
    """The plan of the fleet: a row per host, then why, what else was possible, and what is wrong."""
    rows = [plan_row(name, fleet) for name in run["hosts"]]
    lines = table(rows, ["HOST", "GPUS", "DRIVER", "BACKEND", "IMAGE", "VERL", "STEPS"])
    for name in list(run["hosts"])[:FEW]:
        lines += ["", *host_lines(name, fleet), *drain_lines(name, fleet, run)]
    if len(run["hosts"]) > FEW:
        lines += ["", f"{len(run['hosts']) - FEW} more hosts: their reasons are in plan.json"]
    return shown(lines + rolling_lines(fleet, run))


def plan_row(name: str, fleet: dict[str, Any]) -> list[str]:
    """One host's row of the plan."""
    machine = fleet["machines"].get(name, {})
    seen = [machine.get("gpus") or "-", machine.get("driver") or "-"]
    if name in fleet["unlooked"]:
        return [name, *seen, "-", "-", "-", fleet["unlooked"][name]["state"]]
    plan = fleet["hosts"][name]
    if not plan["ok"]:
        return [name, *seen, "-", "-", "-", "refused"]
    steps = [*plan["steps"], *(["verification"] if plan["verification"]["needed"] else [])]
    image = plan["image"]["ref"] if plan["image"] else f"none ({plan['profile']} environment)"
    return [name, *seen, plan["backend"], image, plan["verl_version"], ", ".join(steps) or "nothing to do"]


def host_lines(name: str, fleet: dict[str, Any]) -> list[str]:
    """Why one host's plan is what it is."""
    if name in fleet["unlooked"]:
        return [f"{name}: {fleet['unlooked'][name]['reason']}"]
    plan = fleet["hosts"][name]
    lines = [f"{name}:"]
    lines += [f"  why: {sentence}" for sentence in plan["why"]]
    lines += [f"  step {step}: {detail['reason']}{disruption(detail)}" for step, detail in plan["steps"].items()]
    lines += [f"  verification: {plan['verification']['reason']}"] if plan["ok"] else []
    lines += [f"  shell: {plan['shell']}"] if plan.get("shell") else []
    lines += [
        f"  deferred: {deferred['step']}: {deferred['because']}. {deferred['fix']}" for deferred in plan["deferred"]
    ]
    lines += [f"  warning: {warning['rule']}: {warning['message']}" for warning in plan["warnings"]]
    lines += [f"  error: {error_line(error)}" for error in plan["errors"]]
    decision = fleet["decisions"].get(plan["decision"], {})
    lines += [f"  would be possible: {unlock_line(unlock)}" for unlock in decision.get("unlocks", [])]
    return lines


def drain_lines(name: str, fleet: dict[str, Any], run: dict[str, Any]) -> list[str]:
    """When the user's own commands are run for this host."""
    asked = run["hosts"][name].get("variables", {})
    commands = " and ".join(hook for hook in ("verl_drain_before", "verl_drain_after") if asked.get(hook))
    steps = ", ".join(step for step, hosts in fleet.get("disturbed", {}).items() if name in hosts)
    lines = [f"  drain: {commands} around {steps}"] if commands and steps and fleet["hosts"][name]["ok"] else []
    if name in fleet.get("drained", []):
        lines.append("  drain: an earlier run left the host drained; verl_drain_after is run")
    return lines


def rolling_lines(fleet: dict[str, Any], run: dict[str, Any]) -> list[str]:
    """In how many batches what disturbs goes through the fleet; nothing where that is one host."""
    disturbed = {step: set(names) for step, names in fleet.get("disturbed", {}).items() if step not in TOGETHER}
    names = set().union(*disturbed.values())
    hosts = [name for name, plan in fleet["hosts"].items() if name in names and plan["ok"]]  # preflight may refuse some
    if len(hosts) < 2:
        return []
    turns = batches(hosts, rolling_of(run))
    first, most = ", ".join(turns[0][:5]), max(len(turn) for turn in turns)
    more = f" and {len(turns[0]) - 5} more" if len(turns[0]) > 5 else ""
    rest = f"; then {len(hosts) - len(turns[0])} in batches of at most {most}" if len(turns) > 1 else ""
    return ["", f"rolling: {', '.join(disturbed)}: {first}{more} first{rest}"]


def disruption(step: dict[str, Any]) -> str:
    """The part of a step's line that says what it disturbs, if anything."""
    return "" if step["disruption"] == "none" else f" [{step['disruption']}]"


def unlock_line(unlock: Any) -> str:
    """One thing that a change on the host would allow."""
    if isinstance(unlock, dict):
        return str(unlock.get("message") or f"{unlock.get('change')} would allow {unlock.get('allows')}")
    return str(unlock)


def report_lines(report: dict[str, Any], path: str) -> list[str]:
    """What became of each host, and where the report is."""
    rows = [report_row(name, host) for name, host in report["hosts"].items()]
    lines = table(rows, ["HOST", "STATE", "VERL", "BACKEND", "WHAT"])
    for name, host in list(report["hosts"].items())[:FEW]:
        lines += check_lines(name, host)
        lines += shell_lines(name, host)
    lines += ["", f"report: {path}"]
    return shown(lines)


def report_row(name: str, host: dict[str, Any]) -> list[str]:
    """One host's row of the report."""
    plan = host["plan"] or {}
    return [name, host["state"], plan.get("verl_version") or "-", plan.get("backend") or "-", host["reason"]]


def shell_lines(name: str, host: dict[str, Any]) -> list[str]:
    """How to get into what was verified."""
    shell = (host["plan"] or {}).get("shell")
    return [f"  {name} shell in the environment: {shell}"] if shell and host["state"] == "verified" else []


def check_lines(name: str, host: dict[str, Any]) -> list[str]:
    """The checks of one host: passed and skipped ones in short, failed ones with their fix."""
    lines = []
    for check in host["checks"]:
        mark = {True: "ok", False: "FAILED", None: "skipped"}[check["ok"]]
        found = str(check["found"]).removeprefix("skipped: ")
        line = f"  {name} {mark:7} {check['id']}: {found}"
        lines.append(line if check["ok"] is not False else f"{line}; needed {check['needed']}. {check['fix']}")
    return lines
