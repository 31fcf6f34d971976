"""Looking at a build from outside."""

import json
import os
import time
from pathlib import Path


def command_line(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def files_below(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def wait_until(true, seconds=30):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("it never came")


def builder_pid(host):
    return json.loads((host.prefix / ".lock").read_text())["pid"]


def pips(host):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        words = command_line(pid)
        if words.startswith(str(host.prefix / "env/bin/python").encode()):
            found.append(int(pid))
    return found
