#!/usr/bin/python
# Copyright the verl-provision authors
# SPDX-License-Identifier: Apache-2.0
"""Look at a host once and say what decides about its verl environment."""

from __future__ import annotations

DOCUMENTATION = r"""
module: verl_host_facts
short_description: Read what decides about a verl environment on a host
version_added: "0.1.0"
description:
  - Reads operating system, rights, GPUs and driver, container engines, the NVIDIA Container Toolkit, images, our
    container, Python environments and stamps in one round trip, as the login user.
  - Needs nothing but Python's standard library, and never changes the host.
  - Every external command has a time limit. What cannot be read is null in the result, with an entry in C(errors); the
    module does not fail on an odd host.
  - The result is C(facts), described by C(catalog/schema/facts.json). It sets no Ansible facts.
options:
  probe_root:
    description:
      - Where the probes of C(/sys) and C(/proc) look; for tests and simulated hosts. Nothing else moves.
    type: path
    default: /
  state_dir:
    description: The directory of the stamps.
    type: path
    default: ~/.local/state/verl-provision
  prefix:
    description: The directory of our source environment (C(env)) and of our checkout of verl (C(src)).
    type: path
    default: ~/verl
  container_name:
    description: The name of our container.
    type: str
    default: verl
  command_timeout:
    description: Seconds that one external command may take.
    type: float
    default: 10
  gather:
    description:
      - The groups of facts to read. A group may read what it needs of another without returning it.
      - V(hardware) is cpu, memory, shm; V(nvidia) is pci, nvidia; V(engines) is engines, images, container;
        V(environment) is managers, source_environment, verl_checkout; V(stamps) is stamps, verification.
    type: list
    elements: str
    choices:
      - all
      - os
      - python
      - user
      - hardware
      - disk
      - nvidia
      - accelerators
      - engines
      - toolkit
      - environment
      - stamps
      - network
      - ray
    default:
      - all
notes:
  - Runs C(sudo -n) to find out whether the login user has root's rights without a password, and to ask Docker and read
    its C(daemon.json) where the login user cannot. Nothing ever asks for a password.
  - C(nvidia-smi) is run only where the kernel module is loaded, since as root it would load it.
author: verl-provision authors (@verl-provision)
"""

EXAMPLES = r"""
- name: Look at the host
  verl_host_facts:
  register: __host

- name: Look at the driver only, of a recorded host
  verl_host_facts:
    gather:
      - nvidia
    probe_root: /opt/recorded/h100x8
    command_timeout: 5
  register: __driver
"""

RETURN = r"""
facts:
  description:
    - The facts, as C(catalog/schema/facts.json) describes them.
    - With a shorter O(gather) only the keys of the asked groups, C(schema_version), C(errors) and C(seconds).
  returned: always
  type: dict
  sample:
    schema_version: 1
    arch: x86_64
    nvidia:
      state: mismatch
      reason: >-
        the loaded kernel module is 550.144.03, but the driver's libraries are 550.163.01 (nvidia-smi exit status 18:
        Driver/library version mismatch)
      fix: sudo reboot
    errors: []
    seconds: 0.4
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.verl_probes.look import ARGUMENTS, look


def main():
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    module.exit_json(changed=False, facts=look(module.params))


if __name__ == "__main__":
    main()
