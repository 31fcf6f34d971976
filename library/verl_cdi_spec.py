#!/usr/bin/python
"""Module verl_cdi_spec: the CDI specification of this host's GPUs, as nvidia-ctk writes it."""

DOCUMENTATION = r"""
module: verl_cdi_spec
short_description: Keeps the CDI specification of the GPUs up to date
version_added: "0.1.0"
author: verl-provision authors (@verl-provision)
description:
  - Lets C(nvidia-ctk cdi generate) write a specification beside O(path), compares, and puts it in place
    where it differs. One
    that names libraries of a driver that's gone is replaced that way.
  - Takes over the settings of C(/etc/nvidia-container-toolkit/nvidia-cdi-refresh.env), so that it agrees
    with the toolkit's own
    refresh service.
options:
  path:
    description: The specification.
    type: path
    default: /var/run/cdi/nvidia.yaml
  env_file:
    description: The refresh service's settings.
    type: path
    default: /etc/nvidia-container-toolkit/nvidia-cdi-refresh.env
  timeout:
    description: Seconds for C(nvidia-ctk).
    type: int
    default: 120
extends_documentation_fragment: [verl_attributes]
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
"""

EXAMPLES = r"""
- name: Describe the GPUs for CDI
  verl_cdi_spec:
"""

RETURN = r"""
path:
  description: The specification.
  type: str
  returned: success
"""

import os
import shutil
import tempfile

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.verl_container import cli
from ansible.module_utils.verl_state import files


def settings(path):
    """Return the KEY=VALUE lines of an environment file."""
    found = {}
    try:
        with open(path, encoding="utf-8") as handle:
            for line in handle:
                key, equals, value = line.strip().partition("=")
                if equals and not key.startswith("#"):
                    found[key.strip()] = value.strip().strip("\"'")
    except OSError:
        pass
    return found


def read(path):
    """Return a file's text, or an empty one."""
    try:
        with open(path, encoding="utf-8") as handle:
            return handle.read()
    except OSError:
        return ""


def main():
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "default": "/var/run/cdi/nvidia.yaml"},
            "env_file": {"type": "path", "default": "/etc/nvidia-container-toolkit/nvidia-cdi-refresh.env"},
            "timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    env = settings(module.params["env_file"])
    path = env.pop("NVIDIA_CTK_CDI_OUTPUT_FILE_PATH", "") or module.params["path"]
    if not cli.which("nvidia-ctk"):
        if module.check_mode:
            module.exit_json(changed=True, path=path)
        module.fail_json(msg="nvidia-ctk is not installed.", fix="install nvidia-container-toolkit first")
    folder = tempfile.mkdtemp(dir=module.tmpdir)
    fresh = os.path.join(folder, "nvidia.yaml")
    argv = ["nvidia-ctk", "cdi", "generate", "--output=" + fresh]
    rc, out, err = cli.run(argv, timeout=module.params["timeout"], env=env)
    if rc != 0 or not os.path.exists(fresh):
        module.fail_json(
            msg="`nvidia-ctk cdi generate` failed (exit {0}): {1}".format(rc, (err or out).strip()[-800:]),
            fix="nvidia-smi -L; then nvidia-ctk --debug cdi generate",
        )
    before, after = read(path), read(fresh)
    changed = before != after
    if changed and not module.check_mode:
        try:
            files.write(path, after)
        except OSError as error:
            module.fail_json(**files.unwritten(path, error))
    shutil.rmtree(folder, ignore_errors=True)
    note = "{0} lines\n"
    module.exit_json(
        changed=changed,
        path=path,
        diff={
            "before_header": path,
            "after_header": path,
            "before": note.format(len(before.splitlines())) if before and changed else "",
            "after": note.format(len(after.splitlines())) if changed else "",
        },
    )


if __name__ == "__main__":
    main()
