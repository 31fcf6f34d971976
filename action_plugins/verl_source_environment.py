"""Shows the progress of a build while it runs on the host.

A build takes minutes to an hour. `async` with an `until` loop over async_status would print "FAILED - RETRYING" lines
that say nothing, and a loop of included tasks would be a chain of hundreds of tasks. So the module itself can begin a
build in the background and wait for it in short turns, and this plugin prints a line per turn: where the build is, for
how long, the last line of its log. The build goes on when the connection or this run ends; the next run joins it.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # the package lies beside the plugins

from ansible.utils.display import Display

from verl_provision.actions import OurAction, turns


class ActionModule(OurAction):
    also = ("finished", "busy", "build_id", "progress")

    def run(self, tmp=None, task_vars=None):
        return self.handed_on(self._built(task_vars))

    def _built(self, task_vars):
        self._vars = task_vars or {}
        if self._task.check_mode or self._task.args.get("action", "build") != "build":
            return self._execute_module(task_vars=self._vars)
        interval = self._progress_interval()
        limit = int(self._task.args.get("lock_timeout", 1800))
        deadline = time.monotonic() + limit
        for _turn in turns(limit):
            begun = self._act(action="start")
            if begun.get("failed") or begun.get("finished") or "busy" not in begun:
                break
            self._say(f"waits for another run's build ({begun['busy']})")
            turn = max(1, min(interval, int(deadline - time.monotonic())))
            self._act(action="wait", wait_seconds=turn)
        else:
            return self._act(action="build", lock_timeout=0)  # the module's own refusal names the holder
        if begun.get("failed") or begun.get("finished") or not begun.get("build_id"):
            return begun
        limit = int(self._task.args.get("timeout", 7200))
        for _turn in turns(limit + 120):  # the build ends itself at its limit
            seen = self._act(action="wait", build_id=begun["build_id"], wait_seconds=interval)
            if seen.get("failed") or seen.get("finished") or "progress" not in seen:
                return seen
            self._say(progress_line(seen["progress"]))
        return {
            "failed": True,
            "msg": f"this host says that it is still building after {limit} s.",
            "fix": "run again: it goes on where it stopped (a longer limit: source_environment_timeout)",
        }

    def _act(self, **changes):
        return self._execute_module(module_args=dict(self._task.args, **changes), task_vars=self._vars)

    def _progress_interval(self):
        wanted = self._task.args.get("wait_seconds", 10)
        return max(1, min(15, int(wanted)))

    def _say(self, text):
        Display().display(f"{self._vars.get('inventory_hostname', '?')}: source_environment: {text}")


def progress_line(progress):
    """Where a build is; what the host says of it may be anything."""
    said = progress if isinstance(progress, dict) else {}
    numbers = (said.get("elapsed"), said.get("fetched_mb"))
    seconds, fetched = (int(value) if isinstance(value, int | float) else 0 for value in numbers)
    line = f"{seconds // 60}:{seconds % 60:02d}  stage {said.get('stage') or 'start'}"
    line += f", {fetched} MB fetched" if fetched else ""
    return line + (f": {str(said['line'])[:120]}" if said.get("line") else "")
