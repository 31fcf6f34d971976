"""Managers, our environment, our checkout, stamps."""

import fcntl
import json
import os
import shutil
import subprocess
import sys

import pytest
from ansible.module_utils.verl_probes import environment, os_, pythons, stamps
from ansible.module_utils.verl_probes.host import Host


@pytest.fixture
def host(tmp_path):
    return Host(prefix=str(tmp_path / "verl"), state_dir=str(tmp_path / "state"), timeout=10)


def test_nothing_there(host):
    assert environment.source_environment(host) is None
    assert environment.checkout(host) is None
    assert stamps.probe(host) == {"stamps": {}, "verification": None}


def make_environment(host, metadata="Name: verl\nVersion: 0.9.1\n"):
    path = os.path.join(host.prefix, "env")
    packages = os.path.join(path, "lib/python3.11/site-packages/verl-0.9.1.dist-info")
    os.makedirs(os.path.join(path, "bin"))
    os.makedirs(packages)
    with open(os.path.join(packages, "METADATA"), "w") as handle:
        handle.write(metadata)
    os.symlink(sys.executable, os.path.join(path, "bin/python"))
    return path


def test_a_whole_environment(host):
    path = make_environment(host)
    expected = {"path": path, "python_ok": True, "verl_version": "0.9.1", "building": False}
    assert environment.source_environment(host) == expected


def test_an_environment_whose_python_is_gone(host):
    path = make_environment(host)
    os.unlink(os.path.join(path, "bin/python"))
    os.symlink("/nonexistent/python3", os.path.join(path, "bin/python"))
    assert environment.source_environment(host)["python_ok"] is False


def test_building_is_seen_before_there_is_an_environment(host):
    os.makedirs(host.prefix)
    lock = os.path.join(host.prefix, ".lock")
    with open(lock, "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert environment.source_environment(host)["building"] is True
    assert environment.source_environment(host) is None, "a lock file that nobody holds is no build"


def test_looking_leaves_the_lock_free(host):
    os.makedirs(host.prefix)
    lock = os.path.join(host.prefix, ".lock")
    with open(lock, "w") as handle:
        assert environment.locked(lock) is False
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_checkout(host):
    path = os.path.join(host.prefix, "src")
    os.makedirs(path)

    def git(*arguments):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", *identity, "-C", path, *arguments], check=True, capture_output=True)

    git("init", "-q")
    assert environment.checkout(host) == {"path": path, "commit": None, "tag": None, "dirty": False}
    with open(os.path.join(path, "setup.py"), "w") as handle:
        handle.write("1\n")
    git("add", ".")
    git("commit", "-qm", "one")
    git("tag", "v0.9.0")
    found = environment.checkout(host)
    assert len(found["commit"]) == 40 and (found["tag"], found["dirty"]) == ("v0.9.0", False)
    with open(os.path.join(path, "setup.py"), "w") as handle:
        handle.write("2\n")
    assert environment.checkout(host)["dirty"] is True
    with open(os.path.join(path, ".git/verl-provision.json"), "w") as handle:
        json.dump({"begun": {"before": found["commit"], "commit": "1" * 40}, "commit": found["commit"]}, handle)
    assert environment.checkout(host) == {"path": path, "commit": None, "tag": None, "dirty": None}


def test_what_root_in_a_container_left_in_a_users_checkout_is_counted(host, monkeypatch):
    path = os.path.join(host.prefix, "src")
    subprocess.run(["git", "init", "-q", path], check=True)
    with open(os.path.join(path, "setup.py"), "w") as handle:
        handle.write("1\n")
    subprocess.run(["git", "-C", path, "add", "."], check=True)
    assert "stuck" not in environment.checkout(host)
    monkeypatch.setattr(host, "identity", lambda: (65534, "nobody", "/"))  # whose nothing of it is
    stuck = environment.checkout(host)["stuck"]
    assert stuck["count"] >= 3 and stuck["path"].startswith(".git")


def test_a_broken_checkout_is_not_taken_for_the_repository_around_it(host):
    home = os.path.dirname(host.prefix)
    os.makedirs(os.path.join(host.prefix, "src/.git"))
    subprocess.run(["git", "init", "-q", home], check=True)
    assert environment.checkout(host)["dirty"] is None


def test_stamps(host):
    os.makedirs(host.state_dir)
    texts = {
        "docker_engine.json": '{"key": "a"}',
        "verification.json": '{"key": "b", "level": "import"}',
        "broken.json": '{"key": ',
        "list.json": "[]",
        "odd.json": '{"key": 7}',
        "odder.json": '{"key": "a", "members": {"gpu-1": ["10.0.0.1"]}}',
        "large.json": '{"key": "' + "x" * 70000 + '"}',
        "notes.txt": "no stamp",
        ".hidden.json": "{}",
    }
    for name, text in texts.items():
        with open(os.path.join(host.state_dir, name), "w") as handle:
            handle.write(text)
    os.mkfifo(os.path.join(host.state_dir, "pipe.json"))
    found = stamps.probe(host)
    assert found["verification"] == {"key": "b", "level": "import"}
    broken = dict.fromkeys(("broken", "list", "large", "pipe", "odd", "odder"))
    assert found["stamps"] == {"docker_engine": {"key": "a"}, **broken}
    assert len(host.errors) == 6


def test_conda_version_without_starting_conda(host, tmp_path):
    root = tmp_path / "miniconda3"
    (root / "bin").mkdir(parents=True)
    (root / "conda-meta").mkdir()
    (root / "conda-meta/conda-24.5.0-py312_0.json").write_text("{}")
    conda = root / "bin/conda"
    conda.write_text("#!/bin/sh\nexit 1\n")
    conda.chmod(0o755)
    found = environment.manager(host, "conda", str(tmp_path))
    if found["path"] == str(conda):  # unless this machine has a conda on PATH
        assert found["version"] == "24.5.0"


def test_pythons_are_listed_once_and_newest_first(host, tmp_path, monkeypatch):
    shim = tmp_path / "bin/python3.10"
    shim.parent.mkdir()
    shim.write_text("#!/bin/sh\necho 'command not found' >&2\nexit 127\n")
    shim.chmod(0o755)
    os.symlink(sys.executable, tmp_path / "bin/python3")
    monkeypatch.setattr(host, "search_path", lambda: [str(tmp_path / "bin")] * 2)
    found = pythons.on_path(host)
    assert [item["version"] for item in found] == ["{}.{}.{}".format(*sys.version_info[:3])]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('ID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\n', "debian"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "redhat"),
        ("ID=opensuse-leap\nID_LIKE='suse opensuse'\n", "suse"),
        ("ID=nixos\n", "other"),
        ("", "other"),
    ],
)
def test_family(text, expected):
    assert os_.family(os_.os_release(text)) == expected
