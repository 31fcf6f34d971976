# Copyright the verl-provision authors
# SPDX-License-Identifier: Apache-2.0
"""Python interpreters that an environment could be made with."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor

NAME = re.compile(r"^python3(?:\.(\d+))?$")
OLDEST = 9
# find_spec and no import: a look at twenty modules less.
ASK = """
import importlib.util, sys
able = int(all(importlib.util.find_spec(name) for name in ("ensurepip", "venv")))
print("%d.%d.%d" % sys.version_info[:3], able, sys.executable, sep="\\n")
"""


def ours(host):
    executable, number, able = host.interpreter()
    return {"version": number, "executable": executable, "venv": able}


def candidates(host):
    """Paths of python3 and python3.N on PATH, one per real file; a numbered name says best what it is."""
    listed = []
    for directory in host.search_path():
        for name in host.listdir(directory):
            match = NAME.match(name)
            path = os.path.join(directory, name)
            if match and int(match.group(1) or OLDEST) >= OLDEST and os.path.isfile(path) and os.access(path, os.X_OK):
                listed.append(path)
    found, seen = [], set()
    for path in sorted(listed, key=lambda path: (_of_venv(path), os.path.basename(path) == "python3")):
        real = os.path.realpath(path)
        if real not in seen:
            seen.add(real)
            found.append(path)
    return found


def _of_venv(path):
    return os.path.exists(os.path.join(os.path.dirname(os.path.dirname(path)), "pyvenv.cfg"))


def _ask(host, path):
    running, number, able = host.interpreter()
    if os.path.realpath(path) == os.path.realpath(running):
        return {"version": number, "venv": able, "real": os.path.realpath(path), "executable": path}
    result = host.run([path, "-I", "-S", "-c", ASK])
    lines = result.stdout.splitlines()
    if not result.ok or len(lines) != 3:
        return None  # a shim without a version behind it, or no Python
    # A shim (pyenv's, say) starts what the working directory wants: name what it started instead.
    shim = os.path.realpath(path) != os.path.realpath(lines[2])
    executable = lines[2] if shim else path
    return {"version": lines[0], "venv": lines[1] == "1", "real": os.path.realpath(lines[2]), "executable": executable}


def on_path(host):
    paths = candidates(host)
    if not paths:
        return []
    with ThreadPoolExecutor(max_workers=4) as pool:
        answers = list(pool.map(lambda path: _ask(host, path), paths))
    found, seen = [], set()
    for answer in answers:
        if answer is None or answer["real"] in seen:
            continue
        number = tuple(int(part) for part in answer["version"].split("."))
        if number < (3, OLDEST):
            continue
        seen.add(answer["real"])
        found.append((number, {key: answer[key] for key in ("version", "executable", "venv")}))
    return [item for _number, item in sorted(found, key=lambda pair: pair[0], reverse=True)]
