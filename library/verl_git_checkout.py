#!/usr/bin/python
"""Module verl_git_checkout: a git repository at one release or commit, never over somebody's work."""

DOCUMENTATION = r"""
module: verl_git_checkout
short_description: Checks a release or commit out, shallow and resumable
version_added: "0.1.0"
author: verl-provision authors (@verl-provision)
description:
  - Fetches one tag or commit without its history and checks it out. An interrupted fetch goes on in the next
    run.
  - Refuses to overwrite work - changed tracked files, commits that the remote does not have, a folder with
    other content.
options:
  repo:
    description: The remote repository.
    type: str
    required: true
  version:
    description: A tag (C(v0.9.0)) or a full commit hash.
    type: str
    required: true
  path:
    description: Where the working tree is; a leading C(~) is the connecting user's home.
    type: path
    required: true
  timeout:
    description: Seconds for the fetch.
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

import json
import os
import random
import re
import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.verl_access import proxy
from ansible.module_utils.verl_container import cli

MARK = "verl-provision.json"  # in .git: what this module checked out last


class Checkout:
    """The working tree."""

    def __init__(self, module):
        self.module = module
        self.want = module.params
        self.path = os.path.expanduser(self.want["path"])
        self.git_dir = os.path.join(self.path, ".git")

    def git(self, *argv, **kwargs):
        """Run git in the tree; returns (rc, stdout, stderr)."""
        return cli.run(("git",) + argv, cwd=self.path, timeout=kwargs.get("timeout", 120))

    def must(self, *argv, **kwargs):
        """Run git, raising on failure."""
        rc, out, err = self.git(*argv, **kwargs)
        if rc != 0:
            raise cli.CliError("`git {0}` failed (exit {1}): {2}".format(argv[0], rc, (err or out).strip()[-600:]))
        return out.rstrip()

    def head(self):
        """Return the commit that's checked out, or None."""
        rc, out, _err = self.git("rev-parse", "--verify", "-q", "HEAD^{commit}")
        return out.strip() if rc == 0 else None

    def mark(self):
        """Return what this module checked out last."""
        try:
            with open(os.path.join(self.git_dir, MARK), encoding="utf-8") as handle:
                return json.load(handle)
        except (OSError, ValueError):
            return {}

    def local_commit(self):
        """Return the wanted commit where the repository has it already, or None."""
        version = self.want["version"]
        is_hash = re.match(r"^[0-9a-f]{40}$", version)
        name = version if is_hash else "refs/tags/{0}".format(version)
        rc, out, _err = self.git("rev-parse", "--verify", "-q", name + "^{commit}")
        return out.strip() if rc == 0 else None

    def refuse_work(self, head):
        """Raise where the tree holds somebody's work."""
        changed = self.must("status", "--porcelain", "--untracked-files=no").splitlines()
        if changed:
            shown = ", ".join(line[3:] for line in changed[:5])
            raise cli.CliError(
                "{0} holds {1} changed file(s) ({2}{3}); they were left as they are.".format(
                    self.path, len(changed), shown, ", ..." if len(changed) > 5 else ""
                ),
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

    def clean_lock(self):
        """Remove a lock that a killed git left: no git runs in this tree any more."""
        for name in ("index.lock", "shallow.lock", "HEAD.lock"):
            lock = os.path.join(self.git_dir, name)
            if os.path.exists(lock) and time.time() - os.path.getmtime(lock) > 60 and not git_runs_in(self.path):
                os.unlink(lock)

    def fetch(self):
        """Fetch the one version; returns its commit."""
        version = self.want["version"]
        is_hash = re.match(r"^[0-9a-f]{40}$", version)
        what = version if is_hash else "refs/tags/{0}:refs/tags/{0}".format(version)
        for attempt in range(1, self.want["attempts"] + 1):
            rc, out, err = self.git(
                "fetch", "--depth=1", "--no-tags", "--force", "origin", what, timeout=self.want["timeout"]
            )
            if rc == 0:
                break
            said = (err or out).strip()
            if is_hash and "not our ref" in said or "unadvertised object" in said:
                rc, out, err = self.git("fetch", "--tags", "origin", timeout=self.want["timeout"])
                if rc == 0:
                    break
            missing = "couldn't find remote ref" in said or "not our ref" in said
            if missing or attempt == self.want["attempts"]:
                raise cli.CliError(
                    "{0} can't be fetched from {1}: {2}".format(version, hide(self.want["repo"]), hide(said[-500:])),
                    fix="git ls-remote {0}; choose another verl_version, or set verl_mirror_git".format(
                        hide(self.want["repo"])
                    ),
                )
            time.sleep(3 * attempt * random.uniform(0.5, 1.5))
        commit = self.local_commit()
        if commit is None:
            raise cli.CliError("{0} was fetched but isn't in the repository.".format(version))
        return commit

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
        head = self.head() if repository else None
        wanted = self.local_commit() if repository else None
        if head is not None and head == wanted:
            if not self.module.check_mode:
                self.note(head)
            self.answer(False, head, head)
        if head is not None:
            self.refuse_work(head)
        if self.module.check_mode:
            self.answer(True, head, wanted or self.want["version"])
        if not repository:
            os.makedirs(self.path, exist_ok=True)
            self.must("init", "--quiet")
        self.clean_lock()
        if self.git("remote", "set-url", "origin", self.want["repo"])[0] != 0:
            self.must("remote", "add", "origin", self.want["repo"])
        commit = wanted or self.fetch()
        self.must("-c", "advice.detachedHead=false", "checkout", "--quiet", "--detach", commit, timeout=300)
        self.note(commit)
        self.answer(True, head, commit)

    def note(self, commit):
        """Remember what was checked out."""
        data = {"commit": commit, "version": self.want["version"]}
        if self.mark() != data:
            with open(os.path.join(self.git_dir, MARK), "w", encoding="utf-8") as handle:
                json.dump(data, handle)

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
