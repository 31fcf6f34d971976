"""verl_git_checkout on real repositories: nobody's work is overwritten."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest


class Repository:
    """A remote with tags."""

    def __init__(self, path):
        self.path = path
        path.mkdir()
        self.git("init", "-q", "-b", "main")

    def git(self, *argv, cwd=None):
        """Run git."""
        command = ["git", "-c", "user.name=n", "-c", "user.email=n@example.org", *argv]
        return subprocess.run(command, cwd=cwd or self.path, check=True, capture_output=True, text=True).stdout.strip()

    def release(self, version, files=None):
        """Commit and tag, with these files alone where some are given; returns the commit."""
        if files:
            self.git("rm", "-rq", ".")
        for name, content in {"version": version, **(files or {})}.items():
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                (self.path / name).symlink_to(content)
            else:
                (self.path / name).write_text(content)
        self.git("add", ".")
        self.git("commit", "-q", "-m", version)
        self.git("tag", "-f", version)
        return self.git("rev-parse", "HEAD")

    @property
    def url(self):
        """Its address."""
        return f"file://{self.path}"


@pytest.fixture
def remote(tmp_path):
    """A remote with v1 and v2."""
    repository = Repository(tmp_path / "remote")
    repository.commits = {version: repository.release(version) for version in ("v1", "v2")}
    return repository


@pytest.fixture
def checkout(module, remote, tmp_path):
    """Check a version out."""

    def run(version, check=False, **more):
        args = {"repo": remote.url, "version": version, "path": str(tmp_path / "src"), "attempts": 1, **more}
        return module("verl_git_checkout", args, check=check)

    return run


def test_a_release_is_checked_out_without_history_and_moves_on(checkout, remote, tmp_path):
    assert checkout("v1", check=True)["changed"]
    assert not (tmp_path / "src").exists()
    answer = checkout("v1")
    assert (answer["changed"], answer["commit"]) == (True, remote.commits["v1"])
    assert not checkout("v1")["changed"]
    assert checkout("v2", check=True)["changed"]
    assert checkout("v2")["commit"] == remote.commits["v2"]
    assert (tmp_path / "src" / "version").read_text() == "v2"
    assert remote.git("rev-list", "--count", "HEAD", cwd=tmp_path / "src") == "1"
    assert checkout("v1")["changed"]


def test_a_commit_is_checked_out(checkout, remote):
    assert checkout(remote.commits["v1"])["commit"] == remote.commits["v1"]


def test_changed_files_are_refused(checkout, tmp_path):
    checkout("v1")
    (tmp_path / "src" / "version").write_text("mine")
    for check in (True, False):
        answer = checkout("v2", check=check)
        assert answer["failed"]
        assert "1 changed file(s) (version)" in answer["msg"]
        assert "git stash" in answer["fix"]
    assert (tmp_path / "src" / "version").read_text() == "mine"
    assert not checkout("v1")["failed"]  # the wanted commit is there; changes on top of it are the user's


def test_own_commits_are_refused_until_the_remote_has_them(checkout, remote, tmp_path):
    checkout("v1")
    (tmp_path / "src" / "mine").write_text("mine")
    remote.git("add", ".", cwd=tmp_path / "src")
    remote.git("commit", "-q", "-m", "mine", cwd=tmp_path / "src")
    answer = checkout("v2")
    assert answer["failed"]
    assert "no tag or branch" in answer["msg"]


def test_untracked_files_stay(checkout, tmp_path):
    checkout("v1")
    (tmp_path / "src" / "verl.egg-info").mkdir()
    (tmp_path / "src" / "notes.txt").write_text("mine")
    assert not checkout("v2")["failed"]
    assert (tmp_path / "src" / "notes.txt").read_text() == "mine"


def test_a_clone_made_by_hand_is_taken_over_when_clean(checkout, remote, tmp_path):
    remote.git("clone", "-q", remote.url, str(tmp_path / "src"))
    assert checkout("v1")["commit"] == remote.commits["v1"]


def test_a_folder_with_other_things_is_refused(checkout, tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "data").write_text("mine")
    assert "isn't empty" in checkout("v1")["msg"]
    assert [entry.name for entry in (tmp_path / "src").iterdir()] == ["data"]


def test_an_interrupted_checkout_goes_on(checkout, remote, tmp_path):
    (tmp_path / "src").mkdir()
    remote.git("init", "-q", cwd=tmp_path / "src")
    lock = tmp_path / "src" / ".git" / "index.lock"
    lock.write_text("")
    import os

    os.utime(lock, (1, 1))
    assert checkout("v1")["commit"] == remote.commits["v1"]


def test_a_tag_that_is_another_commit_than_needed_is_refused(checkout, remote, tmp_path):
    answer = checkout("v1", commit=remote.commits["v2"])
    assert f"is commit {remote.commits['v1']}, needed is {remote.commits['v2']}" in answer["msg"]
    assert not (tmp_path / "src/version").exists()
    assert checkout("v2", commit=remote.commits["v2"])["commit"] == remote.commits["v2"]
    remote.git("tag", "-f", "v2", "v1")
    assert not checkout("v2", commit=remote.commits["v2"])["changed"]


def test_a_whole_clone_of_somebody_stays_whole_and_keeps_its_remote(checkout, remote, tmp_path):
    remote.git("clone", "-q", remote.url, str(tmp_path / "src"))
    remote.release("v3")
    assert not checkout("v3", repo=f"{remote.path}/.git")["failed"]
    assert remote.git("rev-list", "--count", "HEAD", cwd=tmp_path / "src") == "3"
    assert remote.git("remote", "get-url", "origin", cwd=tmp_path / "src") == remote.url


def test_a_broken_checkout_is_not_taken_for_the_repository_around_it(checkout, remote, tmp_path):
    remote.git("init", "-q", cwd=tmp_path)
    remote.git("commit", "-q", "--allow-empty", "-m", "home", cwd=tmp_path)
    before = remote.git("rev-parse", "HEAD", cwd=tmp_path)
    (tmp_path / "src/.git").mkdir(parents=True)
    assert not checkout("v1")["failed"]
    assert remote.git("rev-parse", "HEAD", cwd=tmp_path) == before


def test_a_missing_tag_is_said(checkout, remote):
    answer = checkout("v3")
    assert "v3 can't be fetched" in answer["msg"]
    assert "git ls-remote" in answer["fix"]


def test_logins_in_addresses_are_not_shown(checkout):
    answer = checkout("v1", repo="https://user:canary@127.0.0.1:1/verl.git")
    assert answer["failed"]
    assert "canary" not in answer["msg"] + answer["fix"]


def test_a_tree_with_files_of_root_is_refused_with_the_command_that_mends_it(checkout, tmp_path, monkeypatch):
    before = checkout("v1")["commit"]
    monkeypatch.setattr(os, "getuid", lambda: 65534)  # whose the tree is not: what root in a container did to a user's
    assert not checkout("v1")["changed"]
    answer = checkout("v2")
    assert answer["failed"]
    assert "nothing was changed" in answer["msg"]
    assert answer["fix"] == f"sudo chown -R nobody: {tmp_path}/src"
    assert checkout("v2", check=True)["failed"]
    monkeypatch.undo()
    assert checkout("v1")["commit"] == before


PACKAGE = {"verl/__init__.py": "1\n", "verl/trainer/config/ppo.yaml": "2\n", "setup.py": "3\n", "pyproject.toml": "4\n"}


def code_of(files):
    """What the catalog has of a release: made from the files alone, without git."""
    blobs = {path: hashlib.sha1(b"blob %d\0" % len(text) + text.encode()).hexdigest() for path, text in files.items()}
    return hashlib.sha256("".join(sorted(f"{blob} {path}\n" for path, blob in blobs.items())).encode()).hexdigest()


@pytest.mark.parametrize("more", [{}, {"verl/README.md": "x", "examples/run.sh": "x", "verl/run.sh": "x"}], ids=len)
def test_a_release_whose_code_is_as_it_must_be_is_checked_out(checkout, remote, tmp_path, more):
    remote.release("v0.9.1", {**PACKAGE, **more})
    assert checkout("v0.9.1", code_sha256=code_of(PACKAGE))["changed"]
    assert (tmp_path / "src/setup.py").exists()
    assert not checkout("v0.9.1", code_sha256=code_of(PACKAGE))["changed"]


@pytest.mark.parametrize(
    "other",
    [
        {"verl/__init__.py": "v = 2\n"},
        {"verl/x.py": ""},
        {"verl/__init__.cpython-312-x86_64-linux-gnu.so": "x"},
        {"verl/trainer/config/ppo.yaml": "_target_: os.system\n"},
        {"setup.py": "other\n"},
        {"verl/utils": Path("/tmp")},
    ],
    ids=lambda other: next(iter(other)),
)
def test_a_mirrors_own_release_is_refused_by_its_code_before_anything_of_it_is_there(checkout, remote, tmp_path, other):
    remote.release("v0.9.1", {**PACKAGE, **other})
    for _again in range(2):
        answer = checkout("v0.9.1", code_sha256=code_of(PACKAGE))
        assert answer["failed"] and code_of(PACKAGE) in answer["msg"] and "verl_commit" in answer["fix"]
        assert os.listdir(tmp_path / "src") == [".git"]
    remote.release("v0.9.1", PACKAGE)  # the mirror is mended
    assert checkout("v0.9.1", code_sha256=code_of(PACKAGE))["changed"]


def test_a_mirrors_own_release_that_is_there_already_is_refused_and_left(checkout, remote, tmp_path):
    remote.release("v0.9.1", {**PACKAGE, "verl/x.py": "theirs"})
    assert checkout("v0.9.1")["changed"]
    answer = checkout("v0.9.1", code_sha256=code_of(PACKAGE))
    assert answer["failed"] and code_of(PACKAGE) in answer["msg"]
    assert (tmp_path / "src/verl/x.py").read_text() == "theirs"
