#!/usr/bin/python
"""Module verl_git_checkout: a git repository at one release or commit, never over somebody's work.

ansible.builtin.git can't go on where a kill left locks or half a tree, and C(force) would throw work away.
"""

DOCUMENTATION = r"""
module: verl_git_checkout
short_description: Checks a release or commit out, shallow and resumable
version_added: "0.1.0"
author: verl-provision authors (@verl-provision)
description:
  - Fetches one tag or commit without its history and checks it out.
  - Killed at any moment, the next run goes on. What is about to be done is noted in C(.git) first, so that locks,
    half a repository and half a tree are known as this module's own, and mended.
  - Refuses to overwrite work - changed tracked files, untracked ones in the way, commits that the remote does not
    have, a folder with other content.
options:
  repo:
    description: The remote repository.
    type: str
    required: true
  version:
    description: A tag (C(v0.9.0)) or a full commit hash.
    type: str
    required: true
  commit:
    description: The commit that the tag must be. A remote whose tag is another one is refused.
    type: str
    default: ''
  code_sha256:
    description:
      - What the code of that version must be, where its commit isn't known. A remote that has other code is refused.
      - It's the SHA-256 of a line C(BLOB PATH) for each file of C(verl/), C(setup.py) and C(pyproject.toml) that Python
        runs or that configures it, sorted.
    type: str
    default: ''
    version_added: "0.2.0"
  path:
    description: Where the working tree is; a leading C(~) is the connecting user's home.
    type: path
    required: true
  timeout:
    description: Seconds for the fetch, and to wait for another run at work in O(path).
    type: int
    default: 900
  attempts:
    description: How often a fetch is tried.
    type: int
    default: 3
extends_documentation_fragment: [verl_attributes, verl_proxy]
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
"""

EXAMPLES = r"""
- name: Check verl out
  verl_git_checkout:
    repo: https://github.com/verl-project/verl.git
    version: v0.9.0
    path: ~/verl/src
"""

RETURN = r"""
commit:
  description: The commit of the working tree.
  type: str
  returned: success
"""

import contextlib
import fcntl
import hashlib
import os
import pwd
import random
import re
import shlex
import shutil
import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.verl_access import proxy
from ansible.module_utils.verl_container import cli
from ansible.module_utils.verl_probes import owners
from ansible.module_utils.verl_state.files import read_json, tail, write_json

MARK = "verl-provision.json"  # in .git: what this module checked out last, and what it has begun
HELD = "verl-provision.held"  # in .git: held by a run, and by every git that it started
HASH = re.compile(r"^[0-9a-f]{40}$")
CODE = ("verl", "setup.py", "pyproject.toml")  # what `code_sha256` is of: of these
IMPORTED = re.compile(r"\.(py|pyc|pyd|so)$|/config/.*\.yaml$")  # what Python runs or what configures it, and links
SCRATCH = ("tmp_", ".tmp-", ".stamp-")
# Nothing goes on in the background, no hook of anybody runs, and what git writes is on the disk when it ends.
OPTIONS = ("gc.auto=0", "maintenance.auto=false", "core.fsmonitor=false", "core.hooksPath=/dev/null", "core.fsync=all")


class Checkout:
    """The working tree.

    Before anything that a kill could leave half done, `begun` is noted in .git: `before`, the commit that was there,
    and later `commit`, the one that comes. Where a run finds such a note, locks and scratch files are ours, and so is
    each file that is as in one of the two commits, is missing, or holds the beginning of what is to come. Everything
    else is somebody's work, and stays.
    """

    def __init__(self, module):
        self.module = module
        self.want = module.params
        self.path = os.path.realpath(self.want["path"])
        self.git_dir = os.path.join(self.path, ".git")
        self.held = None

    def git(self, *argv, **kwargs):
        """Run git in the tree, never in one around it; returns (rc, stdout, stderr)."""
        options = [word for option in OPTIONS for word in ("-c", option)]
        return cli.run(
            ["git"] + options + list(argv),
            cwd=self.path,
            timeout=kwargs.get("timeout", 300),
            env=dict(kwargs.get("env", {}), GIT_CEILING_DIRECTORIES=os.path.dirname(self.path)),
            pass_fds=(self.held.fileno(),) if self.held else (),
        )

    def must(self, *argv, **kwargs):
        """Run git, raising on failure."""
        rc, out, err = self.git(*argv, **kwargs)
        if rc != 0:
            raise cli.CliError(
                "`git {0}` failed in {1} (exit {2}): {3}".format(argv[0], self.path, rc, (err or out).strip()[-600:]),
                fix="git -C {0} status".format(self.path),
            )
        return out.rstrip("\n")

    def commit(self, name):
        """Return the commit of that name, or None."""
        rc, out, _err = self.git("rev-parse", "--verify", "-q", name + "^{commit}")
        return out.strip() if rc == 0 else None

    def wanted(self):
        """Return the wanted commit where the repository has it already, or None."""
        version = self.want["commit"] or self.want["version"]
        commit = self.commit(version if HASH.match(version) else "refs/tags/" + version)
        return commit if commit and self.want["code_sha256"] in ("", self.code(commit)) else None

    def code(self, commit):
        """Return the SHA-256 of a commit's code, or '' where nobody asks for it."""
        if not self.want["code_sha256"]:
            return ""
        lines = []
        for entry in self.must("ls-tree", "-rz", "--full-tree", commit, "--", *CODE).split("\0"):
            about, _tab, path = entry.partition("\t")
            plain = about.startswith("100") and path not in CODE and not IMPORTED.search(path)
            if about and not plain:
                lines.append("{0} {1}\n".format(about.split()[2], path))
        return hashlib.sha256("".join(sorted(lines)).encode("utf-8", "surrogateescape")).hexdigest()

    # ---- the note

    def mark(self):
        """Return the note."""
        return read_json(os.path.join(self.git_dir, MARK)) or {}

    def note(self, **data):
        """Note what is done (`commit`, `version`), or what is `begun`."""
        write_json(os.path.join(self.git_dir, MARK), data)

    def begin(self, **begun):
        """Note what is about to be done, beside what was done last."""
        self.note(**dict(self.mark(), begun=begun))

    def begun(self):
        """Return what a killed run had begun, or None. A commit of somebody else on top of it ends it."""
        begun = self.mark().get("begun")
        known = isinstance(begun, dict) and self.commit("HEAD") in (None, begun.get("before"), begun.get("commit"))
        return begun if known else None

    # ---- alone in the tree

    @contextlib.contextmanager
    def alone(self):
        """Keep other runs out of the tree, also while a git lives that outlived its run."""
        os.makedirs(self.git_dir, exist_ok=True)
        limit = time.monotonic() + self.want["timeout"]
        path = os.path.join(self.git_dir, HELD)
        with open(path, "a", encoding="utf-8") as self.held:
            while True:
                try:
                    fcntl.flock(self.held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > limit:
                        raise cli.CliError(
                            "Another run has been at work in {0} for {1} s.".format(self.path, self.want["timeout"]),
                            fix="fuser -v {0}  # who it is; run again when it has ended".format(path),
                        ) from None
                    time.sleep(0.5)  # the lock is polled, with a deadline
            yield

    def clear(self):
        """Remove the locks and scratch files of a git that was killed."""
        if git_runs_in(self.path):
            raise cli.CliError(
                "A run was interrupted in {0}, and now somebody's git is at work there.".format(self.path),
                fix="run again when it has ended",
            )
        for folder, _folders, names in os.walk(self.git_dir):
            for name in names:
                if name.endswith(".lock") or name.startswith(SCRATCH):
                    os.unlink(os.path.join(folder, name))

    # ---- somebody's work

    def refuse_work(self, head):
        """Raise where the tree holds somebody's work."""
        changed = self.must("status", "--porcelain", "--untracked-files=no").splitlines()
        if changed:
            raise cli.CliError(
                "{0} holds {1}; they were left as they are.".format(self.path, files([line[3:] for line in changed])),
                fix="cd {0} && git stash, or push them; or set verl_checkout_path to another folder".format(self.path),
            )
        if head is None or head == self.mark().get("commit"):
            return
        if not self.must("branch", "-r", "--contains", head) and not self.must("tag", "--contains", head):
            raise cli.CliError(
                "{0} is at commit {1}, which no tag or branch of the remote has; it was left as it is.".format(
                    self.path, head[:12]
                ),
                fix="push that commit, or set verl_checkout_path to another folder",
            )

    def refuse_others_files(self):
        """Raise where git could not finish what it began: root in a container leaves files and folders in the tree."""
        if os.getuid() == 0:
            return
        tracked = [name for name in self.git("ls-files", "-z")[1].split("\0") if name]
        stuck = owners.stuck(self.path, tracked, os.getuid())
        if stuck:
            user = pwd.getpwuid(os.getuid()).pw_name
            raise cli.CliError(
                "{0} files and folders of the checkout {1} belong to another user (as {2}), so {3} can't check another "
                "version out; nothing was changed.".format(len(stuck), self.path, stuck[0] or self.path, user),
                fix="sudo chown -R {0}: {1}".format(user, shlex.quote(self.path)),
            )

    def clean_lock(self):
        """Remove a lock that a killed git left: no git runs in this tree any more."""
        for name in ("index.lock", "shallow.lock", "HEAD.lock"):
            lock = os.path.join(self.git_dir, name)
            if os.path.exists(lock) and time.time() - os.path.getmtime(lock) > 60 and not git_runs_in(self.path):
                os.unlink(lock)

    def names(self, commit):
        """Return the names of a commit's files."""
        return set(self.must("ls-tree", "-rz", "--name-only", "--full-tree", commit).split("\0")) - {""}

    def index(self, commit):
        """Return the environment in which git's index is that commit's, whatever lies in the tree."""
        env = {"GIT_INDEX_FILE": os.path.join(self.module.tmpdir, "index-" + commit)}
        self.must("read-tree", commit, env=env)
        return env

    def differs(self, commit):
        """Return which of a commit's files are not in the tree as in that commit."""
        argv = ("diff", "--no-ext-diff", "--no-renames", "--ignore-submodules", "--name-only", "-z")
        return set(self.must(*argv, env=self.index(commit)).split("\0")) - {""}

    def theirs(self, before, commit, resumed):
        """Return what lies in the way from one commit to the other and is of neither."""
        old, new = self.names(before) if before else set(), self.names(commit)
        old_changed = self.differs(before) if before and resumed else set()
        new_changed = self.differs(commit) if resumed else new
        doubtful = (new_changed - (old - old_changed)) | (old_changed - new)
        return sorted(name for name in doubtful if self.is_theirs(name, old | new, commit, resumed))

    def is_theirs(self, name, known, commit, resumed):
        """Return whether what is at `name`, as in none of the commits, is somebody's."""
        path = os.path.join(self.path, name)
        parent = os.path.dirname(name)
        while parent:
            above = os.path.join(self.path, parent)
            if os.path.islink(above) or os.path.isfile(above):
                return parent not in known  # which is judged by itself
            parent = os.path.dirname(parent)
        if os.path.isdir(path) and not os.path.islink(path):
            found = (os.path.join(folder, each) for folder, _folders, below in os.walk(path) for each in below)
            return any(os.path.relpath(each, self.path) not in known for each in found)
        if not os.path.lexists(path):
            return False
        if not resumed or os.path.islink(path) or not os.path.isfile(path):
            return True
        return not self.is_beginning(name, commit)

    def is_beginning(self, name, commit):
        """Return whether a file holds the beginning of what it is in the commit: git was writing it."""
        place = os.path.join(self.module.tmpdir, "whole-" + commit, "")
        rc, _out, _err = self.git("checkout-index", "--force", "--prefix=" + place, "--", name, env=self.index(commit))
        if rc != 0:
            return False
        with open(os.path.join(self.path, name), "rb") as part, open(place + name, "rb") as whole:
            return whole.read().startswith(part.read())

    # ---- the work

    def init(self):
        """Make a repository, or what is missing of one."""
        self.must("init", "--quiet")
        if self.git("config", "--get", "remote.origin.url")[0] != 0:
            self.must("remote", "add", "--", "origin", self.want["repo"])

    def fetch_from_remote(self, *specs, **kwargs):
        """Fetch; a whole clone of somebody isn't made shallow. Returns (rc, stdout, stderr)."""
        shallow = self.commit("HEAD") is None or os.path.exists(os.path.join(self.git_dir, "shallow"))
        depth = ["--depth=1"] if shallow and not kwargs.get("whole") else []
        argv = ["fetch", "--no-tags", "--force"] + depth + ["--", self.want["repo"]] + list(specs)
        return self.git(*argv, timeout=self.want["timeout"])

    def fetch(self):
        """Fetch the one version; returns its commit."""
        version = self.want["version"]
        is_hash = HASH.match(version)
        repo = hide(self.want["repo"])
        for attempt in range(1, self.want["attempts"] + 1):
            rc, out, err = self.fetch_from_remote(version if is_hash else "refs/tags/" + version)
            said = (err or out).strip()
            if rc != 0 and is_hash and ("not our ref" in said or "unadvertised object" in said):
                rc, out, err = self.fetch_from_remote(
                    "+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*", whole=True
                )
            if rc == 0:
                break
            missing = "couldn't find remote ref" in said or "not our ref" in said
            if missing or attempt == self.want["attempts"]:
                raise cli.CliError(
                    "{0} can't be fetched from {1}: {2}".format(version, repo, hide(said[-500:])),
                    fix="git ls-remote {0}; choose another verl_version, or set verl_mirror_git".format(repo),
                )
            time.sleep(3 * attempt * random.uniform(0.5, 1.5))
        commit = self.commit(version if is_hash else "FETCH_HEAD")
        if commit is None:
            raise cli.CliError("{0} was fetched from {1}, but isn't in the repository.".format(version, repo))
        if self.want["commit"] not in ("", commit):
            raise cli.CliError(
                "{0} of {1} is commit {2}, needed is {3}; nothing was checked out.".format(
                    version, repo, commit, self.want["commit"]
                ),
                fix="set verl_mirror_git to a mirror that has the release; git ls-remote --tags {0}".format(repo),
            )
        if self.want["code_sha256"] != self.code(commit):
            raise cli.CliError(
                "The code of {0} in {1} (commit {2}) is not that of the release: its SHA-256 is {3}, needed is {4}; "
                "nothing was checked out.".format(version, repo, commit, self.code(commit), self.want["code_sha256"]),
                fix="set verl_mirror_git to a mirror that has the release, or verl_commit to a commit that you trust",
            )
        if not is_hash:
            self.must("update-ref", "refs/tags/" + version, self.must("rev-parse", "FETCH_HEAD"))
        return commit

    def refuse_theirs(self, before, commit, resumed):
        """Raise where the commit would overwrite somebody's work."""
        theirs = self.theirs(before, commit, resumed)
        if theirs:
            raise cli.CliError(
                "{0} holds {1}, which {2} would overwrite{3}; they were left as they are.".format(
                    self.path, files(theirs), commit[:12], ", after an interrupted run" * resumed
                ),
                fix="cp -a {0} {0}.mine && git -C {0} checkout --force --detach {1}".format(self.path, commit),
            )

    def place(self, before, commit, resumed):
        """Check the commit out, over nobody's work."""
        self.refuse_theirs(before, commit, resumed)
        self.begin(before=before, commit=commit)
        if before and self.commit("HEAD") is None:
            self.must("read-tree", before)  # so that git removes what only that commit had
        self.must("checkout", "--quiet", "--detach", *["--force"] * resumed, commit)
        for name in self.names(commit):
            with contextlib.suppress(OSError):  # a link, or a folder of a submodule
                descriptor = os.open(os.path.join(self.path, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
                with os.fdopen(descriptor, "rb") as handle:
                    os.fsync(handle.fileno())

    def finish(self, begun):
        """End what an interrupted run began. Returns the commit whose files the tree holds, None where unknown."""
        self.clear()
        if self.commit("HEAD") is None:
            self.init()
        for commit in (begun.get("before"), begun.get("commit")):
            if commit and self.commit(commit) is None:
                self.fetch_from_remote(commit)  # where the remote has it no more, its files count as somebody's
        before, commit = begun.get("before"), begun.get("commit")
        before = before and self.commit(before)
        if commit and self.commit(commit) and self.commit("HEAD") != commit:
            self.place(before, commit, resumed=True)
        head = self.commit("HEAD")
        if head and head == commit:
            self.note(commit=commit)
        return head or before

    def bring(self, begun):
        """Check the wanted commit out, after what is `begun`; returns it."""
        before = self.finish(begun) if begun else None
        head, wanted = self.commit("HEAD"), self.wanted()
        if head is None or head != wanted:
            if head is not None:
                self.refuse_work(head)
            # Where nothing was ever checked out, a lock is of a run that was killed before it noted anything.
            resumed = head is None and not os.path.exists(os.path.join(self.git_dir, "index"))
            if resumed:
                self.clear()
            self.begin(before=head or before)
            if head is None:
                self.init()
            wanted = wanted or self.fetch()
            self.place(head or before, wanted, resumed)
        self.note(commit=wanted, version=self.want["version"])
        return wanted

    def rebuild(self, begun):
        """Make a repository anew that a kill left broken, and in which nothing is but what this module fetched."""
        rc, out, err = self.git("fsck", "--full", "--no-dangling")
        if rc in (0, 124):
            return False
        known = (begun.get("before"), begun.get("commit"), self.mark().get("commit"))
        own = sorted(own_refs(self.git_dir, known))
        if own:
            raise cli.CliError(
                "{0} is damaged ({1}), and holds {2}, which isn't ours; it was left as it is.".format(
                    self.git_dir, (err or out).strip()[-300:], ", ".join(own[:5])
                ),
                fix="git -C {0} fsck; or move {0} away".format(self.path),
            )
        for entry in list(os.scandir(self.git_dir)):
            if entry.name in (MARK, HELD):
                continue
            shutil.rmtree(entry.path) if entry.is_dir(follow_symlinks=False) else os.unlink(entry.path)
        return True

    def run(self):
        """Do what is needed."""
        if cli.which("git") is None:
            raise cli.CliError("git is not installed.", fix="sudo apt-get install -y git")
        repository = os.path.isdir(self.git_dir)
        if not repository and os.path.isdir(self.path) and os.listdir(self.path):
            raise cli.CliError(
                "{0} is no git repository but isn't empty; it was left as it is.".format(self.path),
                fix="move it away, or set verl_checkout_path to another folder",
            )
        if repository and self.commit("HEAD") not in (None, self.wanted()):
            self.refuse_others_files()
        if self.module.check_mode:
            self.predict(repository)
        with self.alone():
            head, begun = self.commit("HEAD"), self.begun()
            try:
                commit = self.bring(begun)
            except cli.CliError:
                if not begun or not self.rebuild(begun):
                    raise
                commit = self.bring(begun)
        self.answer(bool(begun) or head != commit, head, commit)

    def predict(self, repository):
        """Answer what a run would do."""
        head, wanted = (self.commit("HEAD"), self.wanted()) if repository else (None, None)
        begun = self.begun() if repository else None
        if begun and begun.get("commit") not in (None, head) and self.commit(begun["commit"]):
            before = begun.get("before")
            self.refuse_theirs(before and self.commit(before), begun["commit"], resumed=True)
        if not begun and head is not None:
            if head == wanted:
                self.answer(False, head, head)
            self.refuse_work(head)
        self.answer(True, head, wanted or self.want["version"])

    def answer(self, changed, before, after):
        """The module's answer."""
        self.module.exit_json(
            changed=changed,
            commit=after,
            path=self.path,
            diff={
                "before_header": self.path,
                "after_header": self.path,
                "before": "{0}\n".format(before or "(nothing)") if changed else "",
                "after": "{0} ({1})\n".format(after, self.want["version"]) if changed else "",
            },
        )


def files(names):
    """Return how many changed files, and the first names."""
    shown = ", ".join(names[:5]) + ", ..." * (len(names) > 5)
    return "{0} changed file(s) ({1})".format(len(names), shown)


def own_refs(git_dir, known):
    """Return what a repository holds beside the commits that this module brought: branches, a stash, another HEAD."""
    found = set()
    for folder in ("refs/heads", "refs/stash", "worktrees", "modules"):
        path = os.path.join(git_dir, folder)
        found.update([folder] if os.path.isfile(path) else [])
        found.update(folder + "/" + name for _folder, _folders, names in os.walk(path) for name in names)
    for line in tail(os.path.join(git_dir, "packed-refs"), 1 << 20).splitlines():
        ref = line.partition(" ")[2]
        found.update([ref] if ref.startswith(("refs/heads/", "refs/stash")) else [])
    head = tail(os.path.join(git_dir, "HEAD")).strip()
    return found | ({"commit " + head} if HASH.match(head) and head not in known else set())


def hide(text):
    """Return text without the user part of URLs."""
    return re.sub(r"://[^/@\s]+@", "://", text)


def git_runs_in(path):
    """Whether a git process has its working folder in `path`."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open("/proc/{0}/comm".format(entry), encoding="utf-8") as handle:
                    name = handle.read().strip()
                if name.startswith("git") and os.readlink("/proc/{0}/cwd".format(entry)).startswith(path):
                    return True
            except OSError:
                continue
    return False


def main():
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "repo": {"type": "str", "required": True},
            "version": {"type": "str", "required": True},
            "commit": {"type": "str", "default": ""},
            "code_sha256": {"type": "str", "default": ""},
            "path": {"type": "path", "required": True},
            "timeout": {"type": "int", "default": 900},
            "attempts": {"type": "int", "default": 3},
            "proxy": proxy.ARGUMENT,
        },
        supports_check_mode=True,
    )
    proxy.use(module)
    try:
        Checkout(module).run()
    except cli.CliError as error:
        module.fail_json(msg=str(error), fix=error.fix)
    except OSError as error:
        module.fail_json(msg="{0}: {1}".format(error.filename, error.strerror), fix="ls -ld {0}".format(error.filename))


if __name__ == "__main__":
    main()
