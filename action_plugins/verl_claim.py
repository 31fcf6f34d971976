"""Action plugin verl_claim: says which controller claims the host, and takes over from a run that ended here."""

import multiprocessing
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # the package lies beside the plugins

from verl_provision.actions import OurAction
from verl_provision.module_utils import claim


class ActionModule(OurAction):
    """One exchange, two where a killed run of this controller left its claim."""

    def run(self, tmp=None, task_vars=None):
        """Return the module's answer."""
        main = multiprocessing.parent_process()
        me = claim.identity(main.pid if main else os.getpid())
        args = {**self._task.args, "controller": me}
        answer = self._execute_module(module_args=args, task_vars=task_vars)
        holder = answer.get("holder")
        if isinstance(holder, dict) and claim.dead(holder, me):
            answer = self._execute_module(module_args={**args, "over": str(holder.get("run"))}, task_vars=task_vars)
        return answer
