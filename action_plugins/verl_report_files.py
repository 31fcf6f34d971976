"""Action plugin verl_report_files: writes one run's files where the playbook runs, and points `latest` at them.

In this very process: seven local modules for half a dozen small files cost a second run more than its look at a host.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # the package lies beside the plugins

from verl_provision.module_utils import files
from verl_provision.report import latest


def point(link: Path, target: str) -> None:
    """Make a link, or move it, in one go."""
    aside = link.with_name(f".{link.name}.new")
    while True:
        aside.unlink(missing_ok=True)  # a killed run's
        with contextlib.suppress(FileExistsError, FileNotFoundError):  # another run's, which does the same
            aside.symlink_to(target)
            os.replace(aside, link)
            return


def as_json(document: Any) -> str:
    """The document as JSON, which has no NaN and no infinity: text instead."""
    try:
        return json.dumps(document, indent=4, allow_nan=False)
    except ValueError:
        return json.dumps(json.loads(json.dumps(document), parse_constant=str), indent=4, allow_nan=False)


def write_all(directory: Path, run: str, documents: Mapping[str, Any], views: Mapping[str, Any], keep: int = 0) -> Path:
    """Write a run's directory; the documents are JSON, the views are text. Only the last `keep` runs stay; 0: all."""
    place = directory / run
    texts = {name: as_json(document) + "\n" for name, document in documents.items()}
    for name, text in (texts | dict(views)).items():
        files.write(str(place / name), str(text))
    point(directory / "latest", run)
    for old in latest.outdated(directory, keep, run):
        shutil.rmtree(old, ignore_errors=True)  # what can't be removed now is tried again by the next run
    return place


class ActionModule(ActionBase):
    """Files on the controller: written in check mode too, and never a change of a host."""

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        """Return where the files are."""
        result = super().run(tmp, task_vars)
        args = self._task.args
        # As a local module sees it: relative to the playbook.
        directory = Path(self._loader.get_basedir(), os.path.expanduser(os.path.expandvars(args["directory"])))
        try:
            place = write_all(directory, str(args["run"]), args["documents"], args["views"], int(args.get("keep") or 0))
        except OSError as error:
            raise AnsibleActionFail(
                f"the report can't be written below {directory}: {error.strerror} ({error.filename}). "
                "Give run_report_directory a place that can be written."
            ) from error
        return {**result, "changed": False, "path": str(place)}
