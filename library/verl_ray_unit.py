#!/usr/bin/python
"""Module verl_ray_unit: keeps Ray running from a source environment, by the login user's own systemd."""

DOCUMENTATION = r"""
module: verl_ray_unit
short_description: Keeps Ray running from a source environment
version_added: "0.1.0"
author: verl-provision authors (@verl-provision)
description:
  - Writes a unit of the connecting user's own systemd, starts it and has it started at boot. Needs no root; the user
    has to linger (C(loginctl enable-linger)), or all of it ends with the session.
  - A unit that says something else is written anew and restarted, but not while a Ray job or actor runs, unless
    O(disruption_allowed).
options:
  name:
    description: The unit's name.
    type: str
    default: verl-ray
  prefix:
    description: The directory that holds the source environment (C(env)).
    type: path
    required: true
  workdir:
    description: Where it begins. Jobs begin there, too.
    type: path
    required: true
  command:
    description: The command; its first word is looked for in the environment.
    type: list
    elements: str
    required: true
  environment:
    description: Environment variables, beside those of the source environment. No secrets.
    type: dict
    default: {}
  disruption_allowed:
    description: Whether a unit under which jobs run may be restarted.
    type: bool
    default: false
extends_documentation_fragment: [verl_attributes]
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
"""

EXAMPLES = r"""
- name: Keep a worker running
  verl_ray_unit:
    prefix: ~/verl
    workdir: ~/verl
    command: [ray, start, --address=192.0.2.11:6379, --block]
    environment: {NCCL_SOCKET_IFNAME: eth0}
"""

RETURN = r"""
actions:
  description: What was done.
  type: list
  returned: always
  sample: [written, enabled, started]
deferred:
  description: What waits for the end of a job, with C(because) and C(fix); null where nothing does.
  type: dict
  returned: always
"""

import getpass
import os

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.verl_container import cli, idle, unit


def surroundings(environment, given):
    """Return the variables of a source environment, with those that were given."""
    found = {"VIRTUAL_ENV": environment, "PATH": os.path.join(environment, "bin") + ":" + unit.PATH}
    if os.path.isdir(os.path.join(environment, "conda-meta")):
        found["CONDA_PREFIX"] = environment
    found["PYTHONNOUSERSITE"] = "1"
    found.update({str(name): str(value) for name, value in given.items()})
    return found


def keep(module, ours):
    """Bring the unit to what is wanted; returns (actions, deferred, text before, text after)."""
    want = module.params
    environment = os.path.join(want["prefix"], "env")
    program = os.path.join(environment, "bin", want["command"][0])
    text = unit.content(
        "Ray, for verl",
        want["workdir"],
        surroundings(environment, want["environment"]),
        [program] + want["command"][1:],
    )
    before = ours.text()
    active = before is not None and ours.active()
    as_written = before == text and not ours.begun()
    work = idle.ray_work() if before is not None and not as_written and active else []
    if work and not want["disruption_allowed"]:
        deferred = {
            "step": "ray_cluster",
            "action": "restart Ray",
            "disruption": "ray_restart",
            "because": "{0} runs under it, and its unit is to say something else".format(", ".join(work[:3])),
            "fix": "run again when the job has ended, or set verl_allow_disruption=true",
        }
        return [], deferred, before, before
    actions = [] if as_written else ["written"]
    actions += [] if ours.enabled() else ["enabled"]
    actions += (["restarted"] if actions[:1] == ["written"] else []) if active else ["started"]
    if module.check_mode or not actions:
        return actions, None, before, text
    if not os.path.exists(program):
        raise cli.CliError(
            "there is no {0}: the source environment has no Ray".format(program),
            fix="run the site playbook again: it builds the environment",
        )
    ours.wait_for_manager(getpass.getuser())
    if "written" in actions:
        ours.write(text)
        ours.must("daemon-reload")
    if "enabled" in actions:
        ours.must("enable", ours.name)
    if actions[-1] in ("started", "restarted"):
        ours.must("restart" if active else "start", ours.name, timeout=120)
    ours.applied()
    return actions, None, before, text


def main():
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "default": "verl-ray"},
            "prefix": {"type": "path", "required": True},
            "workdir": {"type": "path", "required": True},
            "command": {"type": "list", "elements": "str", "required": True},
            "environment": {"type": "dict", "default": {}},
            "disruption_allowed": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        actions, deferred, before, after = keep(module, unit.Unit(module.params["name"]))
    except (cli.CliError, OSError) as error:
        fix = getattr(error, "fix", None)
        module.fail_json(msg="{0} Next: {1}".format(error, fix) if fix else str(error), fix=fix)
    module.exit_json(
        changed=bool(actions),
        actions=actions,
        deferred=deferred,
        diff={"before": before or "", "after": after or ""},
    )


if __name__ == "__main__":
    main()
