"""Documentation fragment verl_proxy: the option `proxy` of every module that fetches something."""


class ModuleDocFragment:
    """What module_utils/verl_access/proxy.py takes."""

    DOCUMENTATION = r"""
options:
  proxy:
    description: The proxy of all downloads.
    type: dict
    default: {}
    suboptions:
      url: {type: str, default: "", description: "Its address, without a login."}
      no_proxy: {type: list, elements: str, default: [], description: What is reached without it.}
      username: {type: str, default: "", description: Its user.}
      password: {type: str, default: "", description: Its password.}
"""
