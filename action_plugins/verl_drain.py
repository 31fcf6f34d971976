"""Action plugin verl_drain: runs the user's command before or after a step that disturbs a host, on the controller.

In this very process: it must not depend on how the host, or `localhost`, is reached.
"""

from __future__ import annotations

import os
import signal
import subprocess

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

SHOWN = 600  # of what the command said: its end


def told(command: str, seconds: int, about: dict[str, str]) -> tuple[str, str]:
    """Run a command in a shell, with `about` in its environment. Returns (what went wrong or '', what it said)."""
    with subprocess.Popen(
        ["/bin/sh", "-c", command],
        env={**os.environ, **about},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            said, dummy = process.communicate(timeout=seconds)
            wrong = f"exit status {process.returncode}" if process.returncode else ""
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # whatever it started, too
            said, dummy = process.communicate()
            wrong = f"no end within {seconds} s (verl_drain_timeout); it was killed"
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return wrong, said.decode("utf-8", "replace").strip()[-SHOWN:]


class ActionModule(ActionBase):
    """One of the two commands, for one host."""

    _supports_check_mode = True
    _requires_connection = False
    _VALID_ARGS = frozenset(("variable", "command", "timeout", "about"))

    def run(self, tmp=None, task_vars=None):
        """Run it; a failure says what was run, how it ended and what it said."""
        result = super().run(tmp, task_vars)
        if self._task.check_mode:
            return {**result, "changed": True, "said": ""}
        variable, command = str(self._task.args["variable"]), str(self._task.args["command"])
        about = {str(name): str(value) for name, value in self._task.args["about"].items()}
        try:
            wrong, said = told(command, int(self._task.args["timeout"]), about)
        except OSError as error:
            raise AnsibleActionFail(f"{variable} can't be run on the controller: {error}") from error
        if wrong:
            variables = " ".join(f"{name}={value}" for name, value in about.items())
            raise AnsibleActionFail(
                f"{variable} on the controller: {wrong}, needed 0; it said: {said or 'nothing'}. "
                f"Try it there: {variables} sh -c {command!r}"
            )
        return {**result, "changed": True, "said": said}
