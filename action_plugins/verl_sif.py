"""Action plugin verl_sif: shows how much is written while the module pulls in the background on the host."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # the package lies beside the plugins

from ansible.utils.display import Display

from verl_provision.actions import OurAction, turns

display = Display()


class ActionModule(OurAction):
    """Starts the module as one of Ansible's own asynchronous jobs, which outlives this run, and looks after it."""

    also = ("ansible_job_id", "finished", "results_file", "started")

    def run(self, tmp=None, task_vars=None):
        """Return the module's answer."""
        args = dict(self._task.args)
        every = int(args.pop("wait_seconds", 10))
        if self._task.check_mode:
            return self._execute_module(module_args=args, task_vars=task_vars)
        limit = self._task.async_val = (int(args.get("attempts", 5)) + 1) * int(args.get("timeout", 7200))
        job = self._execute_module(module_args=args, task_vars=task_vars, wrap_async=True)
        self._task.async_val = 0
        for _turn in turns(limit + 60):  # the job ends itself at its limit
            if not job.get("ansible_job_id") or job.get("finished") or job.get("failed"):
                break
            asked = {"file": args["file"], "name": args["name"], "phase": "look", "wait_seconds": every}
            seen = self._execute_module(module_args=asked, task_vars=task_vars)
            if seen.get("pulling") and seen.get("progress"):
                host = task_vars.get("inventory_hostname", "host")
                display.display(f"{host}: {args['name']}: {seen['progress']}", color="bright blue")
            job = self._status(job["ansible_job_id"], "status", task_vars)
        else:
            fix = "run again: what was pulled is kept (a longer wait: container_image_timeout)"
            return {"failed": True, "msg": f"{args['name']} is still being pulled after {limit} s.", "fix": fix}
        if job.get("ansible_job_id"):
            self._status(job["ansible_job_id"], "cleanup", task_vars)
        return self.handed_on(job)

    def _status(self, jid, mode, task_vars):
        args = {"jid": jid, "mode": mode, "_async_dir": self.get_shell_option("async_dir", default="~/.ansible_async")}
        found = self._execute_module(module_name="ansible.legacy.async_status", module_args=args, task_vars=task_vars)
        return {"ansible_job_id": jid, **found}
