#!/usr/bin/python
"""Module verl_sif: a container image as a file for Apptainer, pulled by digest."""

DOCUMENTATION = r"""
module: verl_sif
short_description: Pulls a container image into a .sif file by digest
version_added: "0.1.0"
author: verl-provision authors (@verl-provision)
description:
  - Makes sure that O(file) is the image O(name) with O(digest), pulled by Apptainer from a registry. Needs no root.
  - The file is put in place in one step, so a running program keeps the old one. What it was made from is kept beside
    it in C(<file>.json). Layers of an interrupted pull are kept for the next run.
  - One pull at a time for a file, by a lock that the kernel lets go when its holder dies.
  - Its action plugin runs it in the background and shows what is written meanwhile.
options:
  file:
    description: The image's file; a leading C(~) is the connecting user's home.
    type: path
    required: true
  name:
    description: The image's name and tag, as C(verlai/verl:vllm024.latest).
    type: str
    required: true
  digest:
    description: The digest to pull, C(sha256:...). Without it whatever the tag is.
    type: str
    default: ''
  confirm_digest:
    description: Whether O(digest) is another host's word, so that the registry is asked from here, too. Another
      answer is refused.
    type: bool
    default: false
  pull_ref:
    description: Where to pull from, where that's a mirror. O(name) where it's empty.
    type: str
    default: ''
  command:
    description: Apptainer's command.
    type: str
    default: apptainer
  plain_http:
    description: Whether the registry speaks HTTP without TLS.
    type: bool
    default: false
  size_gb:
    description: Decimal GB of the unpacked image; half as much again is needed for the file. V(0) skips the check.
    type: float
    default: 0
  attempts:
    description: How often an error that may pass is tried.
    type: int
    default: 5
  delay:
    description: The first pause between tries in seconds. It doubles each time and varies by half at random.
    type: int
    default: 10
  timeout:
    description: Seconds for one try, and for another run's pull.
    type: int
    default: 7200
  phase:
    description:
      - V(look) waits up to O(wait_seconds) for another run's pull of this file, and says what that has written.
    type: str
    choices: [all, look]
    default: all
  wait_seconds:
    description: How long V(look) waits.
    type: int
    default: 10
extends_documentation_fragment: [verl_attributes, verl_logins, verl_proxy]
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
"""

EXAMPLES = r"""
- name: Pull by digest
  verl_sif:
    file: ~/verl/images/vllm024.sif
    name: docker.io/verlai/verl:vllm024.latest
    digest: sha256:7f3e...
"""

RETURN = r"""
image:
  description: What the file was made from.
  type: dict
  returned: when it is there
pulling:
  description: Whether a pull of this file is still running.
  type: bool
  returned: with phase look
progress:
  description: One line for people.
  type: str
  returned: with phase look
fix:
  description: The next command.
  type: str
  returned: on failure, where known
"""

import contextlib
import fcntl
import json
import os
import random
import shutil
import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.verl_access import logins, proxy
from ansible.module_utils.verl_container import cli, preflight, pull, registry
from ansible.module_utils.verl_state import files

UNPACKED_AND_FILE = 1.5  # the layers are unpacked beside the file that is made of them


def source(reference, digest):
    """Return the address that Apptainer takes: with a digest it wants no tag."""
    if not digest:
        return "docker://" + reference
    head, slash, last = reference.split("@")[0].rpartition("/")
    return "docker://{0}{1}{2}@{3}".format(head, slash, last.split(":")[0], digest)


class Sif:
    """The wanted file."""

    def __init__(self, module):
        self.module = module
        self.want = module.params
        self.file = self.want["file"]
        self.note = self.file + ".json"
        self.folder = os.path.dirname(self.file)
        self.cache = os.path.join(self.folder, ".cache")

    def made_from(self):
        """Return what the file was made from, {} where there is none."""
        try:
            with open(self.note, encoding="utf-8") as handle:
                return json.load(handle) if os.path.isfile(self.file) else {}
        except (OSError, ValueError):
            return {}

    def right(self, found):
        """Whether the file is the wanted image."""
        if self.want["digest"]:
            return found.get("digest") == self.want["digest"]
        return found.get("name") == self.want["name"]

    def check_disk(self):
        """Refuse before anything is fetched."""
        path = self.folder
        while not os.path.isdir(path):
            path = os.path.dirname(path)
        stat = os.statvfs(path)
        free, needed = stat.f_bavail * stat.f_frsize / 1e9, self.want["size_gb"] * UNPACKED_AND_FILE
        if free < needed:
            raise cli.CliError(
                "too little disk at {0}: found {1:.1f} GB free, needed {2:.1f} GB to unpack the image and for its "
                "file.".format(path, free, needed),
                fix="free space there, or set verl_prefix to a folder on a larger disk",
            )

    @contextlib.contextmanager
    def lock(self):
        """Wait for another run's pull of this file; the lock is let go however this ends."""
        os.makedirs(self.folder, exist_ok=True)
        deadline = time.monotonic() + self.want["timeout"]
        with open(self.file + ".lock", "w", encoding="utf-8") as handle:
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError:
                    if time.monotonic() > deadline:
                        raise cli.CliError(
                            "another run is pulling {0}.".format(self.file), fix="wait for it to end, then run again"
                        ) from None
                    time.sleep(0.5)  # polled, with a deadline
            yield

    def environment(self):
        """Return the environment of a pull: everything beside the file, no secret in an argument."""
        env = {}
        place = registry.parse(self.want["pull_ref"] or self.want["name"])[0]
        login = logins.login_for(place, self.want["registry_logins"])
        for tool in ("APPTAINER", "SINGULARITY"):
            env[tool + "_CACHEDIR"] = self.cache
            env[tool + "_TMPDIR"] = os.path.join(self.folder, ".tmp")
            if login:
                env[tool + "_DOCKER_USERNAME"] = login["username"]
                env[tool + "_DOCKER_PASSWORD"] = login["password"]
        return env

    def pull(self):
        """Pull into a file beside the wanted one."""
        scratch = os.path.join(self.folder, ".tmp")
        shutil.rmtree(scratch, ignore_errors=True)  # what a killed pull unpacked
        os.makedirs(scratch)
        target = os.path.join(scratch, "new.sif")
        where = source(self.want["pull_ref"] or self.want["name"], self.want["digest"])
        argv = [self.want["command"], "pull", "--force"] + ["--no-https"] * self.want["plain_http"] + [target, where]
        for attempt in range(1, self.want["attempts"] + 1):
            rc, out, err = cli.run(argv, timeout=self.want["timeout"], env=self.environment())
            if rc == 0 and os.path.isfile(target):
                break
            said = (err + "\n" + out).strip()[-1500:]
            plain = said.lower()
            passing = any(word in plain for word in pull.PASSING) or not any(word in plain for word in pull.FINAL)
            if rc == 127 or attempt == self.want["attempts"] or not passing:
                raise cli.CliError(
                    "`{0} pull {1}` failed (exit {2}): {3}".format(self.want["command"], where, rc, said),
                    fix="{0} pull /tmp/try.sif {1}; or set verl_mirror_registry".format(self.want["command"], where),
                )
            time.sleep(self.want["delay"] * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))
        files.put(target, self.file)

    def look(self):
        """Answer when the pull that runs has ended, or after a while; with what it has written."""
        end = time.monotonic() + self.want["wait_seconds"]
        while self.locked() and time.monotonic() < end:
            time.sleep(0.5)
        self.module.exit_json(changed=False, pulling=self.locked(), progress=self.progress())

    def locked(self):
        """Whether a pull of the file holds its lock."""
        try:
            with open(self.file + ".lock", encoding="utf-8") as handle:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return False

    def progress(self):
        """Bytes of the layers that came, of what is unpacked, and of the file that is made of it."""
        sizes = {"layers": 0, "unpacked": 0, "file": 0}
        for top, kind in ((self.cache, "layers"), (os.path.join(self.folder, ".tmp"), "unpacked")):
            for folder, _folders, names in os.walk(top):
                for name in names:
                    with contextlib.suppress(OSError):
                        size = os.lstat(os.path.join(folder, name)).st_size
                        sizes["file" if name.startswith("squashfs-") or name == "new.sif" else kind] += size
        return "{0} downloaded, {1} unpacked, {2} of the file written".format(
            *(pull.human(sizes[kind]) for kind in ("layers", "unpacked", "file"))
        )

    def run(self):
        """Do what is needed."""
        if self.want["phase"] == "look":
            self.look()
        if self.want["confirm_digest"] and self.want["digest"]:
            place = self.want["pull_ref"] or self.want["name"]
            preflight.confirm(place, self.want["digest"], self.want["registry_logins"])
        wanted = {key: self.want[key] for key in ("name", "digest")}
        before = self.made_from()
        if self.right(before):
            self.answer(False, before, before)
        if cli.which(self.want["command"]) is None:
            raise cli.CliError(
                "{0} is not installed.".format(self.want["command"]), fix="have an administrator install Apptainer"
            )
        self.check_disk()
        if self.module.check_mode:
            self.answer(True, before, wanted)
        with self.lock():
            before = self.made_from()
            if not self.right(before):
                self.replace(wanted)
                self.answer(True, before, wanted)
        self.answer(False, before, before)

    def replace(self, wanted):
        """Put the wanted file in place of what is there."""
        if os.path.exists(self.note):
            os.unlink(self.note)  # a new file with an old note would be believed
        self.pull()
        files.write_json(self.note, wanted)
        for left in (self.cache, os.path.join(self.folder, ".tmp")):
            shutil.rmtree(left, ignore_errors=True)

    def answer(self, changed, before, after):
        """The module's answer."""
        self.module.exit_json(
            changed=changed,
            image=dict(after, file=self.file),
            diff={
                "before_header": self.file,
                "after_header": self.file,
                "before": json.dumps(before, sort_keys=True) + "\n" if before else "",
                "after": json.dumps(after, sort_keys=True) + "\n",
            },
        )


def main():
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "file": {"type": "path", "required": True},
            "name": {"type": "str", "required": True},
            "digest": {"type": "str", "default": ""},
            "confirm_digest": {"type": "bool", "default": False},
            "pull_ref": {"type": "str", "default": ""},
            "command": {"type": "str", "default": "apptainer"},
            "plain_http": {"type": "bool", "default": False},
            "size_gb": {"type": "float", "default": 0},
            "registry_logins": logins.ARGUMENT,
            "proxy": proxy.ARGUMENT,
            "attempts": {"type": "int", "default": 5},
            "delay": {"type": "int", "default": 10},
            "timeout": {"type": "int", "default": 7200},
            "phase": {"type": "str", "choices": ["all", "look"], "default": "all"},
            "wait_seconds": {"type": "int", "default": 10},
        },
        supports_check_mode=True,
    )
    proxy.use(module)
    try:
        Sif(module).run()
    except (cli.CliError, preflight.Missing) as error:
        module.fail_json(msg=str(error), fix=error.fix)
    except OSError as error:
        module.fail_json(
            msg="{0}: {1}".format(error.filename, error.strerror), fix="df -h and ls -ld {0}".format(error.filename)
        )


if __name__ == "__main__":
    main()
