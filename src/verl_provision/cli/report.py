"""`verl-provision report`: show a run's report again, or say where it is."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from verl_provision import paths
from verl_provision.boundary.text import visible
from verl_provision.report import html, latest, markdown, text


def add_parser(subparsers: Any) -> None:
    """Add the command's own part of the command line."""
    parser = subparsers.add_parser(
        "report",
        help="show what became of every host in a run",
        description=__doc__,
        epilog="Exit status: 0 the run was well, 1 it was not, 2 bad usage or no such run.",
    )
    parser.add_argument("--run", dest="run_id", metavar="ID", help="a run, such as 20261124T100000Z (the latest)")
    parser.add_argument("--format", choices=["text", "md", "html", "json"], default="text", help="how (text)")
    parser.add_argument("--path", action="store_true", help="print where the file of that format is, not what is in it")
    parser.add_argument("--list", action="store_true", help="list the runs that are kept, newest last")
    parser.add_argument("--directory", metavar="DIR", type=Path, default=paths.reports(), help="where reports are kept")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show the report; returns the exit status."""
    folder: Path = arguments.directory
    kept = latest.runs(folder)
    if arguments.list:
        for name in kept:
            print(line(name, latest.read(folder, name), latest.foreign(folder, name)))
        return 0
    name = arguments.run_id or newest(folder, kept)
    report = latest.read(folder, name) if name and "/" not in name else None
    if report is None and name and "/" not in name and (why := latest.foreign(folder, name)):
        print(visible(f"verl-provision report: run {name} has {why}. Read it with the verl-provision that wrote it, or "
                      f"a newer one: {folder / name / FILES[arguments.format]}"), file=sys.stderr)  # fmt: skip
        return 2
    if report is None:
        found = f"no run {name} in {folder}" if arguments.run_id else f"no report in {folder}"
        fix = "verl-provision report --list shows what there is" if kept else "verl-provision plan makes the first"
        print(f"verl-provision report: {found}; {fix}", file=sys.stderr)
        return 2
    if arguments.path:
        path = folder / name / FILES[arguments.format]
        if not path.is_file():
            print(f"verl-provision report: run {name} has no {path.name}; print it: --format {arguments.format}",
                  file=sys.stderr)  # fmt: skip
            return 2
        print(path)
        return 0
    print(shown(report, arguments.format, folder).rstrip("\n"))
    return 0 if report["ok"] else 1


FILES = {"text": "report.json", "json": "report.json", "md": "report.md", "html": "report.html"}


def newest(folder: Path, kept: list[str]) -> str | None:
    """The run that `latest` points at, else the last one."""
    pointed = folder / "latest"
    return pointed.resolve().name if pointed.exists() else (kept[-1] if kept else None)


def shown(report: dict[str, Any], form: str, folder: Path) -> str:
    """The report in one of its forms."""
    if form == "json":
        return json.dumps(report, indent=2)
    if form == "text":
        return "\n".join(text.report_lines(report, str(folder / report["run"]["id"] / "report.json")))
    return {"md": markdown, "html": html}[form].render(report, latest.before(folder, report))


def line(name: str, report: dict[str, Any] | None, foreign: str = "") -> str:
    """A run in one line."""
    if report is None:
        return visible(f"{name}  {foreign or 'cannot be read'}")
    states = [host["state"] for host in report["hosts"].values()]
    counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)) or "no hosts"
    return f"{name}  {'well' if report['ok'] else 'not well':8}  {report['run']['mode']:6}  {counted}"
