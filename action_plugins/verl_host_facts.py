"""Action plugin verl_host_facts: the module's own work, sent as one script to one Python on the host.

Ansible's own way packs its module library too: 200 kB that every host unpacks and compiles before it looks at anything,
and another exchange to find Python. A look needs neither, writes no file (so it answers from a full disk), and a fleet
meets this task on every run. Where a connection can't pipe, the module goes Ansible's way; the answer is the same.
"""

from __future__ import annotations

import base64
import functools
import json
import shlex
import sys
import zlib
from pathlib import Path
from typing import Any

from ansible import constants as C
from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.loader import become_loader

UTILS = Path(__file__).resolve().parents[1] / "module_utils"
sys.path.insert(0, str(UTILS))  # the probes lie beside the plugin
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # so does the package

from verl_probes.look import ARGUMENTS

from verl_provision.actions import OurAction, unanswered
from verl_provision.boundary.answer import named

DISCOVER = ("auto", "auto_silent", "auto_legacy", "auto_legacy_silent")
SCRIPT = '''
import sys
if sys.version_info < (3, 8):
    sys.exit("Python %d.%d is too old: verl_host_facts needs 3.8 or newer" % sys.version_info[:2])
import base64, importlib.machinery, json, zlib

SOURCES = json.loads(zlib.decompress(base64.b64decode("@SOURCES@")))


class Shipped:
    """Imports what came with this script."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name in SOURCES:
            return importlib.machinery.ModuleSpec(name, Shipped, is_package=name == "verl_probes")

    @staticmethod
    def create_module(spec):
        return None

    @staticmethod
    def exec_module(module):
        exec(compile(SOURCES[module.__name__], module.__name__, "exec"), module.__dict__)


sys.meta_path.insert(0, Shipped)
from verl_probes.look import look

print(json.dumps({"changed": False, "facts": look(json.loads(base64.b64decode("@PARAMS@")))}))
'''


@functools.cache
def script() -> str:
    """The script with the probes in it, all but what it is asked."""
    sources = {
        f"verl_probes.{path.stem}": path.read_text(encoding="utf-8") for path in (UTILS / "verl_probes").glob("*.py")
    }
    sources["verl_probes"] = sources.pop("verl_probes.__init__")
    packed = zlib.compress(json.dumps(sources, sort_keys=True).encode(), 9)
    return SCRIPT.replace("@SOURCES@", base64.b64encode(packed).decode())


def parameters(args: dict) -> dict:
    """What the script is asked; paths stay as they were said, since `~` is the host's."""
    checked = ArgumentSpecValidator(ARGUMENTS).validate(args)
    if checked.error_messages:
        raise AnsibleActionFail("; ".join(checked.error_messages))
    said = {name: args.get(name, option["default"]) for name, option in ARGUMENTS.items() if option["type"] == "path"}
    return {name: checked.validated_parameters[name] for name in ARGUMENTS} | said


def start(interpreter: str | None, candidates: list[str]) -> str:
    """The shell command that runs a script from standard input: by the Python that's named, or the first there is."""
    if interpreter:
        return f"{interpreter} -"
    tried = " ".join(shlex.quote(candidate) for candidate in candidates)
    return (
        f'for python in {tried}; do if command -v "$python" >/dev/null 2>&1; then exec "$python" -; fi; done; '
        f'echo "no Python was found; these were tried:" {tried} >&2; exit 127'
    )


def answer(done: dict) -> dict:
    """The module's answer, from what the script printed (after whatever a login shell may say first)."""
    for line in reversed(done.get("stdout", "").splitlines()):
        if line.startswith('{"changed"'):
            try:
                return named(json.loads(line), ("facts",), "verl_host_facts")
            except (ValueError, RecursionError) as error:
                return named({"failed": True, "msg": f"the host's facts can't be read: {error}"}, (), "")
    said = {"module_stdout": done.get("stdout"), "module_stderr": done.get("stderr"), "rc": done.get("rc")}
    return named(unanswered(said, "verl_host_facts"), (), "")


def become_password(templar: Any, task_vars: dict, play_context: Any) -> str | None:
    """The password that Ansible would give to sudo: the inventory's, else the one of `-K`."""
    sudo = become_loader.get("sudo")
    names = set(C.config.get_plugin_vars("become", "sudo")) & set(task_vars)
    sudo.set_options(var_options={name: templar.template(task_vars[name]) for name in names})
    return sudo.get_option("become_pass") or getattr(play_context, "become_pass", None) or None


class ActionModule(OurAction):
    """One exchange where the connection can pipe, the plain module elsewhere."""

    def run(self, tmp=None, task_vars=None):
        """Return the module's answer."""
        params = parameters(self._task.args)
        if not self._can_pipe():
            return super().run(tmp, task_vars)
        interpreter = self._interpreter(task_vars)
        command = start(interpreter, C.config.get_config_value("INTERPRETER_PYTHON_FALLBACK", variables=task_vars))
        if not interpreter:
            command = f"/bin/sh -c {shlex.quote(command)}"
        secret = become_password(self._templar, task_vars, self._play_context)
        if secret and not self._play_context.become:
            params["sudo_password"] = secret  # piped like become's own: no file and no argument has it
        sent = script().replace("@PARAMS@", base64.b64encode(json.dumps(params).encode()).decode())
        environment = self._compute_environment_string()
        done = self._low_level_execute_command(f"{environment} {command}".strip(), in_data=sent.encode())
        return answer(done)

    def _can_pipe(self) -> bool:
        return (
            not self._task.async_val
            and not self._task.delegate_to
            and getattr(self._connection._shell, "SHELL_FAMILY", None) == "sh"
            and self._is_pipelining_enabled("new")
        )

    def _interpreter(self, task_vars: dict) -> str | None:
        """The Python that the inventory or the configuration names; None where it is to be found."""
        named = task_vars.get("ansible_python_interpreter")
        if named is None:
            named = C.config.get_config_value("INTERPRETER_PYTHON", variables=task_vars)
        named = str(self._templar.template(named)) if named else "auto"
        return None if named in DISCOVER else named
