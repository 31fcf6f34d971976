"""Reports that were written before. The only part of this package that reads files."""

import json
import os
import re
from pathlib import Path
from typing import Any

from verl_provision.report.build import SCHEMA_VERSION

RUN = re.compile(r"\d{8}T\d{6}Z(-[0-9a-f]{6})?")  # as playbooks/tasks/load_inputs.yml names them, and 0.1.0 did
LOOK_BACK = 20  # runs; further back nothing is compared


def read(directory: str | os.PathLike, run: str = "latest") -> dict[str, Any] | None:
    """The report of one run below `directory`, None where there is none that can be read."""
    report = written(directory, run)
    return report if report and report.get("schema_version") == SCHEMA_VERSION else None


def written(directory: str | os.PathLike, run: str) -> dict[str, Any] | None:
    """What is in a run's report.json, whichever version of this project wrote it."""
    try:
        report = json.loads((Path(directory) / run / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return report if isinstance(report, dict) else None


def foreign(directory: str | os.PathLike, run: str) -> str:
    """Which version of the schema a report has that can't be read here, in words; '' where it is none of those."""
    report = written(directory, run) or {}
    found = report.get("schema_version")
    if not isinstance(found, int) or found == SCHEMA_VERSION:
        return ""
    about = report.get("run")
    by = f" of verl-provision {about['version']}" if isinstance(about, dict) and about.get("version") else ""
    return f"report schema {found}{by}; this version reads schema {SCHEMA_VERSION}"


def before(directory: str | os.PathLike, report: dict[str, Any]) -> dict[str, Any] | None:
    """The newest earlier report that has a host in common with `report`."""
    earlier = [run for run in runs(directory) if run < report["run"]["id"]]
    for run in reversed(earlier[-LOOK_BACK:]):
        found = read(directory, run)
        if found and set(found["hosts"]) & set(report["hosts"]):
            return found
    return None


def runs(directory: str | os.PathLike) -> list[str]:
    """The runs below `directory`, newest last."""
    folder = Path(directory)
    if not folder.is_dir():
        return []
    return sorted(path.parent.name for path in folder.glob("*/report.json") if not path.parent.is_symlink())


def outdated(directory: str | os.PathLike, keep: int, current: str) -> list[Path]:
    """The folders of runs beyond the last `keep`: never that of `current`, nor one that a link points to.

    Only what has the name of a run is a run's: whatever else lies there is somebody's.
    """
    folder = Path(directory)
    entries = list(folder.iterdir()) if folder.is_dir() else []
    linked = {path.resolve() for path in entries if path.is_symlink()}
    made = sorted(path for path in entries if RUN.fullmatch(path.name) and path.is_dir() and not path.is_symlink())
    return [path for path in made[:-keep] if path.name != current and path.resolve() not in linked] if keep > 0 else []


def shown(directory: str | Path, run_id: str) -> str:
    """Where a run's report.json is, as whoever started the run finds it."""
    path, here = Path(directory, run_id, "report.json"), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
