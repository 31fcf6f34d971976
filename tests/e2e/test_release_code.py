"""The catalog's code_sha256 of a release is that of the sdist on PyPI, made by git as on a host."""

import importlib.util
import subprocess
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from verl_provision.catalog import load

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
RELEASES = {one["version"]: one["code_sha256"] for one in load()["releases"] if one.get("code_sha256")}


@pytest.mark.parametrize("version", RELEASES)
def test_the_catalogs_code_is_that_on_pypi(version, tmp_path):
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary=verl", f"verl=={version}"]
    subprocess.run(pip, cwd=tmp_path, check=True)
    with tarfile.open(tmp_path / f"verl-{version}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    tree = tmp_path / f"verl-{version}"
    identity = ["-c", "user.name=n", "-c", "user.email=n@example.org"]
    for argv in (["init", "-q"], ["add", "-f", "."], [*identity, "commit", "-q", "-m", version]):
        subprocess.run(["git", *argv], cwd=tree, check=True)
    spec = importlib.util.spec_from_file_location("checkout", ROOT / "library/verl_git_checkout.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    asked = SimpleNamespace(params={"path": str(tree), "code_sha256": RELEASES[version]})
    assert module.Checkout(asked).code("HEAD") == RELEASES[version]
