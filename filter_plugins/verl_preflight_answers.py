"""Filter verl_preflight_answers: give what preflight found back to the plan."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # the package lies beside the filters

from verl_provision.plain import to_plain
from verl_provision.plan import preflight

DOCUMENTATION = r"""
name: verl_preflight_answers
short_description: Gives the answers of preflight back to the plan
version_added: "0.1.0"
author: verl-provision authors (@verl-provision)
description:
  - Takes the first batch of questions off the plan's queue, fills in the digests that tags were resolved to, and
    refuses the hosts whose plan needs something that isn't there. What a host says refuses that host only.
options:
  _input:
    description: What P(verl_plan#filter) returned.
    type: dict
    required: true
  result:
    description: The registered result of M(verl_preflight).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: A plan that fetches nothing comes back as it was
  ansible.builtin.debug:
    msg: "{{ {'hosts': {}} | verl_preflight_answers({'answers': []}) }}"
"""

RETURN = r"""
_value:
  description: The plan of the fleet.
  type: dict
"""


def verl_preflight_answers(plan, result):
    """Return the plan with the answers in it; see DOCUMENTATION."""
    return preflight.apply_answers(to_plain(plan), to_plain(result))


class FilterModule:
    """Ansible's entry point."""

    def filters(self):
        """Return this file's filter."""
        return {"verl_preflight_answers": verl_preflight_answers}
