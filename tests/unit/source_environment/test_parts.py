"""Interpreters, pip's failures, the lock and the look into an environment, each alone."""

import os
import subprocess
import sys

import pytest
from ansible.module_utils.verl_source import build, failure, interpreter, lock
from ansible.module_utils.verl_source.environment import Environment, wanted_build

# -- interpreters -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "specifier", "met"),
    [
        ("3.11.2", ">=3.10,<3.13", True),
        ("3.13.0", ">=3.10,<3.13", False),
        ("3.9.18", ">=3.10,<3.13", False),
        ("3.10.4", "==3.10", True),
        ("3.10.4", "==3.10.*", True),
        ("3.11.4", "!=3.11", False),
        ("3.12.0", ">3.11", True),
        ("3.12.1", "<=3.12", False),
        ("3.8.0", "", True),
    ],
)
def test_python_versions_are_compared_as_people_mean_them(version, specifier, met):
    assert interpreter.satisfies(version, specifier) is met


def test_a_specifier_that_is_none_is_refused():
    with pytest.raises(failure.BuildFailure, match="isn't a comparison"):
        interpreter.satisfies("3.11.2", "three")


def fake_python(folder, name, version, venv=True):
    path = folder / name
    answer = f'{{"version": "{version}", "executable": "{path}", "venv": {str(venv).lower()}}}'
    path.write_text(f"#!/bin/sh\necho '{answer}'\n")
    path.chmod(0o755)
    return str(path)


def test_the_newest_python_that_fits_is_taken_when_ansibles_own_does_not(tmp_path, monkeypatch):
    own = fake_python(tmp_path, "own", "3.9.2")
    fake_python(tmp_path, "python3.13", "3.13.0")
    fake_python(tmp_path, "python3.12", "3.12.3", venv=False)
    fake_python(tmp_path, "python3.11", "3.11.2")
    fake_python(tmp_path, "python3.10", "3.10.4")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert interpreter.choose("", ">=3.10,<3.13", own)["version"] == "3.11.2"


def test_a_python_without_ensurepip_names_its_package(tmp_path, monkeypatch):
    own = fake_python(tmp_path, "python3.11", "3.11.2", venv=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(failure.BuildFailure) as refused:
        interpreter.choose("", ">=3.10,<3.13", own)
    assert "apt-get install python3.11-venv" in refused.value.fix
    with pytest.raises(failure.BuildFailure) as refused:
        interpreter.choose(own, ">=3.10,<3.13", own)
    assert "its ensurepip is missing" in refused.value.message


def test_no_python_that_fits_says_what_was_found(tmp_path, monkeypatch):
    own = fake_python(tmp_path, "own", "3.9.2")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(failure.BuildFailure, match=r"no Python >=3.10 \(found: .*own 3.9.2"):
        interpreter.choose("", ">=3.10", own)
    with pytest.raises(failure.BuildFailure, match="doesn't run"):
        interpreter.choose("/nonexistent/python", ">=3.10", own)


# -- pip's failures ---------------------------------------------------------------------------------------------------

UNREACHABLE = (
    "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError('Failed to establish a new "
    "connection: [Errno -2] Name or service not known')': /simple/verl/\n"
    "ERROR: Could not find a version that satisfies the requirement verl==0.9.1 (from versions: none)\n"
    "ERROR: No matching distribution found for verl==0.9.1\n"
)


@pytest.mark.parametrize(
    ("text", "code", "what"),
    [
        (UNREACHABLE, 1, "can't be reached"),
        ("ERROR: No matching distribution found for verl==9.9\n", 1, "has no verl==9.9"),
        (
            "ERROR: Could not install packages: [Errno 28] No space left on device\n",
            1,
            "disk is full",
        ),
        ("ERROR: Package 'verl' requires a different Python: 3.9.2 not in '>=3.10'\n", 1, "no build of it for this"),
        ("ERROR: ResolutionImpossible: for help visit\n", 1, "exclude one another"),
        ("ERROR: Failed building wheel for pyext\n", 1, "has to be compiled"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES\n", 1, "isn't what its index promises"),
        ("ERROR: HTTP error 403 while getting\n403 Client Error: Forbidden\n", 1, "refuses access"),
        ("Installing collected packages: torch\n", -9, "signal 9 (out of memory?)"),
        ("something new\n", 2, "exit status 2"),
    ],
)
def test_pips_failures_are_told_by_cause(text, code, what):
    found, fix = failure.explain_pip(text, code)
    assert what in found
    assert fix


def test_the_telling_lines_are_the_errors():
    assert failure.telling_lines(UNREACHABLE)[-1] == "ERROR: No matching distribution found for verl==0.9.1"
    assert failure.telling_lines("a\n\n[notice] new pip\nb\n") == ["a", "b"]


def test_hosts_are_named_without_credentials():
    assert build._host("https://user:secret@mirror.example/simple/") == "mirror.example"
    assert build._host("https://mirror.example/whl/cpu") == "mirror.example"


# -- the lock ---------------------------------------------------------------------------------------------------------


def test_the_lock_goes_with_its_holder(tmp_path):
    path = str(tmp_path / "lock")
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, fcntl, os, time\nfd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)\n"
            "fcntl.flock(fd, fcntl.LOCK_EX)\nprint('held', flush=True)\ntime.sleep(60)",
            path,
        ],
        stdout=subprocess.PIPE,
    )
    holder.stdout.readline()
    mine = lock.Lock(path)
    assert lock.held(path) is True
    assert mine.acquire(0.2) is False
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert lock.held(path) is False
    assert mine.acquire(1) is True
    mine.sign(build_id="b")
    assert mine.holder()["pid"] == os.getpid()
    mine.release()
    assert lock.held(path) is False
    assert mine.holder() == {}


def test_asking_about_a_lock_never_makes_one(tmp_path):
    assert lock.held(str(tmp_path / "none")) is False
    assert list(tmp_path.iterdir()) == []


# -- looking into an environment --------------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path):
    path = tmp_path / "env/lib/python3.11/site-packages"
    path.mkdir(parents=True)
    return path


def put(site, name, version, record=("a.py",), installer="pip"):
    info = site / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "INSTALLER").write_text(installer)
    if record is not None:
        (info / "RECORD").write_text("".join(f"{path},,\n" for path in record))


def test_what_pip_left_half_done_is_seen(site, tmp_path):
    (site / "a.py").write_text("")
    put(site, "whole", "1.0")
    put(site, "Some_Name", "2.0+cpu", record=("a.py", "gone.pyc"))
    put(site, "cut", "1.0", record=None)
    put(site, "lossy", "1.0", record=("a.py", "sub/gone.py"))
    put(site, "conda_made", "1.0", record=None, installer="conda")
    env = Environment(str(tmp_path), str(tmp_path / "state"))
    assert env.distributions()["some-name"][0] == "2.0+cpu"
    assert env.incomplete() == {"cut": "its installation was cut off", "lossy": "lacks sub/gone.py"}
    assert set(env.forget_incomplete()) == {"cut", "lossy"}
    assert set(env.distributions()) == {"whole", "some-name", "conda-made"}


@pytest.mark.parametrize(
    ("index", "found"),
    [
        ("https://download.pytorch.org/whl/cpu", "cpu"),
        ("https://mirror.example/pytorch/whl/cu130/", "cu130"),
        ("https://mirror.example/simple", None),
        ("", None),
    ],
)
def test_the_torch_build_is_read_from_the_index(index, found):
    assert wanted_build(index) == found


def test_mirrors_are_no_part_of_the_content():
    options = {name: "" for name in build.CONTENT} | {"torch_index": "https://download.pytorch.org/whl/cpu"}
    mirrored = {**options, "torch_index": "https://mirror.example/whl/cpu/"}
    assert build.fingerprint(options) == build.fingerprint(mirrored)
    assert build.fingerprint(options) != build.fingerprint(
        {**options, "torch_index": "https://mirror.example/whl/cu130"}
    )


def test_a_package_that_pip_left_as_egg_info_is_there(tmp_path):
    site = tmp_path / "env/lib/python3.11/site-packages"
    (site / "antlr4_python3_runtime-4.9.3.egg-info").mkdir(parents=True)
    (site / "older-1.0-py3.11.egg-info").mkdir()
    env = Environment(str(tmp_path), str(tmp_path / "state"))
    versions = {name: version for name, (version, _) in env.distributions().items()}
    assert versions == {"antlr4-python3-runtime": "4.9.3", "older": "1.0"}
    assert env.incomplete() == {}
