"""The module as a process of its own, as on a host, with pip seeing nothing but the tiny index."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import ansible.module_utils
import pytest

from .tiny_index import CPU_PACKAGES, write_index

ROOT = Path(__file__).resolve().parents[3]
ansible.module_utils.__path__.append(str(ROOT / "module_utils"))

RUNNER = """
import json, runpy, sys
import ansible.module_utils
ansible.module_utils.__path__.append(sys.argv[1])
from ansible.module_utils.testing import patch_module_args
with patch_module_args(json.loads(sys.argv[3])):
    runpy.run_path(sys.argv[2], run_name="__main__")
"""


class Host:
    """One user's home: a prefix, a state directory and what pip may use."""

    def __init__(self, home, index, cpu_index):
        self.home = home
        self.prefix = home / "verl"
        self.state = home / "state"
        self.python = sys.executable
        self.options = {
            "prefix": str(self.prefix),
            "state_dir": str(self.state),
            "verl_version": "0.9.1",
            "torch": "2.11.0",
            "pypi_index": index,
            "torch_index": cpu_index,
            "disk_needed_gb": 0.05,
            "python": self.python,
            "python_requires": ">=3.10",
        }

    def environ(self):
        env = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
        # A plain PATH: pip asks `rustc --version`, and rustup's rustc would make itself a home.
        return {**env, "HOME": str(self.home), "PIP_CONFIG_FILE": os.devnull, "PATH": "/usr/bin:/bin"}

    def popen(self, module="verl_source_environment", check=False, **options):
        arguments = {**self.options, **options, "_ansible_check_mode": check, "_ansible_remote_tmp": str(self.home)}
        words = [self.python, "-c", RUNNER, str(ROOT / "module_utils"), str(ROOT / f"library/{module}.py")]
        return subprocess.Popen(
            [*words, json.dumps(arguments)],
            env=self.environ(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, **options):
        process = self.popen(**options)
        out, err = process.communicate(timeout=120)
        assert out.strip(), err
        return json.loads(out.strip().splitlines()[-1])

    def log(self):
        return (self.state / "log/source_environment.log").read_text()

    def site(self):
        return next((self.prefix / "env/lib").glob("python3.*/site-packages"))

    def stamp(self):
        return json.loads((self.state / "source_environment.json").read_text())


@pytest.fixture(scope="session")
def indexes(tmp_path_factory):
    """(everything, PyTorch's CPU builds) as file: URLs."""
    folder = tmp_path_factory.mktemp("index")
    everything = write_index(folder / "simple")
    cpu = write_index(folder / "whl" / "cpu", CPU_PACKAGES)
    return everything.as_uri(), cpu.as_uri()


@pytest.fixture
def host(tmp_path, indexes):
    """Nothing is there yet."""
    return Host(tmp_path, *indexes)


@pytest.fixture(scope="session")
def bare_environment(tmp_path_factory):
    """An environment that holds pip only; making one takes seconds, copying it doesn't."""
    path = tmp_path_factory.mktemp("bare") / "env"
    subprocess.run([sys.executable, "-m", "venv", path], check=True)
    return path


def begin(host, bare_environment):
    """Leave what a build leaves that ended after its first stage."""
    shutil.copytree(bare_environment, host.prefix / "env", symlinks=True)
    (host.prefix / ".build").mkdir()
    (host.prefix / ".build/journal.json").write_text('{"stages": {}}')
    return host


@pytest.fixture
def begun(host, bare_environment):
    """A host whose build ended after its first stage."""
    return begin(host, bare_environment)


@pytest.fixture(scope="module")
def built(tmp_path_factory, indexes, bare_environment):
    """A host with a finished environment, shared by the tests of a module, which leave it finished."""
    host = begin(Host(tmp_path_factory.mktemp("home"), *indexes), bare_environment)
    host.first = host.run()
    assert not host.first.get("failed"), host.first
    return host
