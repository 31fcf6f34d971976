#!/usr/bin/python
"""Module verl_image: an image pulled by digest through the engine's own command line."""

DOCUMENTATION = r"""
module: verl_image
short_description: Pulls a container image by digest, with progress, and verifies what came
version_added: "0.1.0"
author: verl-provision authors (@verl-provision)
description:
  - Makes sure that the image O(name) with O(digest) is on the host, using the engine's own command line, so
    that Docker and
    Podman work alike and the host needs no Python packages.
  - The disk is looked at first. The pull runs in the background; a run that comes after an interrupted one
    joins it.
    Errors that pass (limits, timeouts, 5xx) are tried again with growing, random pauses.
  - O(proxy) is for an engine without a daemon. Docker's daemon has its own.
  - Afterwards the image is tagged as O(name) and its repository digests are compared with O(digest).
options:
  engine:
    description: The engine's command.
    type: str
    choices: [docker, podman]
    default: docker
  name:
    description: The image's name and tag, as C(verlai/verl:vllm024.latest).
    type: str
    required: true
  digest:
    description: The digest to pull, C(sha256:...). Without it the tag is pulled where no image has this name.
    type: str
    default: ''
  confirm_digest:
    description: Whether O(digest) is another host's word, so that the registry is asked from here, too. Another
      answer is refused.
    type: bool
    default: false
  pull_ref:
    description: Where to pull from, as C(mirror.example:5000/verlai/verl:vllm024.latest). O(name) where it's
      empty.
    type: str
    default: ''
  size_gb:
    description: Disk space in decimal GB that the image needs on the engine's disk. V(0) skips the check.
    type: float
    default: 0
  spare_gb:
    description: Disk space in decimal GB that must remain free afterwards.
    type: float
    default: 2
  attempts:
    description: How often an error that may pass is tried.
    type: int
    default: 5
  delay:
    description: The first pause between tries in seconds. It doubles each time and varies by half at random.
    type: int
    default: 10
  timeout:
    description: Seconds to wait for the pull, all tries together. It goes on afterwards, and the next run joins it.
    type: int
    default: 43200
    version_added: "0.2.0"
  job_dir:
    description: Where the job file of a running pull lies. Where it's empty, C(/run/verl-provision) for
      root and C(~/.cache/verl-provision) for others.
    type: path
  phase:
    description:
      - V(all) does everything and waits. V(begin) starts the pull and returns. V(wait) waits up to
        O(wait_seconds) and
        returns how far it is, or ends like V(all).
      - The action plugin of role C(container_image) uses the last two to show progress.
    type: str
    choices: [all, begin, wait]
    default: all
  wait_seconds:
    description: How long V(wait) waits.
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
  verl_image:
    name: verlai/verl:vllm024.latest
    digest: sha256:7f3e...
    size_gb: 20
"""

RETURN = r"""
image:
  description: The image on the host.
  type: dict
  returned: when it is there
  sample: {id: "sha256:0c1d...", name: "verlai/verl:vllm024.latest", digest: "sha256:7f3e...", size_gb: 19.8}
pulling:
  description: Whether the pull is still running.
  type: bool
  returned: always
progress:
  description: One line for people.
  type: str
  returned: while pulling
fix:
  description: The next command.
  type: str
  returned: on failure, where known
"""

import hashlib
import json
import os
import shutil
import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.validation import check_type_path
from ansible.module_utils.verl_access import logins, proxy
from ansible.module_utils.verl_container import cli, preflight, pull, registry


def repository(reference):
    """Return a reference without tag and digest."""
    name = reference.split("@")[0]
    head, slash, last = name.rpartition("/")
    return head + slash + last.split(":")[0]


class Image:
    """The wanted image on this host."""

    def __init__(self, module):
        self.module = module
        self.want = module.params
        self.engine = cli.Engine(self.want["engine"])
        self.name = self.want["name"]
        self.digest = self.want["digest"]
        self.pull_ref = self.want["pull_ref"] or self.name
        self.exact = "{0}@{1}".format(repository(self.pull_ref), self.digest) if self.digest else self.pull_ref
        # Never below /tmp, where somebody else could have made the folder first.
        own = "/run/verl-provision" if os.getuid() == 0 else check_type_path("~/.cache/verl-provision")
        folder = self.want["job_dir"] or own
        key = hashlib.sha256(self.exact.encode()).hexdigest()[:16]
        self.job_path = os.path.join(folder, "pull-{0}.json".format(key))
        self.login_path = os.path.join(folder, "login-{0}".format(key))

    def confirm(self):
        """Fail where the registry says something else from here than the host that was asked for all."""
        if not self.want["confirm_digest"] or not self.digest:
            return
        try:
            preflight.confirm(self.pull_ref, self.digest, self.want["registry_logins"])
        except preflight.Missing as error:
            self.module.fail_json(msg=error.found, fix=error.fix, pulling=False)

    def has_digest(self, inspected):
        """Whether the inspected image is the wanted one."""
        if not self.digest:
            return True
        digests = [text.rpartition("@")[2] for text in inspected.get("RepoDigests") or []]
        return self.digest in digests or inspected.get("Digest") == self.digest

    def found(self):
        """Return (inspected image or None, whether it has its name)."""
        named = self.engine.inspect("image", self.name)
        if named is not None and self.has_digest(named):
            return named, True
        for reference in {self.exact, "{0}@{1}".format(repository(self.name), self.digest)} if self.digest else ():
            inspected = self.engine.inspect("image", reference)
            if inspected is not None:
                return inspected, False
        return self.under_any_name(), False

    def under_any_name(self):
        """Return an image with the wanted digest that came from elsewhere (another mirror), or None."""
        if not self.digest:
            return None
        listed = self.engine.must("images", "--no-trunc", "--digests", "--format", "{{.Digest}} {{.ID}}")
        for line in listed.splitlines():
            digest, _space, identity = line.partition(" ")
            if digest == self.digest:
                return self.engine.inspect("image", identity.strip())
        return None

    def check_disk(self):
        """Refuse before anything is pulled that won't fit."""
        if not self.want["size_gb"]:
            return
        root = self.engine.root_dir()
        while root and not os.path.exists(root) and root != "/":
            root = os.path.dirname(root)
        if not root:
            return
        disk = os.statvfs(root)
        free = disk.f_bavail * disk.f_frsize / 1e9
        needed = self.want["size_gb"] + self.want["spare_gb"]
        if free < needed:
            self.module.fail_json(
                msg="Not enough disk for {0}: {1:.1f} GB free at {2}, {3:.1f} GB needed ({4:.1f} for the image, "
                "{5:.1f} to remain free).".format(
                    self.name, free, root, needed, self.want["size_gb"], self.want["spare_gb"]
                ),
                fix="{0} system df; then free space below {1} or move the engine's data-root to a larger disk".format(
                    self.engine.name, root
                ),
                pulling=False,
            )

    def login(self):
        """Log in with a configuration of its own that goes away again; returns the environment for the pull."""
        folder = self.login_path
        shutil.rmtree(folder, ignore_errors=True)  # a killed pull's
        place = registry.parse(self.pull_ref)[0]
        login = logins.login_for(place, self.want["registry_logins"])
        if login is None:
            return None, None
        os.makedirs(folder, mode=0o700)
        auth = os.path.join(folder, "auth.json")
        env = {"DOCKER_CONFIG": folder} if self.engine.name == "docker" else {"REGISTRY_AUTH_FILE": auth}
        rc, out, err = self.engine.run(
            "login",
            "--username",
            login["username"],
            "--password-stdin",
            place,
            stdin=login["password"],
            env=env,
        )
        if rc != 0:
            shutil.rmtree(folder, ignore_errors=True)
            said = (err or out).strip().replace(login["password"], "********")
            self.module.fail_json(
                msg="Logging in to {0} as {1} failed: {2}".format(place, login["username"], said[-500:]),
                fix="check what verl_registry_logins has for {0} (vault or environment)".format(place),
                pulling=False,
            )
        return env, folder

    def begin(self):
        """Start the pull, or join the one that runs."""
        job = pull.read(self.job_path)
        if job and job.get("alive") and job.get("state") in ("pulling", "waiting"):
            return
        self.check_disk()
        env, folder = self.login()
        pull.background(
            self.engine.name,
            self.exact,
            self.job_path,
            self.want["attempts"],
            self.want["delay"],
            env=env,
            remove=folder,
        )

    def wait(self, seconds):
        """Return the job after at most `seconds`, sooner where it ends."""
        end = time.time() + seconds
        while True:
            job = pull.read(self.job_path)
            if job is None or job.get("state") in ("ok", "failed") or not job.get("alive"):
                return job
            if time.time() >= end:
                return job
            time.sleep(0.5)

    def finish(self, job):
        """Tag and verify after a pull; returns the image."""
        job = job or {"state": "failed", "error": "its job file {0} is gone".format(self.job_path)}
        if job.get("state") != "ok":
            error = job.get("error") or "the pulling process was killed"
            self.module.fail_json(
                msg="Pulling {0} failed{1}: {2}".format(
                    self.exact, " after {0} tries".format(job["attempt"]) if job.get("attempt", 1) > 1 else "", error
                ),
                fix=self.engine.advice(error) or "try by hand: {0} pull {1}".format(self.engine.name, self.exact),
                pulling=False,
            )
        inspected, named = self.found()
        if inspected is None:
            self.module.fail_json(
                msg="{0} was pulled, but no image with digest {1} is on the host.".format(self.exact, self.digest),
                pulling=False,
            )
        return self.tag(inspected, named)

    def tag(self, inspected, named):
        """Give the image its name, where it lacks it."""
        if not named:
            self.engine.must("tag", inspected["Id"], self.name)
            inspected, named = self.found()
            if inspected is None or not named:
                self.module.fail_json(
                    msg="{0} could not be tagged as {1}.".format(self.exact, self.name), pulling=False
                )
        return inspected

    def result(self, inspected, **more):
        """The module's answer."""
        image = {
            "id": inspected.get("Id"),
            "name": self.name,
            "digest": self.digest or None,
            "digests": [text.rpartition("@")[2] for text in inspected.get("RepoDigests") or []],
            "size_gb": round((inspected.get("Size") or 0) / 1e9, 2),
        }
        self.module.exit_json(image=image, pulling=False, **more)


def diff(image, there):
    """What --diff shows."""
    after = {"image": image.name, "digest": image.digest or "(whatever the tag is)"}
    return {"before": json.dumps(after if there else {}) + "\n", "after": json.dumps(after) + "\n"}


def main():
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "engine": {"type": "str", "choices": ["docker", "podman"], "default": "docker"},
            "name": {"type": "str", "required": True},
            "digest": {"type": "str", "default": ""},
            "confirm_digest": {"type": "bool", "default": False},
            "pull_ref": {"type": "str", "default": ""},
            "size_gb": {"type": "float", "default": 0},
            "spare_gb": {"type": "float", "default": 2},
            "attempts": {"type": "int", "default": 5},
            "delay": {"type": "int", "default": 10},
            "timeout": {"type": "int", "default": 43200},
            "registry_logins": logins.ARGUMENT,
            "proxy": proxy.ARGUMENT,
            "job_dir": {"type": "path"},
            "phase": {"type": "str", "choices": ["all", "begin", "wait"], "default": "all"},
            "wait_seconds": {"type": "int", "default": 10},
        },
        supports_check_mode=True,
    )
    proxy.use(module)
    image = Image(module)
    phase = module.params["phase"]
    try:
        if phase != "wait":
            image.confirm()
            inspected, named = image.found()
            if inspected is not None:
                if named or module.check_mode:
                    image.result(inspected, changed=not named, diff=diff(image, named))
                image.result(image.tag(inspected, named), changed=True, diff=diff(image, False))
            if module.check_mode:
                image.check_disk()
                module.exit_json(changed=True, pulling=False, diff=diff(image, False))
            image.begin()
        job = image.wait({"all": module.params["timeout"], "begin": 0, "wait": module.params["wait_seconds"]}[phase])
        if phase == "begin" or (job and job.get("alive") and job.get("state") in ("pulling", "waiting")):
            module.exit_json(changed=True, pulling=True, progress=pull.line(job or {}), job=job)
        image.result(
            image.finish(job), changed=True, diff=diff(image, False), seconds=round(job["finished"] - job["started"])
        )
    except cli.CliError as error:
        if module.check_mode and cli.which(module.params["engine"]) is None:
            module.exit_json(changed=True, pulling=False, diff=diff(image, False))  # the engine is only planned too
        module.fail_json(msg=str(error), fix=error.fix, pulling=False)


if __name__ == "__main__":
    main()
