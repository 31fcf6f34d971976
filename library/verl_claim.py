#!/usr/bin/python
"""Module verl_claim: one run at a time on a host."""

DOCUMENTATION = r"""
module: verl_claim
short_description: Claims a host for one run
version_added: "0.2.0"
author: verl-provision authors (@verl-provision)
description:
  - Writes O(path) with the run's id, and fails where another run has the host. A run that was killed is taken over from
    by the controller that it ran on, and on the host where it ran there; any other claim counts for six hours.
  - In pull mode it keeps pull runs away too, by a file in O(pull), and fails where one is at work.
options:
  path:
    description: The claim's file.
    type: path
    required: true
  run:
    description: The run's id.
    type: str
    required: true
  state:
    description: Whether the host is claimed, or the run's own claim taken away.
    type: str
    choices: [present, absent]
    default: present
  pull:
    description: The folder in which pull mode looks for runs from outside. Empty where there is no pull mode.
    type: str
    default: ''
  controller:
    description: What the controller says of itself; its action plugin fills it in.
    type: dict
    default: {}
  over:
    description: The run whose claim may be taken over; the action plugin fills it in where that run has ended.
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
- name: Keep other runs away
  verl_claim:
    path: ~/.local/state/verl-provision/run.claim
    run: 20261130T221507Z-3f9a12
"""

RETURN = r"""
holder:
  description: The run that has the host, and what its controller said of itself.
  type: dict
  returned: failure
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.verl_state import claim, files


def main():
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "run": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "pull": {"type": "str", "default": ""},
            "controller": {"type": "dict", "default": {}},
            "over": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    path, run, pull = (module.params[name] for name in ("path", "run", "pull"))
    if module.check_mode:
        module.exit_json(changed=False)
    try:
        if module.params["state"] == "absent":
            ours = claim.leave(path, run)
            if ours and pull:
                files.remove(os.path.join(pull, "push"))
            module.exit_json(changed=ours)
        holder, new = claim.take(path, run, module.params["controller"], module.params["over"])
        if holder:
            module.fail_json(
                msg="Another run is at work on this host since {minutes} min: {run} of {who}. Nothing was done.".format(
                    **dict({"who": "an unknown controller"}, **holder)
                ),
                fix="Wait for its end, then run again. If there is no such run any more: rm {0}".format(path),
                holder=holder,
            )
        busy = claim.pulling(pull, run) if pull else ""
        if busy:
            claim.leave(path, run)
            module.fail_json(
                msg="A pull run is at work on this host ({0}), and nothing was done.".format(busy),
                fix="Wait until it is done (systemctl status verl-provision-pull), then run again.",
            )
    except OSError as error:
        module.fail_json(**files.unwritten(error.filename or path, error))
    module.exit_json(changed=new)


if __name__ == "__main__":
    main()
