"""Action plugin verl_image: shows a line of progress while the module pulls in the background on the host."""

import time

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

display = Display()


class ActionModule(ActionBase):
    """Starts the pull, then asks how far it is; each question is answered as soon as the pull ends."""

    _supports_check_mode = True
    _requires_connection = True

    def run(self, tmp=None, task_vars=None):
        """Return the module's last answer."""
        super().run(tmp, task_vars)
        args = dict(self._task.args)
        if self._task.check_mode or args.get("phase", "all") != "all":
            return self._execute_module(module_args=args, task_vars=task_vars)
        every = int(args.pop("wait_seconds", 10))
        host = task_vars.get("inventory_hostname", "host")
        result = self._execute_module(module_args={**args, "phase": "begin"}, task_vars=task_vars)
        shown = time.monotonic()
        while result.get("pulling") and not result.get("failed"):
            result = self._execute_module(
                module_args={**args, "phase": "wait", "wait_seconds": every}, task_vars=task_vars
            )
            if result.get("unreachable"):
                break
            if result.get("pulling") and time.monotonic() - shown >= 1:
                display.display(
                    "{0}: {1}: {2}".format(host, args.get("name"), result.get("progress")), color="bright blue"
                )
                shown = time.monotonic()
        return result
