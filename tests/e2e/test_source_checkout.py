"""verl from its checkout, and by its own script: real venv, real pip, real git, tiny packages."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.source_environment.conftest import bare_environment, begun, host, indexes  # noqa: F401  (fixtures)
from tests.unit.source_environment.source_tree import git, write_source
from tests.unit.source_environment.tiny_index import write_index

pytestmark = pytest.mark.e2e
INSTALLS = """#!/bin/bash
export MAX_JOBS=32
echo "jobs $MAX_JOBS, megatron $USE_MEGATRON, sglang $USE_SGLANG"
python -m pip install torch sympy
python -m pip install no-such-package
echo "Successfully installed all packages"
"""


def test_the_checkout_is_installed_in_place_with_what_it_needs(begun):  # noqa: F811
    commit = write_source(begun.prefix / "src")
    result = begun.run(method="git")
    assert not result.get("failed"), result
    assert result["verl_version"] == "0.9.1.dev0"
    assert begun.stamp()["commit"] == commit
    assert "ray==2.60.0" in (begun.prefix / "env.lock.txt").read_text()
    code = "import verl, ray; print(verl.__file__)"
    done = subprocess.run([begun.prefix / "env/bin/python", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(begun.prefix / "src/verl/__init__.py")
    again = begun.run(method="git", pypi_index="http://127.0.0.1:1/", torch_index="http://127.0.0.1:1/cpu")
    assert again["changed"] is False
    # Another commit: the same place, newer needs.
    write_source(begun.prefix / "src", "0.9.2.dev0")
    assert "it was built at " + commit[:12] in begun.run(method="git", check=True)["reasons"][0]
    moved = begun.run(method="git")
    assert (moved["changed"], moved["verl_version"]) == (True, "0.9.2.dev0")
    assert begun.run(method="git")["changed"] is False
    # And back to the release from the index.
    assert "wanted 0.9.1" in begun.run(check=True)["msg"]


def test_constraints_hold_what_the_checkout_asks_for(begun):  # noqa: F811
    write_source(begun.prefix / "src")
    refused = begun.run(method="git", constraints=["ray<2"])
    assert refused["failed"]
    assert "ray" in refused["msg"]
    assert not (begun.state / "source_environment.json").exists()


def test_the_script_runs_with_its_switches_and_what_it_left_is_looked_for(begun):  # noqa: F811
    write_source(begun.prefix / "src", script=INSTALLS)
    result = begun.run(method="script", script_packages=["torch", "Sympy"], torch="", max_jobs=3)
    assert not result.get("failed"), result
    assert "jobs 3, megatron 0, sglang 0" in begun.log()
    assert list(result["stages"]) == ["environment", "script", "verl", "check"]
    assert git(begun.prefix / "src", "status", "--porcelain") == ""
    log = len(begun.log())
    assert begun.run(method="script", script_packages=["torch", "sympy"], torch="", max_jobs=3)["changed"] is False
    assert "Successfully" not in begun.log()[log:]


def test_a_script_that_was_cut_off_is_run_again(begun):  # noqa: F811
    write_source(begun.prefix / "src", script=INSTALLS)
    options = {"method": "script", "script_packages": ["torch", "sympy"], "torch": ""}
    cut = begun.run(**options, pypi_index="http://127.0.0.1:1/")
    assert cut["failed"]
    assert "has not installed: sympy, torch" in cut["msg"]
    assert "can't be reached" in cut["msg"]
    assert begun.run(**options)["changed"] is True


def test_a_release_that_no_index_has_comes_from_its_checkout(begun, tmp_path):  # noqa: F811
    index = write_index(Path(tmp_path) / "without", [("torch", "2.11.0", [], {}), ("ray", "2.60.0", [], {})])
    write_source(begun.prefix / "src", "0.0.1")
    result = begun.run(method="git", verl_version="0.0.1", pypi_index=index.as_uri(), torch_index="")
    assert result["verl_version"] == "0.0.1", result


def test_a_build_with_a_closed_gate_is_no_environment(begun):  # noqa: F811
    refused = begun.run(gates={"numpy": ">=2"})
    assert refused["failed"]
    assert "gate.numpy: found numpy is not installed, needed numpy >=2" in refused["msg"]
    assert "pip install 'numpy>=2'" in refused["fix"]
    assert not (begun.state / "source_environment.json").exists()


CONDA = """#!/bin/sh
# As conda does: an environment with the Python that was asked for, and pip, at --prefix.
echo "$@" >>"$HOME/conda.calls"
while [ $# -gt 0 ]; do
  case $1 in
    --prefix) prefix=$2 ;;
    python=*) python=${1#python=} ;;
  esac
  shift
done
python$python -m venv "$prefix" && mkdir "$prefix/conda-meta" && rm "$prefix/bin/activate"
"""


def test_the_seeds_way_by_conda_and_the_script(host):  # noqa: F811
    """conda create, the script with USE_MEGATRON=0, pip install --no-deps -e: with a stand-in conda."""
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    conda = host.home / ".local/bin/conda"
    conda.parent.mkdir(parents=True)
    conda.write_text(CONDA.replace("python$python", sys.executable))
    conda.chmod(0o755)
    write_source(host.prefix / "src", script=INSTALLS.replace("python -m pip", "pip"))
    options = {
        "method": "script", "manager": "conda", "python": "", "python_version": python, "torch": "",
        "script_packages": ["torch", "sympy"], "trainer": "fsdp",
    }  # fmt: skip
    result = host.run(**options)
    assert not result.get("failed"), result
    assert (host.home / "conda.calls").read_text().split() == [
        "create", "--yes", "--quiet", "--prefix", f"{host.prefix}/env",
        "--override-channels", "--channel", "conda-forge", f"python={python}", "pip",
    ]  # fmt: skip
    assert result["activate"] == f"conda activate {host.prefix}/env"
    assert host.stamp()["manager"] == "conda"
    assert "megatron 0, sglang 0" in host.log()
    assert host.run(**options, pypi_index="http://127.0.0.1:1/")["changed"] is False
    assert len((host.home / "conda.calls").read_text().splitlines()) == 1
