"""Which Python builds the environment."""

from __future__ import annotations

import json
import operator
import os
import re
import shutil
import subprocess

from ansible.module_utils.verl_source.failure import BuildFailure

_PROBE = (
    "import sys, json, importlib.util as u;"
    "print(json.dumps({'version': '.'.join(map(str, sys.version_info[:3])), 'executable': sys.executable,"
    " 'venv': all(u.find_spec(n) for n in ('venv', 'ensurepip'))}))"
)
_OPERATORS = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
    "!=": operator.ne,
}


def numbers(version):
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def satisfies(version, specifier):
    """Whether plain `version` meets `specifier` (such as ">=3.10,<3.13"); an empty one is met by all."""
    found = numbers(version)
    for clause in filter(None, (part.strip() for part in (specifier or "").split(","))):
        match = re.match(r"(>=|<=|==|!=|>|<)\s*([\d.]+)(\.\*)?$", clause)
        if not match:
            raise BuildFailure(
                "%r in the wanted Python versions isn't a comparison" % clause,
                "write it like >=3.10,<3.13",
            )
        wanted = numbers(match.group(2))
        # "==3.12" means any 3.12, as people and conda write it.
        left = found[: len(wanted)] if match.group(1) in ("==", "!=") else found
        right = wanted
        width = max(len(left), len(right))
        left += (0,) * (width - len(left))
        right += (0,) * (width - len(right))
        if not _OPERATORS[match.group(1)](left, right):
            return False
    return True


def probe(path):
    """{version, executable, venv} of the interpreter at `path`, or None where it doesn't run."""
    try:
        done = subprocess.run(
            [path, "-c", _PROBE],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=30,
            env={k: v for k, v in os.environ.items() if k not in ("PYTHONHOME", "PYTHONPATH")},
            check=False,
        )
        return json.loads(done.stdout.decode()) if done.returncode == 0 else None
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def _venv_fix(version):
    return (
        "as an administrator: apt-get install python%s-venv (Debian, Ubuntu), or give another interpreter "
        "with source_environment_python" % ".".join(version.split(".")[:2])
    )


def choose(wanted, requires, own):
    """The interpreter to build with: `wanted` if given, else `own` (Ansible's), else the newest python3.N that does."""
    if wanted:
        path = shutil.which(os.path.expanduser(wanted)) or os.path.expanduser(wanted)
        found = probe(path)
        if not found:
            raise BuildFailure(
                "the Python interpreter %s doesn't run" % wanted,
                "set source_environment_python to one that does (found on PATH: %s)"
                % (", ".join(names_on_path()) or "none"),
            )
        if not satisfies(found["version"], requires):
            raise BuildFailure(
                "Python %s at %s is not %s, which this verl release needs" % (found["version"], wanted, requires),
                "set source_environment_python to another interpreter (found on PATH: %s)"
                % (", ".join(names_on_path()) or "none"),
            )
        if not found["venv"]:
            raise BuildFailure(
                "Python %s at %s can't make virtual environments: its ensurepip is missing"
                % (found["version"], wanted),
                _venv_fix(found["version"]),
            )
        return dict(found, path=path)
    without_venv = None
    seen = []
    for path in [own] + names_on_path():
        found = probe(path)
        if not found or not satisfies(found["version"], requires):
            seen.append("%s %s" % (path, found["version"] if found else "doesn't run"))
            continue
        if found["venv"]:
            return dict(found, path=path)
        without_venv = without_venv or found["version"]
        seen.append("%s %s without ensurepip" % (path, found["version"]))
    if without_venv:
        raise BuildFailure(
            "no Python %s on this host can make virtual environments (found: %s)" % (requires, "; ".join(seen)),
            _venv_fix(without_venv),
        )
    raise BuildFailure(
        "this host has no Python %s (found: %s)" % (requires or "at all", "; ".join(seen) or "none"),
        "install one (for instance with conda or uv, in your home), and give it with source_environment_python",
    )


def names_on_path():
    """python3.N on PATH, newest first."""
    found = []
    for minor in range(20, 8, -1):
        path = shutil.which("python3.%d" % minor)
        if path:
            found.append(path)
    return found
