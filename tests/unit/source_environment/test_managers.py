"""Who makes the environment: exact command lines, and downloads that are what was pinned."""

import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest
from ansible.module_utils.verl_source import managers
from ansible.module_utils.verl_source.failure import BuildFailure

from tests.unit.source_environment.conda_interface import create

DEFAULTS = {
    "prefix": "/home/u/verl",
    "manager": "auto",
    "manager_download": {},
    "python": "",
    "python_version": "",
    "python_requires": ">=3.10,<3.13",
    "own_python": "/usr/bin/python3",
    "pypi_index": "",
    "downloads_mirror": "",
    "conda_channel": "",
}
UV = {
    "name": "uv",
    "version": "0.1",
    "url": "https://example.org/a/b/uv.tar.gz",
    "member": "uv-x/uv",
    "sha256": "0" * 64,
    "package": None,
}


@pytest.fixture
def bare(monkeypatch):
    """A host without any Python that fits and without managers, except those named in `there`."""
    there = {}

    def none(*_words):
        raise BuildFailure("this host has no Python >=3.10,<3.13 (found: /usr/bin/python3 3.13.5)", "install one")

    monkeypatch.setattr(managers.interpreter, "choose", none)
    monkeypatch.setattr(managers, "on_host", there.get)
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    monkeypatch.setattr(managers, "pip_index", lambda: "")
    return there


def chosen(**options):
    options = {**DEFAULTS, **options}
    manager = managers.choose(options)
    return manager, managers.commands(manager, options, "/home/u/verl/env")


@pytest.mark.parametrize("name", ["conda", "mamba"])
def test_conda_is_asked_as_its_documentation_says(bare, name):
    bare[name] = f"/opt/conda/bin/{name}"
    _, ([words], env) = chosen(manager=name, python_version="3.10")
    assert words == [
        f"/opt/conda/bin/{name}", "create", "--yes", "--quiet", "--prefix", "/home/u/verl/env",
        "--override-channels", "--channel", "conda-forge", "python=3.10", "pip",
    ]  # fmt: skip
    assert env == {"CONDA_PKGS_DIRS": "/home/u/verl/.cache/conda", "CONDA_REGISTER_ENVS": "false"}
    given = create(words)
    assert (given.prefix, given.channel) == ("/home/u/verl/env", ["conda-forge"])
    assert given.yes and given.quiet and given.override_channels
    assert given.package_spec == ["python=3.10", "pip"]


def test_micromamba_keeps_to_the_prefix(bare):
    bare["micromamba"] = "/home/u/.local/bin/micromamba"
    _, ([words], _env) = chosen(manager="micromamba", conda_channel="https://mirror.example.org/forge")
    assert words == [
        "/home/u/.local/bin/micromamba", "create", "--yes", "--quiet", "--prefix", "/home/u/verl/env",
        "--no-rc", "--root-prefix", "/home/u/verl/.manager/root",
        "--override-channels", "--channel", "https://mirror.example.org/forge", "python=3.12", "pip",
    ]  # fmt: skip
    given = create(words, "micromamba")
    assert (given.root_prefix, given.no_rc) == ("/home/u/verl/.manager/root", True)
    with pytest.raises(SystemExit):
        create(words)  # conda itself has neither option


def test_what_conda_does_not_document_is_noticed():
    for words in (["--yes", "python=3.10"], ["--prefix", "/e", "--name", "e"], ["--prefix", "/e", "--seed"]):
        with pytest.raises(SystemExit):
            create(["conda", "create", *words])
    with pytest.raises(AssertionError):
        create(["conda", "create", "--prefix", "/e", "--override-channels", "pip"])


def test_a_host_with_a_newer_python_only_gets_the_right_one_from_uv(bare):
    bare["uv"] = "/usr/bin/uv"
    manager, (lines, env) = chosen(python_version="3.12", downloads_mirror="https://mirror.example.org/gh/")
    assert lines == [
        ["/usr/bin/uv", "venv", "--no-config", "--python", "3.12", "/home/u/verl/env"],
        ["/usr/bin/uv", "pip", "install", "--no-config", "--python", "/home/u/verl/env/bin/python", "pip"],
    ]
    assert env["UV_PYTHON_INSTALL_DIR"] == "/home/u/verl/.python"
    assert env["UV_PYTHON_INSTALL_MIRROR"] == (
        "https://mirror.example.org/gh/astral-sh/python-build-standalone/releases/download"
    )
    assert "3.13.5" in manager.because


def test_auto_takes_what_the_host_has_before_it_fetches(bare):
    assert chosen(manager_download=UV)[0].program == "/home/u/verl/.manager/uv-0.1/uv"
    bare["conda"] = "/opt/conda/bin/conda"
    assert chosen(manager_download=UV)[0].name == "conda"
    with pytest.raises(BuildFailure, match="has no Python"):
        bare.clear()
        chosen()


def test_auto_is_venv_where_a_python_fits(monkeypatch):
    monkeypatch.setattr(managers.interpreter, "choose", lambda *_: {"path": "/usr/bin/python3.12", "version": "3.12.1"})
    assert chosen(manager_download=UV)[1][0] == [["/usr/bin/python3.12", "-m", "venv", "/home/u/verl/env"]]


def test_a_manager_that_is_nowhere_is_named(bare):
    with pytest.raises(BuildFailure, match="mamba is not on this host"):
        chosen(manager="mamba", manager_download=UV)


def archive(path, kind):
    data = b"#!/bin/sh\necho uv\n"
    if kind == "tar":
        with tarfile.open(path, "w:gz") as out:
            member = tarfile.TarInfo("uv-x/uv")
            member.size = len(data)
            out.addfile(member, io.BytesIO(data))
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as out:
            out.writestr("uv-x/uv", data)
    else:
        path.write_bytes(data)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fetched(tmp_path, kind, sha256=None):
    source = tmp_path / "mirror" / "a/b/uv.tar.gz"
    source.parent.mkdir(parents=True)
    right = archive(source, kind)
    member = None if kind == "plain" else "uv-x/uv"
    options = {
        **DEFAULTS,
        "prefix": str(tmp_path / "verl"),
        "manager": "uv",
        "manager_download": {**UV, "sha256": sha256 or right, "member": member},
        "downloads_mirror": (tmp_path / "mirror").as_uri(),
    }
    (tmp_path / "scratch").mkdir()
    manager = managers.choose(options)
    managers.install(manager, options, str(tmp_path / "scratch"), None)
    return manager


@pytest.mark.parametrize("kind", ["tar", "zip", "plain"])
def test_a_pinned_download_goes_into_the_prefix(bare, tmp_path, kind):
    manager = fetched(tmp_path, kind)
    assert manager.program == str(tmp_path / "verl/.manager/uv-0.1/uv")
    assert Path(manager.program).read_text().startswith("#!/bin/sh")
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_wrong_sha256_is_refused_and_nothing_stays(bare, tmp_path):
    with pytest.raises(BuildFailure) as refused:
        fetched(tmp_path, "tar", "f" * 64)
    assert "needed " + "f" * 64 in refused.value.message
    assert "found SHA-256 " in refused.value.message
    assert list((tmp_path / "scratch").iterdir()) == []
    assert not (tmp_path / "verl").exists()


def test_the_builder_refuses_a_wrong_sha256_as_well(host, tmp_path):
    source = tmp_path / "mirror" / "a/b/uv.tar.gz"
    source.parent.mkdir(parents=True)
    archive(source, "tar")
    refused = host.run(
        manager="uv",
        manager_download=UV,
        downloads_mirror=(tmp_path / "mirror").as_uri(),
        python="",
        python_requires="",
    )
    assert refused["failed"], json.dumps(refused)
    assert "needed " + "0" * 64 in refused["msg"]
    assert not (host.prefix / "env").exists()


def test_an_address_that_answers_nothing_is_named(bare, tmp_path):
    with pytest.raises(BuildFailure, match="can't be fetched"):
        managers.fetch((tmp_path / "nothing").as_uri(), str(tmp_path / "target"))


def test_a_download_that_fails_is_named_by_its_address_and_without_its_login(host):
    download = {"name": "micromamba", "version": "2", "url": "https://downloads.example/own/micromamba", "sha256": "0"}
    given = {"manager": "micromamba", "manager_download": download, "python": "", "python_version": "3.11"}
    result = host.run(**given, downloads_mirror="http://127.0.0.1:1")
    assert "http://127.0.0.1:1/own/micromamba can't be fetched" in result["msg"]
    result = host.run(**given, downloads_mirror="http://me:s3cret@127.0.0.1:1")
    assert "127.0.0.1:1/own/micromamba can't be fetched" in result["msg"]
    assert "s3cret" not in json.dumps(result)
