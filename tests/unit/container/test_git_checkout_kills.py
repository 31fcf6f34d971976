"""verl_git_checkout killed at every git command and in the middle of one: a plain second run ends well.

A `git` in front of the real one counts the commands, git's own (`index-pack`, `rev-list`) too, and kills the module
with everything it started, as a lost host or an out-of-memory kill does. A smudge filter does so between two files.
"""

import os
import shutil
import signal
import sys

import pytest

from .test_git_checkout import checkout, remote  # noqa: F401  (fixtures)

GIT = shutil.which("git")
COMMAND = """#!/bin/sh
case "$*" in *pack-objects*|*upload-pack*) exec {git} "$@" ;; esac
echo >> {folder}/commands
n=$(wc -l < {folder}/commands)
echo "$@" >> {folder}/log
test "$n" = "$KILL_BEFORE" && kill -KILL 0
{git} "$@"
rc=$?
test "$n" = "$KILL_AFTER" && kill -KILL 0
exit $rc
"""
FILTER = """#!/bin/sh
echo >> {folder}/files
test "$(wc -l < {folder}/files)" = "$KILL_FILE" && kill -KILL 0
cat
"""
FILES = 6


@pytest.fixture
def src(tmp_path):
    """The working tree."""
    return tmp_path / "src"


@pytest.fixture
def killer(tmp_path, monkeypatch):
    """Run something in a process of its own and kill it at a point; whether it was killed."""
    folder = tmp_path / "killer"
    (folder / "bin").mkdir(parents=True)
    for name, text in (("bin/git", COMMAND), ("filter", FILTER)):
        (folder / name).write_text(text.format(git=GIT, folder=folder))
        (folder / name).chmod(0o755)
    (folder / "attributes").write_text("* filter=killer\n")
    (folder / ".gitconfig").write_text(
        f'[core]\nattributesFile = {folder}/attributes\n[filter "killer"]\nsmudge = {folder}/filter\n'
    )
    monkeypatch.setenv("HOME", str(folder))
    # No host loses its power here, and the disk of a busy test machine takes its time.
    monkeypatch.setenv("GIT_TEST_FSYNC", "false")
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)

    def run(action, **point):
        for name in ("commands", "files", "log"):
            (folder / name).write_text("")
        child = os.fork()
        if child == 0:
            try:
                os.setsid()
                os.environ.update({name: str(number) for name, number in point.items()})
                os.environ.update(PATH=f"{folder}/bin:{os.environ['PATH']}", GIT_EXEC_PATH=f"{folder}/bin")
                action()
                os._exit(0)
            except BaseException:
                sys.excepthook(*sys.exc_info())
                os._exit(1)
        status = os.waitpid(child, 0)[1]
        assert os.WIFSIGNALED(status) or status == 0
        return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL

    run.folder = folder
    return run


@pytest.fixture
def releases(remote):  # noqa: F811
    """v3 and v4: files that stay, change, go and come."""
    tree = remote.path
    for version in ("v3", "v4"):
        for number in range(FILES):
            (tree / f"file{number:02}").write_text(f"{version} {number}\n" * 50 if number % 2 else "the same\n")
        (tree / f"only-{version}").write_text(version)
        (tree / "kind").mkdir(exist_ok=True) if version == "v3" else shutil.rmtree(tree / "kind")
        (tree / "kind/below" if version == "v3" else tree / "kind").write_text(version)
        (tree / "only-v3").unlink(missing_ok=True) if version == "v4" else None
        remote.commits[version] = remote.release(version)
    return remote


def content(tree):
    """Every file below a tree but git's."""
    files = (path for path in tree.rglob("*") if path.is_file() and ".git" not in path.relative_to(tree).parts)
    return {str(path.relative_to(tree)): path.read_bytes() for path in files}


def lies_as(src, remote, version):  # noqa: F811
    """Complain where the tree isn't the version, or git finds anything wrong, or something of ours lies about."""
    assert remote.git("rev-parse", "HEAD", cwd=src) == remote.commits[version]
    assert remote.git("status", "--porcelain", "--untracked-files=no", cwd=src) == ""
    assert remote.git("fsck", "--full", "--no-dangling", cwd=src) == ""
    left = [path for path in (src / ".git").rglob("*") if path.name.endswith(".lock") or path.name.startswith("tmp_")]
    assert not left


def files(remote, version):  # noqa: F811
    """The content of a version, as the remote has it."""
    names = remote.git("ls-tree", "-r", "--name-only", version).splitlines()
    return {name: (remote.git("show", f"{version}:{name}") + "\n" * (name[:4] == "file")).encode() for name in names}


@pytest.fixture
def start(checkout, src, tmp_path):  # noqa: F811
    """Put the tree back to where a release, or nothing, was checked out, with a file of somebody in it."""

    def run(before):
        shutil.rmtree(src, ignore_errors=True)
        kept = tmp_path / f"started-{before}"
        if before and not kept.exists():
            assert not checkout(before)["failed"]
            (src / "notes").write_text("mine")
            src.rename(kept)
        if before:
            shutil.copytree(kept, src, symlinks=True)

    return run


@pytest.mark.parametrize(
    ("before", "point"),
    [
        ("v3", "KILL_BEFORE"),
        ("v3", "KILL_FILE"),
        pytest.param("v3", "KILL_AFTER", marks=pytest.mark.slow),
        pytest.param(None, "KILL_BEFORE", marks=pytest.mark.slow),
        pytest.param(None, "KILL_AFTER", marks=pytest.mark.slow),
        (None, "KILL_FILE"),
    ],
)
def test_killed_anywhere_a_second_run_ends_well(killer, start, checkout, releases, src, before, point):  # noqa: F811
    whole = files(releases, "v4") | ({"notes": b"mine"} if before else {})
    for kills in range(60):
        start(before)
        if not killer(lambda: checkout("v4"), **{point: kills + 1}):
            break
        log = (killer.folder / "log").read_text().splitlines()
        answer = checkout("v4")
        assert not answer["failed"], (kills, log[-1:], answer["msg"])
        assert content(src) == whole, (kills, log[-1:])
        lies_as(src, releases, "v4")
    assert kills >= (5 if point == "KILL_FILE" else 8), "the points at which it was killed"
    assert not checkout("v4")["changed"]


@pytest.fixture
def halfway(killer, start, checkout, releases, src):  # noqa: F811
    """A tree that was killed on its way from v3 to v4, after three files."""
    start("v3")
    assert killer(lambda: checkout("v4"), KILL_FILE=3)
    assert (src / ".git/index.lock").exists()
    return src


def test_what_somebody_changed_after_the_kill_is_kept_and_named(halfway, checkout, releases):  # noqa: F811
    (halfway / "file03").write_text("mine")
    before = content(halfway)
    for check in (True, False):
        answer = checkout("v4", check=check)
        assert answer["failed"]
        assert "1 changed file(s) (file03)" in answer["msg"]
        assert "after an interrupted run" in answer["msg"]
        assert f"cp -a {halfway} {halfway}.mine" in answer["fix"]
        assert content(halfway) == before
    (halfway / "file03").unlink()
    assert not checkout("v4")["failed"]
    lies_as(halfway, releases, "v4")


def test_an_untracked_file_in_the_way_is_kept_and_named(start, checkout, releases, src):  # noqa: F811
    start("v3")
    (src / "only-v4").write_text("")
    for _ in range(2):
        answer = checkout("v4")
        assert "1 changed file(s) (only-v4)" in answer["msg"]
        assert (src / "only-v4").read_text() == ""
        assert not checkout("v3")["failed"]


def test_half_a_file_is_ours(halfway, checkout, releases):  # noqa: F811
    whole = files(releases, "v4")
    assert not (halfway / "file05").exists()
    (halfway / "file05").write_bytes(whole["file05"][:20])
    assert not checkout("v4")["failed"]
    assert content(halfway) == whole | {"notes": b"mine"}


def test_the_release_before_can_be_wanted_again(halfway, checkout, releases):  # noqa: F811
    assert checkout("v3")["changed"]
    assert content(halfway) == files(releases, "v3") | {"notes": b"mine"}
    lies_as(halfway, releases, "v3")


def test_a_commit_that_somebody_made_after_the_kill_is_kept(halfway, checkout, releases):  # noqa: F811
    (halfway / ".git/index.lock").unlink()
    releases.git("checkout", "-q", "--force", "v3", cwd=halfway)
    (halfway / "file00").write_text("mine")
    releases.git("commit", "-qam", "mine", cwd=halfway)
    mine = releases.git("rev-parse", "HEAD", cwd=halfway)
    assert "no tag or branch" in checkout("v4")["msg"]
    assert releases.git("rev-parse", "HEAD", cwd=halfway) == mine


def damage(remote, git_dir, what):  # noqa: F811
    """What a lost host leaves: a file cut off after a few bytes; v4 and v4:NAME are objects."""
    if what == "everything":
        for entry in git_dir.iterdir():
            if not entry.name.startswith("verl-provision"):
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        return
    if what.startswith("v4"):
        name = remote.git("rev-parse", what)
        what = f"objects/{name[:2]}/{name[2:]}"
    (git_dir / what).chmod(0o644)
    (git_dir / what).write_bytes((git_dir / what).read_bytes()[:7])


@pytest.mark.parametrize(
    "what", ["HEAD", "index", "config", "refs/tags/v4", "v4", "v4:file05", "shallow", "everything"]
)
def test_a_repository_that_a_kill_left_broken_is_made_anew(halfway, checkout, releases, what):  # noqa: F811
    damage(releases, halfway / ".git", what)
    answer = checkout("v4")
    assert not answer["failed"], answer["msg"]
    assert content(halfway) == files(releases, "v4") | {"notes": b"mine"}
    lies_as(halfway, releases, "v4")


def test_a_broken_repository_with_a_branch_of_somebody_is_left_alone(halfway, checkout, releases):  # noqa: F811
    (halfway / ".git/refs/heads").mkdir(exist_ok=True)
    (halfway / ".git/refs/heads/mine").write_text(releases.commits["v3"] + "\n")
    damage(releases, halfway / ".git", "v4:file05")
    answer = checkout("v4")
    assert "refs/heads/mine, which isn't ours" in answer["msg"]
    assert (halfway / ".git/refs/heads/mine").exists()


@pytest.mark.parametrize("lock", ["HEAD.lock", "config.lock", "shallow.lock", "packed-refs.lock", "refs/tags/v4.lock"])
def test_a_lock_that_a_kill_left_is_cleared(halfway, checkout, releases, lock):  # noqa: F811
    (halfway / ".git" / lock).write_text("")
    (halfway / ".git/objects/pack/tmp_pack_abc").write_bytes(b"PACK")
    assert not checkout("v4")["failed"]
    lies_as(halfway, releases, "v4")


def test_a_lock_of_somebody_else_is_left_alone(start, checkout, releases, src):  # noqa: F811
    start("v3")
    (src / ".git/index.lock").write_text("")
    assert "index.lock" in checkout("v4")["msg"]
    assert (src / ".git/index.lock").exists()
