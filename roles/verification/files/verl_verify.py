"""Checks a verl environment from inside: run by the Python that verl will use, fed on standard input.

    python verl_verify.py '{"level": "import", "expected": {"verl_version": "0.9.1", "profile": "cpu"}}'

The checks lie in verl_checks/, a module for each level; verl_programs/ has what some of them run as processes of their
own. The role's action plugin puts all of these files into PARTS below, and the module feeds the result to `python -`:
nothing has to be copied to the host or into its container. Run from its folder, this file finds them beside itself.

The last line of the output is the result: RESULT_MARK and JSON, as catalog/schema/verification.json describes it.
"""

import os
import sys
import types

RESULT_MARK = "verl-verify-result: "
LEVELS = ["import", "devices", "gpu", "engine", "train", "collective"]
ORDER = ["core", "imports", "devices", "gpu", "work", "engine", "train", "collective"]

PARTS = {}  # "verl_checks/core.py": its text, and so on


def beside():
    """The parts from the folder of this file."""
    here = os.path.dirname(os.path.abspath(__file__))
    found = {}
    for folder in ("verl_checks", "verl_programs"):
        for name in os.listdir(os.path.join(here, folder)):
            if name.endswith(".py"):
                with open(os.path.join(here, folder, name)) as stream:
                    found["%s/%s" % (folder, name)] = stream.read()
    return found


def load(parts):
    """Make the modules of verl_checks from their texts; returns its core."""
    package = types.ModuleType("verl_checks")
    package.__path__ = []
    sys.modules["verl_checks"] = package
    for name in ORDER:
        module = types.ModuleType("verl_checks." + name)
        sys.modules[module.__name__] = module
        setattr(package, name, module)
        file = "verl_checks/%s.py" % name
        exec(compile(parts[file], file, "exec"), module.__dict__)
    core = package.core
    core.PROGRAMS.update((key.split("/")[1], text) for key, text in parts.items() if key.startswith("verl_programs/"))
    return core


if __name__ == "__main__":
    load(PARTS or beside()).main(LEVELS, RESULT_MARK)
