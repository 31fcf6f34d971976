"""What report.md and report.html show, worked out once: plain data from report.json, and the report before it.

A thousand hosts are mostly alike, so everything that many hosts share is kept once, with their names.
"""

import json
from collections.abc import Iterable
from typing import Any

from verl_provision.report.build import WELL, error_line
from verl_provision.report.text import unlock_line

ORDER = ("failed", "unreachable", "refused", "deferred", "planned", "verified")
TEXT = 2000  # of one message; the rest is in report.json


def view(report: dict[str, Any], previous: dict[str, Any] | None = None) -> dict[str, Any]:
    """Everything that a report shows, in the order in which it is shown."""
    hosts = report["hosts"]
    run = {"limit": None, "timeline": None, **report["run"]}
    groups, member = grouped(hosts, report["decisions"])
    return {
        "ok": report["ok"],
        "run": run,
        "headline": headline(report),
        "counts": counts(hosts),
        "todo": todo(report),
        "hosts": [host_row(name, host, member[name]) for name, host in in_order(hosts)],
        "groups": groups,
        "deferred": shared((name, _deferred(item)) for name, host in hosts.items() for item in _of(host, "deferred")),
        "warnings": shared((name, _warning(item)) for name, host in hosts.items() for item in _of(host, "warnings")),
        "differences": differences(report, previous),
        "previous": previous["run"] if previous else None,
        "timeline": timeline(report),
    }


def in_order(hosts: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Hosts that need something first, each kind in the inventory's order."""
    return sorted(hosts.items(), key=lambda item: ORDER.index(item[1]["state"]))


def headline(report: dict[str, Any]) -> str:
    """The run in one sentence."""
    total = len(report["hosts"])
    if not total:
        return "no host was in this run"
    if total == 1:
        return "1 host, " + next(iter(report["hosts"].values()))["state"]
    well = sum(host["state"] in WELL[report["run"]["mode"]] for host in report["hosts"].values())
    if well == total:
        (first, *others) = sorted({host["state"] for host in report["hosts"].values()})
        what = " or ".join([first, *others])
        return f"{_hosts(total)} {what}"
    return f"{total - well} of {_hosts(total)} need{'s' if total - well == 1 else ''} attention"


def counts(hosts: dict[str, Any]) -> list[dict[str, Any]]:
    """How many hosts are in each state that occurs."""
    states = [host["state"] for host in hosts.values()]
    return [{"state": state, "hosts": states.count(state)} for state in ORDER if state in states]


def todo(report: dict[str, Any]) -> list[dict[str, Any]]:
    """What keeps hosts from being well: each reason once, with what to do and the hosts it holds for."""
    well = WELL[report["run"]["mode"]]
    found: dict[str, dict[str, Any]] = {}
    for name, host in in_order(report["hosts"]):
        if host["state"] in well:
            continue
        for problem in problems(host):
            entry = found.setdefault(
                json.dumps([host["state"], problem]), {"state": host["state"], **problem, "hosts": []}
            )
            entry["hosts"].append(name)
    return sorted(found.values(), key=lambda entry: (ORDER.index(entry["state"]), -len(entry["hosts"])))


def problems(host: dict[str, Any]) -> list[dict[str, Any]]:
    """What is wrong with one host: `{id, found, needed, fix}` for each thing."""
    failed = [check for check in host["checks"] if check["ok"] is False]
    if failed:
        return [{key: cut(check[key]) for key in ("id", "found", "needed", "fix")} for check in failed]
    errors = (host["plan"] or {}).get("errors") or []
    if host["state"] == "refused" and errors:
        return [
            {
                "id": error.get("rule") or error.get("variable") or "plan",
                "found": cut(error["found"]),
                "needed": cut(error["needed"]),
                "fix": cut(error["fix"]),
            }
            for error in errors
        ]
    if host["state"] == "deferred":
        left = host["deferred"]
        return [{"id": left["step"], "found": cut(left["reason"]), "needed": None, "fix": cut(left["fix"])}]
    failure = host["failure"] or {}
    return [
        {
            "id": failure.get("step") or host["state"],
            "found": cut(failure.get("message") or host["reason"]),
            "needed": None,
            "fix": LOOK[host["state"]] if host["state"] == "unreachable" or not host["plan"] else None,
        }
    ]


LOOK = {
    "unreachable": "ansible HOST -i INVENTORY -m ansible.builtin.ping -vvv",
    "failed": "ansible HOST -i INVENTORY -m verl_host_facts; another Python there: ansible_python_interpreter",
    "refused": None,
    "deferred": None,
    "planned": None,
    "verified": None,
}


def host_row(name: str, host: dict[str, Any], group: int) -> dict[str, Any]:
    """One line about a host."""
    plan = host["plan"] or {}
    expected = plan.get("expected") or {}
    kinds = " + ".join(str(kind) for kind in expected.get("gpu_names") or [])
    image = plan.get("image") or {}
    return {
        "name": name,
        "state": host["state"],
        "verl": plan.get("verl_version") or "",
        "backend": plan.get("backend") or "",
        "image": image.get("ref") or "",
        "gpus": f"{expected['gpus']} x {kinds}" if expected.get("gpus") else "",
        "driver": expected.get("driver") or "",
        "what": short(host),
        "group": group,
    }


def short(host: dict[str, Any]) -> str:
    """Why this state, in a few words."""
    failed = [check["id"] for check in host["checks"] if check["ok"] is False]
    if failed:
        return ", ".join(failed)
    errors = (host["plan"] or {}).get("errors") or []
    if host["state"] == "refused" and errors:
        return ", ".join(dict.fromkeys(str(error.get("rule") or error.get("variable")) for error in errors))
    if host["state"] == "failed" and host["failure"]:
        return str(host["failure"]["step"])
    return cut(host["reason"].splitlines()[0] if host["reason"] else "", 160)


def grouped(hosts: dict[str, Any], decisions: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Hosts with the same plan and the same results of their checks share one description."""
    groups: dict[str, dict[str, Any]] = {}
    member: dict[str, int] = {}
    for name, host in in_order(hosts):
        about = description(host, decisions)
        key = json.dumps(about, sort_keys=True, default=str)
        if key not in groups:
            groups[key] = {**about, "number": len(groups) + 1, "hosts": []}
        groups[key]["hosts"].append(name)
        member[name] = groups[key]["number"]
    return list(groups.values()), member


def description(host: dict[str, Any], decisions: dict[str, Any]) -> dict[str, Any]:
    """The plan, why, and the checks of a host; nothing that is different on every host, such as times."""
    plan = host["plan"] or {}
    decision = decisions.get(plan.get("decision"), {})
    image = plan.get("image") or {}
    checks = [{key: cut(check[key]) if key != "ok" else check[key] for key in ("id", "ok", "found", "needed", "fix")}
              for check in host["checks"]]  # fmt: skip
    return {
        "state": host["state"],
        "choice": " / ".join(str(plan[key]) for key in ("backend", "engine", "trainer") if plan.get(key)),
        "verl": plan.get("verl_version"),
        "image": image.get("pull_ref") or image.get("ref"),
        "digest": image.get("digest"),
        "why": [cut(why) for why in plan.get("why") or []],
        "steps": [
            {"name": name, "reason": cut(step["reason"]), "disruption": step.get("disruption", "none")}
            for name, step in (plan.get("steps") or {}).items()
        ],
        "deferred": [_deferred(item)["text"] for item in plan.get("deferred") or []],
        "warnings": [_warning(item)["text"] for item in plan.get("warnings") or []],
        "errors": [cut(error_line(error)) for error in plan.get("errors") or []],
        "failure": cut(f"{host['failure']['step']}: {host['failure']['message']}") if host["failure"] else None,
        "unlocks": [cut(unlock_line(unlock)) for unlock in decision.get("unlocks") or []],
        "runners_up": [_runner_up(item) for item in (decision.get("runners_up") or [])[:5]],
        "turned_down": len({item.get("candidate") for item in decision.get("rejected") or []}),
        "checks": checks,
        "passed": sum(check["ok"] is True for check in checks),
        "failed": sum(check["ok"] is False for check in checks),
        "skipped": sum(check["ok"] is None for check in checks),
    }


def shared(pairs: Iterable[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Each entry once, with the hosts it holds for; the most frequent first."""
    found: dict[str, dict[str, Any]] = {}
    for name, entry in pairs:
        found.setdefault(json.dumps(entry), {**entry, "hosts": []})["hosts"].append(name)
    return sorted(found.values(), key=lambda entry: -len(entry["hosts"]))


def differences(report: dict[str, Any], previous: dict[str, Any] | None) -> list[dict[str, Any]]:
    """What is otherwise than in the report before: `{text, hosts}`, each change once."""
    if not previous:
        return []
    now, before = report["hosts"], previous["hosts"]
    # A run over part of the fleet says nothing of the others.
    gone = [] if report["run"].get("limit") or previous["run"].get("limit") else [n for n in before if n not in now]
    changes: list[tuple[str, dict[str, Any]]] = [(name, {"text": "not in this run"}) for name in gone]
    for name, host in now.items():
        old = before.get(name)
        if old is None:
            changes.append((name, {"text": "not in the run before"}))
            continue
        changes += [(name, {"text": text}) for text in changed(old, host)]
    return shared(changes)


def changed(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """How one host differs between two reports."""
    texts = []
    if old["state"] != new["state"]:
        texts.append(f"{old['state']} -> {new['state']}")
    for label, read in COMPARED.items():
        left, right = read(old["plan"] or {}), read(new["plan"] or {})
        if old["plan"] and new["plan"] and left != right:
            texts.append(f"{label}: {left or 'none'} -> {right or 'none'}")
    was = {check["id"]: check["ok"] for check in old["checks"]}
    for check in new["checks"]:
        before = was.get(check["id"], check["ok"])
        if before is not check["ok"]:
            texts.append(f"check {check['id']}: {VERDICT[before]} -> {VERDICT[check['ok']]}")
    return texts


VERDICT = {True: "passed", False: "failed", None: "skipped"}
COMPARED = {
    "verl": lambda plan: plan.get("verl_version"),
    "backend": lambda plan: plan.get("backend"),
    "image": lambda plan: (plan.get("image") or {}).get("ref"),
    "digest": lambda plan: str((plan.get("image") or {}).get("digest") or "")[:19],
    "driver": lambda plan: (plan.get("expected") or {}).get("driver"),
    "GPUs": lambda plan: (plan.get("expected") or {}).get("gpus"),
}


def timeline(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Where the time went: the run's own timeline where it has one, else its slowest checks."""
    parts = [
        {"name": str(part["name"]), "start": float(part.get("start") or 0), "seconds": float(part["seconds"])}
        for part in report["run"].get("timeline") or []
    ]
    if not parts:
        slowest: dict[str, float] = {}
        for host in report["hosts"].values():
            for check in host["checks"]:
                slowest[check["id"]] = max(slowest.get(check["id"], 0), check["seconds"] or 0)
        named = sorted(slowest.items(), key=lambda item: -item[1])[:8]
        parts = [{"name": name, "start": 0.0, "seconds": seconds} for name, seconds in named if seconds >= 0.1]
    whole = max([part["start"] + part["seconds"] for part in parts] or [0]) or 1
    for part in parts:
        part["left"] = round(100 * part["start"] / whole, 1)
        part["width"] = max(0.5, round(100 * part["seconds"] / whole, 1))
    return parts


def cut(value: Any, limit: int = TEXT) -> Any:
    """A text that is not too long to show."""
    if value is None:
        return None
    text = str(value).strip()
    return text if len(text) <= limit else text[: limit - 1] + "…"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    whole = int(seconds)
    if whole < 60:
        return f"{seconds:g} s" if isinstance(seconds, int) else f"{seconds:.1f} s"
    hours, rest = divmod(whole, 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"


def names(hosts: list[str], few: int = 6) -> str:
    """Hosts by name, the rest counted."""
    shown = ", ".join(hosts[:few])
    return f"{shown} and {len(hosts) - few} more" if len(hosts) > few else shown


def _hosts(number: int) -> str:
    return "1 host" if number == 1 else f"{number} hosts"


def _of(host: dict[str, Any], part: str) -> list[dict[str, Any]]:
    return (host["plan"] or {}).get(part) or []


def _deferred(item: dict[str, Any]) -> dict[str, Any]:
    return {"text": cut(f"{item['step']}: {item['because']}"), "disruption": item.get("disruption"), "fix": item["fix"]}


def _warning(item: dict[str, Any]) -> dict[str, Any]:
    return {"text": cut(f"{item['rule']}: {item['message']}"), "fix": item.get("fix")}


def _runner_up(item: dict[str, Any]) -> str:
    return cut(f"{item.get('candidate')} with verl {item.get('verl_version')}: {item.get('because')}")
