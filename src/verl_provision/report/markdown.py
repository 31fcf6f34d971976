"""report.md: the report as a comment of a pull request. Pure; GitHub takes 65,536 characters."""

import re
from typing import Any

from verl_provision.boundary.text import one_line
from verl_provision.report.view import duration, names, view

LIMIT = 60_000
ROWS = 50  # hosts with a row of their own
MARK = {"verified": "✅", "planned": "📝", "refused": "⛔", "failed": "❌", "unreachable": "🔌", "deferred": "⏸️"}
ADDRESS = re.compile(r"((?:[a-z][a-z0-9+.-]*:/|mailto:|xmpp:|www\.)[^\s<>]+)", re.IGNORECASE)
VERDICT = {True: "ok", False: "**failed**", None: "skipped"}


def render(report: dict[str, Any], previous: dict[str, Any] | None = None) -> str:
    """The report as Markdown; shorter where it would not fit."""
    seen = view(report, previous)
    text = "\n".join(document(seen, details=True))
    if len(text) > LIMIT:
        text = "\n".join(document(seen, details=False))
    if len(text) > LIMIT:
        text = text[: LIMIT - 100].rsplit("\n", 1)[0] + "\n\nThis is not all: report.html has the rest.\n"
    return text


def document(seen: dict[str, Any], details: bool) -> list[str]:
    """The lines: what to do first, then hosts, then why."""
    run = seen["run"]
    lines = [f"## {'✅' if seen['ok'] else '❌'} verl-provision {run['mode']}: {seen['headline']}", ""]
    facts = [f"run {words(run['id'])}", f"took {duration(run['seconds'])}", f"ansible-core {run['ansible']}"]
    lines += [" · ".join([*facts, *([f"limit {words(run['limit'])}"] if run.get("limit") else [])]), ""]
    lines += [" · ".join(f"{MARK[item['state']]} {item['hosts']} {item['state']}" for item in seen["counts"]), ""]
    if seen["todo"]:
        lines += ["### To do", ""]
        for entry in seen["todo"]:
            lines.append(f"- **{words(entry['id'])}** on {words(names(entry['hosts']))}: {words(entry['found'], 600)}")
            if entry["needed"]:
                lines.append(f"  - needed: {words(entry['needed'], 400)}")
            if entry["fix"]:
                lines.append(f"  - fix: {words(entry['fix'], 600)}")
        lines.append("")
    lines += listed("Deferred until the host is idle", [_shared(entry) for entry in seen["deferred"]])
    lines += hosts(seen["hosts"])
    if seen["previous"]:
        changes = [f"{words(entry['text'])}: {words(names(entry['hosts']))}" for entry in seen["differences"]]
        title = f"Since the run before ({seen['previous']['id']}, {seen['previous']['mode']})"
        lines += listed(title, changes or ["nothing is different"])
    if details:
        lines += listed("Warnings", [_shared(entry) for entry in seen["warnings"]])
        for group in seen["groups"]:
            lines += plan(group)
    return [*lines, ""]


def hosts(rows: list[dict[str, Any]]) -> list[str]:
    """A row for each host; of a big fleet those that come first, which are those that need something."""
    lines = ["### Hosts", "", "| host | state | verl | by | GPUs | what |", "|---|---|---|---|---|---|"]
    for row in rows[:ROWS]:
        cells = [row["name"], f"{MARK[row['state']]} {row['state']}", row["verl"], row["image"] or row["backend"]]
        cells += [row["gpus"], row["what"]]
        lines.append("| " + " | ".join(words(cell, 160) or "-" for cell in cells) + " |")
    if len(rows) > ROWS:
        lines.append(f"\n{len(rows) - ROWS} more hosts are in report.html.")
    return [*lines, ""]


def plan(group: dict[str, Any]) -> list[str]:
    """Plan, why and checks of the hosts that share them, folded."""
    title = f"{names(group['hosts'], 3)}: {group['state']}"
    lines = [f"<details><summary>{words(title)}</summary>", ""]
    lines += [f"- why: {words(why)}" for why in group["why"]]
    for step in group["steps"]:
        disturbs = "" if step["disruption"] == "none" else f" ({step['disruption']})"
        lines.append(f"- step **{words(step['name'])}**{words(disturbs)}: {words(step['reason'], 300)}")
    lines += [f"- would be possible: {words(unlock, 300)}" for unlock in group["unlocks"]]
    if group["checks"]:
        lines += ["", "| check | result | found |", "|---|---|---|"]
        lines += [
            f"| {words(check['id'])} | {VERDICT[check['ok']]} | {words(check['found'], 200)} |"
            for check in group["checks"]
        ]
    return [*lines, "", "</details>", ""]


def listed(title: str, entries: list[str]) -> list[str]:
    """A titled list, nothing where there are no entries."""
    return [f"### {title}", "", *(f"- {entry}" for entry in entries), ""] if entries else []


def _shared(entry: dict[str, Any]) -> str:
    fix = f" Fix: {words(entry['fix'], 400)}" if entry.get("fix") else ""
    return f"{words(names(entry['hosts']))}: {words(entry['text'], 400)}.{fix}"


def words(value: Any, limit: int = 1000) -> str:
    """A value as one line of plain text: no Markdown, no HTML, no link, no mention of anybody comes out of it."""
    text = one_line(value or "")
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    parts = ADDRESS.split(text)
    return "".join(code(part) if at % 2 else plain(part) for at, part in enumerate(parts))


def plain(text: str) -> str:
    """Text that GitHub shows as it is: what it would make a mention or a reference to an issue is broken up."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*_\[\]|#~!])", r"\\\1", text)
    return re.sub(r"([@#]|\bGH-)(?=\w)", "\\1\u200b", text, flags=re.IGNORECASE)


def code(address: str) -> str:
    """An address as code: it can be copied, and nobody is led to where a host wants them."""
    return "`" + address.replace("`", "'").replace("|", r"\|") + "`"
