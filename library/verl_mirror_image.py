#!/usr/bin/python
"""Module verl_mirror_image: one image copied by digest from upstream into a registry on this machine."""

DOCUMENTATION = r"""
module: verl_mirror_image
short_description: Copies an image by digest from upstream into a registry on this machine
version_added: "0.1.0"
author: verl-provision authors (@verl-provision)
description:
  - Copies O(name) with C(skopeo), whole (every platform that the digest names), so that its digest stays what it was.
  - Blobs that the mirror has already are not fetched again, so a copy that was cut off goes on where it was.
  - Errors that pass are tried again with growing, random pauses. The digest in the mirror is compared afterwards.
options:
  name:
    description: The image's name and tag, as C(verlai/verl:vllm024.latest).
    type: str
    required: true
  digest:
    description: Its digest. Without it the tag is resolved upstream.
    type: str
    default: ''
  upstream:
    description: Registry to copy from instead of the image's own.
    type: str
    default: ''
  upstream_tls:
    description: Whether upstream speaks HTTPS with a certificate that is trusted here.
    type: bool
    default: true
  upstream_username:
    description: Upstream's user.
    type: str
    default: ''
  upstream_password:
    description: Upstream's password or token.
    type: str
    default: ''
  mirror:
    description: HOST:PORT of the registry on this machine.
    type: str
    default: 127.0.0.1:5000
  mirror_username:
    description: The mirror's user.
    type: str
    default: ''
  mirror_password:
    description: The mirror's password.
    type: str
    default: ''
  attempts:
    description: How often an error that may pass is tried.
    type: int
    default: 6
  delay:
    description: The first pause between tries in seconds. It doubles each time and varies by half at random.
    type: int
    default: 10
extends_documentation_fragment: [verl_attributes]
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
"""

EXAMPLES = r"""
- name: Copy an image into the mirror
  verl_mirror_image:
    name: verlai/verl:vllm024.latest
    digest: sha256:7f3e...
"""

RETURN = r"""
digest:
  description: The digest in the mirror.
  type: str
  returned: success
attempts:
  description: How many tries it took.
  type: int
  returned: where something was copied
"""

import base64
import hashlib
import json
import os
import random
import tempfile
import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.verl_container import pull, registry


class Copy:
    """One image on its way from upstream to the mirror."""

    def __init__(self, module, logins):
        self.module, self.want, self.logins = module, module.params, logins
        place, repository, tag = registry.parse(self.want["name"])
        self.repository, self.tag = repository, tag
        self.source = "docker://{0}/{1}".format(self.want["upstream"] or place, repository)
        # A single name is library/NAME on Docker Hub, and goes by NAME where a mirror's name stands before it.
        short = repository[len("library/") :] if repository.startswith("library/") else repository
        self.target = "docker://{0}/{1}".format(self.want["mirror"], short)

    def skopeo(self, *words):
        """Run skopeo; the logins are in a file that only we can read."""
        return self.module.run_command(["skopeo", words[0], "--authfile", self.logins, *words[1:]])

    def digest_of(self, reference, tls):
        """The digest of a manifest, '' where there is none; and what skopeo said."""
        flag = "--tls-verify={0}".format("true" if tls else "false")
        rc, out, err = self.skopeo("inspect", "--raw", flag, reference)
        return ("" if rc else "sha256:" + hashlib.sha256(out.encode("utf-8", "surrogateescape")).hexdigest()), err

    def wanted(self):
        """The digest to copy."""
        if self.want["digest"]:
            return self.want["digest"]
        digest, said = self.digest_of("{0}:{1}".format(self.source, self.tag), self.want["upstream_tls"])
        if not digest:
            self.fail("{0}:{1} can't be looked up upstream".format(self.source, self.tag), said)
        return digest

    def copy(self, digest):
        """Copy it, with tries; returns how many it took."""
        words = [
            "copy", "--all", "--preserve-digests", "--dest-tls-verify=false",
            "--src-tls-verify={0}".format("true" if self.want["upstream_tls"] else "false"),
            "{0}@{1}".format(self.source, digest), "{0}:{1}".format(self.target, self.tag),
        ]  # fmt: skip
        for attempt in range(1, self.want["attempts"] + 1):
            rc, _out, err = self.skopeo(*words)
            if rc == 0:
                return attempt
            if attempt == self.want["attempts"] or pull.permanent(err):
                self.fail("{0}@{1} can't be copied (try {2})".format(self.source, digest, attempt), err)
            # Longer each time, and at random, so that not all come back at once.
            time.sleep(self.want["delay"] * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))

    def fail(self, what, said):
        """End, in words."""
        last = (said.strip().splitlines() or ["no message"])[-1]
        self.module.fail_json(msg="{0}: {1}".format(what, last[-600:]))


def auths(logins):
    """The content of an authentication file."""
    return {
        "auths": {
            place: {"auth": base64.b64encode("{0}:{1}".format(user, password).encode()).decode()}
            for place, user, password in logins
            if user
        }
    }


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "digest": {"type": "str", "default": ""},
            "upstream": {"type": "str", "default": ""},
            "upstream_tls": {"type": "bool", "default": True},
            "upstream_username": {"type": "str", "default": ""},
            "upstream_password": {"type": "str", "default": "", "no_log": True},
            "mirror": {"type": "str", "default": "127.0.0.1:5000"},
            "mirror_username": {"type": "str", "default": ""},
            "mirror_password": {"type": "str", "default": "", "no_log": True},
            "attempts": {"type": "int", "default": 6},
            "delay": {"type": "int", "default": 10},
        },
        supports_check_mode=True,
    )
    module.get_bin_path("skopeo", required=True)
    want = module.params
    place = want["upstream"] or registry.parse(want["name"])[0]
    handle, logins = tempfile.mkstemp(dir=module.tmpdir)
    with os.fdopen(handle, "w") as stream:
        json.dump(
            auths(
                [
                    (place, want["upstream_username"], want["upstream_password"]),
                    (want["mirror"], want["mirror_username"], want["mirror_password"]),
                ]
            ),
            stream,
        )
    copy = Copy(module, logins)
    digest = copy.wanted()
    tagged = "{0}:{1}".format(copy.target, copy.tag)
    if copy.digest_of(tagged, False)[0] == digest:
        module.exit_json(changed=False, digest=digest)
    if module.check_mode:
        module.exit_json(changed=True, digest=digest)
    attempts = copy.copy(digest)
    found, said = copy.digest_of(tagged, False)
    if found != digest:
        copy.fail("{0} has {1} after the copy, wanted is {2}".format(tagged, found or "no manifest", digest), said)
    module.exit_json(changed=True, digest=digest, attempts=attempts)


if __name__ == "__main__":
    main()
