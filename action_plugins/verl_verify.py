"""Action plugin verl_verify: gives the module its script, read on the controller.

A plugin and no lookups: a template of ten files costs the controller a tenth of a second a host, this a thousandth.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # the package lies beside the plugins

from verl_provision.actions import OurAction

FOLDERS = ("verl_checks", "verl_programs")


def whole(files: str) -> str:
    """The script as one text: verl_verify.py with the files of its folders in its PARTS."""
    parts = {}
    for folder in FOLDERS:
        for name in sorted(os.listdir(os.path.join(files, folder))):
            if name.endswith(".py"):
                parts[f"{folder}/{name}"] = read(os.path.join(files, folder, name))
    return read(os.path.join(files, "verl_verify.py")).replace("PARTS = {}", "PARTS = " + json.dumps(parts))


def read(path: str) -> str:
    """The text of one file."""
    with open(path, encoding="utf-8") as stream:
        return stream.read()


class ActionModule(OurAction):
    """The module with its script."""

    def run(self, tmp=None, task_vars=None):
        """Return the module's answer."""
        args = dict(self._task.args)
        action = args.get("action", "run")
        # Looking for a stamp by its key doesn't need it.
        if not args.get("script") and (action == "run" or (action == "recall" and not args.get("key"))):
            args["script"] = whole(os.path.dirname(self._find_needle("files", "verl_verify.py")))
        self._task.args = args
        return super().run(tmp, task_vars)
