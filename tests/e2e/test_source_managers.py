"""uv for real: fetched from the package index by its pinned hash, it makes an environment that is built on."""

import os
import platform
import subprocess
import sys

import pytest
import yaml

from tests.unit.source_environment.conftest import ROOT, host, indexes  # noqa: F401  (fixtures)
from tests.unit.source_environment.tiny_index import write_index
from verl_provision.catalog.model import read

# Found beside the conftest above, which makes our module_utils known.
from ansible.module_utils.verl_source import managers  # isort: skip

pytestmark = pytest.mark.e2e
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture(scope="module")
def uv(tmp_path_factory):
    """The real uv, as a source environment would get it."""
    known = read({"managers": yaml.safe_load((ROOT / "catalog/managers.yml").read_text())["managers"]})
    download = known.manager("uv", platform.machine())
    home = tmp_path_factory.mktemp("uv")
    options = {
        "prefix": str(home / "verl"),
        "manager": "uv",
        "manager_download": download,
        "python": "",
        "python_version": PYTHON,
        "python_requires": "",
        "own_python": sys.executable,
        "pypi_index": "",
        "downloads_mirror": "",
    }
    manager = managers.choose(options)

    def call(words):
        return os.spawnv(os.P_WAIT, words[0], words)

    (home / "scratch").mkdir()
    managers.install(manager, options, str(home / "scratch"), call)
    return manager.program, download


def test_uv_comes_from_the_package_index_and_is_what_was_pinned(uv):
    program, download = uv
    assert program.endswith(f"/verl/.manager/uv-{download['version']}/uv")
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    assert said.split()[1] == download["version"]


def with_pip(folder):
    """The tiny index, with pip in it: an environment that uv makes gets its pip from the index."""
    write_index(folder)
    words = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder / "pip", "pip"]
    subprocess.run(words, check=True, timeout=300)
    (wheel,) = (folder / "pip").glob("pip-*.whl")
    (folder / "pip/index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>\n')
    return folder.as_uri()


def test_an_environment_made_by_uv_is_built_and_stays(host, uv):  # noqa: F811
    program, download = uv
    place = host.prefix / ".manager" / f"uv-{download['version']}"
    place.mkdir(parents=True)
    os.link(program, place / "uv")  # as if an earlier build had fetched it: there's no second download
    options = {"manager": "uv", "manager_download": download, "python": "", "python_version": PYTHON}
    result = host.run(**options, pypi_index=with_pip(host.home / "index"))
    assert not result.get("failed"), result
    assert (result["manager"], host.stamp()["manager"]) == ("uv", "uv")
    assert "uv venv --no-config --python" in host.log()
    assert sorted(path.name for path in host.home.iterdir()) == ["index", "state", "verl"]
    assert not (host.prefix / ".cache").exists()
    again = host.run(**options, pypi_index="http://127.0.0.1:1/", torch_index="http://127.0.0.1:1/cpu")
    assert again["changed"] is False
