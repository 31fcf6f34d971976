#!/usr/bin/python
"""Module verl_signing_key: a repository's key, put in place only when its fingerprint is the expected one."""

DOCUMENTATION = r"""
module: verl_signing_key
short_description: Puts a repository's signing key in place after comparing its fingerprint
version_added: "0.1.0"
author: verl-provision authors (@verl-provision)
description:
  - Downloads an OpenPGP key, computes its fingerprint (no gpg needed), compares it with O(fingerprint) and
    only then writes it to O(dest), armored where that ends in C(.asc) and binary elsewhere, as apt wants it.
  - A key with another fingerprint, or anything beside that one public key, is refused and the host stays as it was.
options:
  url:
    description: Where the key is; C(file://) works too.
    type: str
    required: true
  fingerprint:
    description: The primary key's fingerprint, 40 hexadecimal digits; spaces are allowed.
    type: str
    required: true
  dest:
    description: The keyring to write.
    type: path
    required: true
  timeout:
    description: Seconds for the download.
    type: int
    default: 30
  validate_certs:
    description: Whether the server's certificate is checked.
    type: bool
    default: true
extends_documentation_fragment: [verl_attributes, verl_proxy]
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
"""

EXAMPLES = r"""
- name: Trust NVIDIA's key
  verl_signing_key:
    url: https://nvidia.github.io/libnvidia-container/gpgkey
    fingerprint: C95B321B61E88C1809C4F759DDCAE044F796ECB0
    dest: /usr/share/keyrings/nvidia-container-toolkit-keyring.gpg
"""

RETURN = r"""
fingerprints:
  description: The fingerprints of the primary keys in the keyring.
  type: list
  elements: str
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import fetch_url
from ansible.module_utils.verl_access import proxy
from ansible.module_utils.verl_probes import openpgp
from ansible.module_utils.verl_state import files

LIMIT = 1 << 20  # bytes; a key cut off there is refused as no key


def in_place(path, wanted):
    """Return (fingerprints, whether the file holds the wanted key and nothing else)."""
    try:
        with open(path, "rb") as handle:
            data = handle.read()
        found = openpgp.fingerprints(data)
    except (OSError, openpgp.NotAKey):
        return [], False
    return found, found == [wanted] and (data[:1] == b"-") == path.endswith(".asc")


def download(module):
    """Return the key's bytes."""
    url = module.params["url"]
    if url.startswith("file://"):
        try:
            with open(url[7:], "rb") as handle:
                return handle.read(LIMIT)
        except OSError as error:
            module.fail_json(msg="The key {0} can't be read: {1}".format(url, error.strerror))
    response, info = fetch_url(module, url, timeout=module.params["timeout"])
    if info["status"] != 200:
        module.fail_json(
            msg="The key {0} can't be downloaded: {1}".format(url, info.get("msg") or info["status"]),
            fix="curl -fsSL {0} | head; set a mirror or a proxy where this host has no way to it".format(url),
        )
    return response.read(LIMIT)


def main():
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "fingerprint": {"type": "str", "required": True},
            "dest": {"type": "path", "required": True},
            "timeout": {"type": "int", "default": 30},
            "validate_certs": {"type": "bool", "default": True},
            "proxy": proxy.ARGUMENT,
        },
        supports_check_mode=True,
    )
    proxy.use(module)
    dest = module.params["dest"]
    wanted = openpgp.normal(module.params["fingerprint"])
    if len(wanted) not in (40, 64):
        module.fail_json(
            msg="{0!r} is no fingerprint: it has {1} hexadecimal digits, a whole one has 40.".format(
                module.params["fingerprint"], len(wanted)
            )
        )
    before, there = in_place(dest, wanted)
    if there:
        changed = module.set_mode_if_different(dest, "0644", False)
        module.exit_json(changed=changed, fingerprints=before)
    data = download(module)
    try:
        found = openpgp.fingerprints(data)
    except openpgp.NotAKey as error:
        module.fail_json(
            msg="{0} is not the key: {1}.".format(module.params["url"], error),
            fix="curl -fsSL {0} | head; a proxy or a login page may be in between".format(module.params["url"]),
        )
    if found != [wanted]:
        module.fail_json(
            msg="The key at {0} has fingerprint {1}, expected {2}. It was not put in place.".format(
                module.params["url"], ", ".join(found), wanted
            ),
            fix="find out from the key's owner which one is right before you change the expected fingerprint",
            fingerprints=found,
        )
    if not module.check_mode:
        binary = openpgp.dearmor(data)
        try:
            files.write(dest, openpgp.armor(binary) if dest.endswith(".asc") else binary)
        except OSError as error:
            module.fail_json(**files.unwritten(dest, error))
    module.exit_json(
        changed=True,
        fingerprints=found,
        diff={
            "before_header": dest,
            "after_header": dest,
            "before": "".join(text + "\n" for text in before),
            "after": wanted + "\n",
        },
    )


if __name__ == "__main__":
    main()
