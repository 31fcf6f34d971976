#!/usr/bin/python
"""Module verl_secret_file: a secret in a file that only its owner may read."""

DOCUMENTATION = r"""
module: verl_secret_file
short_description: Keeps a secret in a file that only its owner may read
version_added: "0.1.0"
author: verl-provision authors (@verl-provision)
description:
  - Writes the file with mode 0600 in a folder with mode 0700, in one step.
  - The stamp gets a keyed hash of the secret, with a key of its own each time, so that another secret is noticed.
  - The value itself is in no output.
options:
  path:
    description: The file.
    type: path
    required: true
  value:
    description: The secret.
    type: str
    required: true
  stamp:
    description: The step's stamp.
    type: path
    required: true
  key:
    description: The key of the plan's step. Without it no stamp is written.
    type: str
    default: ''
extends_documentation_fragment: [verl_attributes]
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
"""

EXAMPLES = r"""
- name: Keep a token
  verl_secret_file:
    path: ~/verl/secrets/huggingface_token
    value: "{{ lookup('ansible.builtin.env', 'HF_TOKEN') }}"
    stamp: ~/.local/state/verl-provision/huggingface_token.json
  no_log: true
"""

RETURN = r"""
path:
  description: The file.
  type: str
  returned: always
"""

import binascii
import hashlib
import hmac
import os
import stat

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.verl_state import files


def mac(salt, value):
    """Return the keyed hash of a secret."""
    return hmac.new(salt.encode(), value.encode(), hashlib.sha256).hexdigest()


def read(path):
    """Return (content, whether only its owner can get at it)."""
    try:
        with open(path, encoding="utf-8") as handle:
            content = handle.read()
        modes = [stat.S_IMODE(os.stat(place).st_mode) for place in (path, os.path.dirname(path))]
    except (OSError, UnicodeDecodeError):
        return None, False
    return content, modes == [0o600, 0o700]


def write(path, value):
    """Write the file so that nobody else can read it at any moment."""
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    os.chmod(folder, 0o700)
    files.write(path, value, mode=0o600)


def main():
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "value": {"type": "str", "required": True, "no_log": True},
            "stamp": {"type": "path", "required": True},
            "key": {"type": "str", "default": "", "no_log": False},
        },
        supports_check_mode=True,
    )
    path, value, key = (module.params[name] for name in ("path", "value", "key"))
    changed = read(path) != (value, True)
    noted = files.read_json(module.params["stamp"]) or {}
    known = noted.get("key") == key and noted.get("mac") == mac(str(noted.get("salt")), value)
    try:
        if changed and not module.check_mode:
            write(path, value)
        if key and not known and not module.check_mode:
            salt = binascii.hexlify(os.urandom(16)).decode()
            files.write_json(module.params["stamp"], {"key": key, "salt": salt, "mac": mac(salt, value)})
    except OSError as error:
        module.fail_json(**files.unwritten(error.filename or path, error))
    module.exit_json(changed=changed or bool(key and not known), path=path)


if __name__ == "__main__":
    main()
