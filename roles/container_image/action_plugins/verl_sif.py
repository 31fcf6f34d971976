"""Action plugin verl_sif: shows how much is written while the module pulls in the background on the host."""

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

display = Display()


class ActionModule(ActionBase):
    """Starts the module as one of Ansible's own asynchronous jobs, which outlives this run, and looks after it."""

    _supports_check_mode = True
    _requires_connection = True

    def run(self, tmp=None, task_vars=None):
        """Return the module's answer."""
        super().run(tmp, task_vars)
        args = dict(self._task.args)
        every = int(args.pop("wait_seconds", 10))
        if self._task.check_mode:
            return self._execute_module(module_args=args, task_vars=task_vars)
        self._task.async_val = (int(args.get("attempts", 5)) + 1) * int(args.get("timeout", 7200))
        job = self._execute_module(module_args=args, task_vars=task_vars, wrap_async=True)
        self._task.async_val = 0
        while job.get("ansible_job_id") and not job.get("finished") and not job.get("failed"):
            look = {"file": args["file"], "name": args["name"], "phase": "look", "wait_seconds": every}
            seen = self._execute_module(module_args=look, task_vars=task_vars)
            if seen.get("pulling"):
                host = task_vars.get("inventory_hostname", "host")
                display.display(f"{host}: {args['name']}: {seen['progress']}", color="bright blue")
            job = self._status(job["ansible_job_id"], "status", task_vars)
            if job.get("unreachable"):
                return job
        if job.get("ansible_job_id"):
            self._status(job["ansible_job_id"], "cleanup", task_vars)
        return {key: value for key, value in job.items() if key not in ("ansible_job_id", "results_file", "started")}

    def _status(self, jid, mode, task_vars):
        args = {"jid": jid, "mode": mode, "_async_dir": self.get_shell_option("async_dir", default="~/.ansible_async")}
        found = self._execute_module(module_name="ansible.legacy.async_status", module_args=args, task_vars=task_vars)
        return {"ansible_job_id": jid, **found}
