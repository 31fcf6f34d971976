"""The verification script, run the way the role runs it: on standard input, by another process."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from .fake_packages import put_all

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "roles/verification/files/verl_verify.py"
SCHEMA = json.loads((ROOT / "catalog/schema/verification.json").read_text())
MARK = "verl-verify-result: "


def imported(path):
    """A Python file that is in no package."""
    spec = importlib.util.spec_from_file_location(path.parent.name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def whole():
    """The script as the role sends it: one text."""
    return imported(ROOT / "action_plugins/verl_verify.py").whole(str(SCRIPT.parent))


@pytest.fixture(scope="session")
def checks():
    """The modules of the script, by name."""
    script = imported(SCRIPT)
    script.load(script.beside())
    return sys.modules["verl_checks"]


def valid(instance, definition=None):
    schema = {**SCHEMA, "$ref": f"#/$defs/{definition}"} if definition else SCHEMA
    if definition:
        schema = {key: value for key, value in schema.items() if key in ("$schema", "$defs", "$ref")}
    jsonschema.validate(instance, schema)
    return instance


class Place:
    """Where the script runs: a site directory and a PATH."""

    def __init__(self, home):
        self.site = put_all(home / "site")
        self.bin = home / "bin"
        self.bin.mkdir()
        self.dev = home / "dev"
        self.dev.mkdir()

    def command(self, name, text):
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    def run(self, level="import", expected=None, **request):
        valid(expected or {}, "expected")
        asked = {"level": level, "expected": expected or {}, "check_timeout": 20, "dev": str(self.dev), **request}
        done = subprocess.run(
            [sys.executable, "-", json.dumps(asked)],
            input=whole().encode(),
            capture_output=True,
            env={"PATH": f"{self.bin}:/usr/bin:/bin", "PYTHONPATH": str(self.site), "HOME": os.devnull},
            cwd="/",
            timeout=60,
        )
        assert done.returncode == 0, done.stderr.decode()
        *noise, last = done.stdout.decode().splitlines()
        assert noise == []
        assert last.startswith(MARK)
        result = valid(json.loads(last[len(MARK) :]))
        result["by_id"] = {check["id"]: check for check in result["checks"]}
        result["failed"] = [check["id"] for check in result["checks"] if check["ok"] is False]
        return result


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)
