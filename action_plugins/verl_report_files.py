"""Action plugin verl_report_files: writes one run's files where the playbook runs, and points `latest` at them.

In this very process: seven local modules for half a dozen small files cost a second run more than its look at a host.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase


def write(path: Path, content: str) -> None:
    """Put a file in place in one go: whoever reads it sees the old or the new one."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(content)
    os.chmod(name, 0o644)
    os.replace(name, path)


def point(link: Path, target: str) -> None:
    """Make a link, or move it, in one go."""
    aside = link.with_name(f".{link.name}.{os.getpid()}")
    aside.unlink(missing_ok=True)
    aside.symlink_to(target)
    os.replace(aside, link)


def write_all(directory: Path, run: str, documents: Mapping[str, Any], views: Mapping[str, Any]) -> Path:
    """Write a run's directory; the documents are JSON, the views are text."""
    place = directory / run
    place.mkdir(parents=True, exist_ok=True, mode=0o755)
    for name, document in documents.items():
        write(place / name, json.dumps(document, indent=4) + "\n")
    for name, view in views.items():
        write(place / name, str(view))
    point(directory / "latest", run)
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
            place = write_all(directory, str(args["run"]), args["documents"], args["views"])
        except OSError as error:
            raise AnsibleActionFail(
                f"the report can't be written below {directory}: {error.strerror} ({error.filename}). "
                "Give run_report_directory a place that can be written."
            ) from error
        return {**result, "changed": False, "path": str(place)}
