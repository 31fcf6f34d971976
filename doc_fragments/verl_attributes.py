"""Documentation fragment verl_attributes: what check mode and diff mode mean, for every module of ours."""


class ModuleDocFragment:
    """The descriptions; each module says how far it supports them."""

    DOCUMENTATION = r"""
attributes:
  check_mode:
    description: Says what would change, and changes nothing.
  diff_mode:
    description: Shows what changes or would change, before and after.
"""
