#!/usr/bin/python
"""Module verl_stamp: notes on the host that a step is done."""

DOCUMENTATION = r"""
module: verl_stamp
short_description: Writes the small file that says a step is done
version_added: "0.1.0"
author: verl-provision authors (@verl-provision)
description:
  - Writes a small JSON object with O(key) to O(path) in one step, so that a killed run leaves the old stamp or the new
    one.
  - Does nothing where O(key) is empty, as it is when a role is used alone.
options:
  path:
    description: The stamp's file; a leading C(~) is the connecting user's home.
    type: path
    required: true
  key:
    description: What the plan compares.
    type: str
    default: ''
  extra:
    description: More to keep beside the key.
    type: dict
    default: {}
extends_documentation_fragment: [verl_attributes]
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
"""

EXAMPLES = r"""
- name: Note that the step is done
  verl_stamp:
    path: ~/.local/state/verl-provision/docker_engine.json
    key: "{{ docker_engine_key }}"
"""

RETURN = r"""
stamp:
  description: The stamp's content.
  type: dict
  returned: always
home:
  description: The home of the user whose stamp it is.
  type: str
  returned: always
"""

import json

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.validation import check_type_path
from ansible.module_utils.verl_state import files


def main():
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "key": {"type": "str", "default": "", "no_log": False},
            "extra": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    path = module.params["path"]
    home = check_type_path("~")
    before = files.read_json(path) or {}
    if not module.params["key"]:
        module.exit_json(changed=False, stamp=before, home=home)
    wanted = dict(module.params["extra"], key=module.params["key"])
    changed = before != wanted
    try:
        if changed and not module.check_mode:
            files.write_json(path, wanted)
    except OSError as error:
        module.fail_json(**files.unwritten(path, error))
    module.exit_json(
        changed=changed,
        stamp=wanted,
        home=home,
        diff={
            "before_header": path,
            "after_header": path,
            "before": json.dumps(before, sort_keys=True) + "\n" if before else "",
            "after": json.dumps(wanted, sort_keys=True) + "\n",
        },
    )


if __name__ == "__main__":
    main()
