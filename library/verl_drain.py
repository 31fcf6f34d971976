#!/usr/bin/python
"""Documentation of verl_drain; all of its work is the action plugin's, on the controller."""

DOCUMENTATION = r"""
module: verl_drain
short_description: Runs a site's own command before or after a step that disturbs a host
version_added: "0.1.0"
author: verl-provision authors (@verl-provision)
description:
  - Runs O(command) in a shell on the controller, in the process of Ansible itself, whatever the connection to the host
    is. Playbooks use it around a step that ends what runs on a host, so that a scheduler can take the host out before
    and back in after.
  - Fails where the command ends with another exit status than 0, or does not end within O(timeout); then it and all
    that it started is killed. The message has the end of what the command said, and the command to try by hand.
options:
  variable:
    description: The user's variable that the command is from, for the messages.
    type: str
    required: true
  command:
    description: What C(/bin/sh -c) runs.
    type: str
    required: true
  timeout:
    description: Seconds that it may take.
    type: int
    required: true
  about:
    description: What the command is told of the host, as environment variables.
    type: dict
    required: true
extends_documentation_fragment: [verl_attributes]
attributes:
  check_mode:
    support: full
    details: Nothing is run.
  diff_mode:
    support: none
"""

EXAMPLES = r"""
- name: Take the host out of the scheduler
  verl_drain:
    variable: verl_drain_before
    command: scontrol update nodename="$VERL_HOST" state=drain reason="$VERL_STEP"
    timeout: 600
    about:
      VERL_HOST: "{{ inventory_hostname }}"
      VERL_STEP: nvidia_container_toolkit
"""

RETURN = r"""
said:
  description: The end of what the command said, its errors included.
  type: str
  returned: success
"""
