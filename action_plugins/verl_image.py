"""Action plugin verl_image: shows a line of progress while the module pulls in the background on the host."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # the package lies beside the plugins

from ansible.utils.display import Display

from verl_provision.actions import OurAction, turns

display = Display()


class ActionModule(OurAction):
    """Starts the pull, then asks how far it is; each question is answered as soon as the pull ends."""

    def run(self, tmp=None, task_vars=None):
        """Return the module's last answer."""
        args = dict(self._task.args)
        if self._task.check_mode or args.get("phase", "all") != "all":
            return self._execute_module(module_args=args, task_vars=task_vars)
        every = int(args.pop("wait_seconds", 10))
        host = task_vars.get("inventory_hostname", "host")
        limit = int(args.get("timeout", 43200))
        result = self._execute_module(module_args={**args, "phase": "begin"}, task_vars=task_vars)
        shown = time.monotonic()
        for _turn in turns(limit):
            if not result.get("pulling") or result.get("failed"):
                return result
            result = self._execute_module(
                module_args={**args, "phase": "wait", "wait_seconds": every}, task_vars=task_vars
            )
            if result.get("pulling") and time.monotonic() - shown >= 1:
                display.display(f"{host}: {args.get('name')}: {result.get('progress')}", color="bright blue")
                shown = time.monotonic()
        if not result.get("pulling"):
            return result
        return {
            "failed": True,
            "msg": f"{args.get('name')} is still being pulled after {limit} s.",
            "fix": "run again: the pull goes on, and the next run joins it (a longer wait: container_image_timeout)",
        }
