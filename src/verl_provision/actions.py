"""What every action plugin of ours is made of, and the whole of most: whatever a host answers, `named` is asked first.

`action_plugins/` has a file for each module in `library/`; a module without one would be Ansible's own business, which
hands on what the host says.
"""

import json
import time
from collections.abc import Iterator
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

from verl_provision.boundary.answer import documented, named
from verl_provision.boundary.text import visible


class OurAction(ActionBase):
    """Runs a module of ours. Of each answer only what its documentation names is handed on."""

    _supports_check_mode = True
    _supports_async = False
    _requires_connection = True
    also: tuple[str, ...] = ()  # keys that only the plugin itself needs

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        """Run the module; return its answer."""
        super().run(tmp, task_vars)
        return self.handed_on(self._execute_module(task_vars=task_vars))

    def handed_on(self, answer: dict[str, Any]) -> dict[str, Any]:
        """The answer without what only the plugin itself needs."""
        return {key: value for key, value in answer.items() if key not in self.also}

    def _parse_returned_data(self, res: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """What Ansible makes of a module's output, written anew: it reads what is `named` and nothing else."""
        heard = {**res, "stdout": json.dumps(self._named(res)), "stderr": visible(res.get("stderr") or "")}
        return super()._parse_returned_data(heard, *args, **kwargs)

    def _low_level_execute_command(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        try:
            return super()._low_level_execute_command(*args, **kwargs)
        except AnsibleConnectionFailure as error:  # it repeats what the host's SSH said
            raise AnsibleConnectionFailure(visible(error.message)) from None

    def _named(self, res: dict[str, Any]) -> dict[str, Any]:
        """The module's answer, after whatever a login shell may say first."""
        said = res.get("stdout") or ""
        try:
            answer = json.JSONDecoder().raw_decode(said, 0 if said.startswith("{") else said.find("\n{") + 1)[0]
        except (ValueError, RecursionError):
            answer = unanswered({**res, "module_stdout": said, "module_stderr": res.get("stderr")}, self._task.action)
        plugin = self._shared_loader_obj.module_loader.find_plugin_with_context(self._task.action)
        kept = named(answer, (*documented(plugin.plugin_resolved_path), *self.also), self._task.action)
        # Ansible's own wrapper for a module in the background says so, and the host may keep its own folder.
        its_own = "_ansible_suppress_tmpdir_delete"
        return kept | ({its_own: True} if isinstance(answer, dict) and answer.get(its_own) else {})


def turns(limit: float, pause: float = 1) -> Iterator[None]:
    """Yield each time that a host at work may be asked again, until `limit` seconds have passed.

    The host waits before it answers; one that doesn't is not asked without a pause.
    """
    end = time.monotonic() + limit
    while (asked := time.monotonic()) < end:
        yield
        time.sleep(max(0.0, asked + pause - time.monotonic()))


def unanswered(done: dict[str, Any], who: str) -> dict[str, Any]:
    """The answer for a host from which none came: what it said instead."""
    said = done.get("module_stderr") or done.get("module_stdout") or done.get("msg") or ""
    lines = [line.strip() for line in str(said).splitlines() if line.strip()]
    last = lines[-1][:2000] if lines else "no output"
    return {"failed": True, "msg": f"{who} gave no answer (exit status {done.get('rc')}): {last}"}
