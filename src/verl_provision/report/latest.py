"""Reports that were written before. The only part of this package that reads files."""

import json
import os
from pathlib import Path
from typing import Any

from verl_provision.report.build import SCHEMA_VERSION

LOOK_BACK = 20  # runs; further back nothing is compared


def read(directory: str | os.PathLike, run: str = "latest") -> dict[str, Any] | None:
    """The report of one run below `directory`, None where there is none that can be read."""
    try:
        report = json.loads((Path(directory) / run / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return report if isinstance(report, dict) and report.get("schema_version") == SCHEMA_VERSION else None


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


def shown(directory: str | Path, run_id: str) -> str:
    """Where a run's report.json is, as whoever started the run finds it."""
    path, here = Path(directory, run_id, "report.json"), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
