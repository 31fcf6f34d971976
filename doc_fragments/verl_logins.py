"""Documentation fragment verl_logins: the option `registry_logins` of every module that asks a registry."""


class ModuleDocFragment:
    """What module_utils/verl_access/logins.py takes."""

    DOCUMENTATION = r"""
options:
  registry_logins:
    description: Logins by registry, as C(dict2items) makes a list of a mapping. Nothing of one stays on the host.
    type: list
    elements: dict
    default: []
    suboptions:
      key: {type: str, required: true, description: "The registry, as C(registry.example.org:5000)."}
      value:
        description: The login.
        type: dict
        required: true
        suboptions:
          username: {type: str, required: true, description: Its user.}
          password: {type: str, required: true, description: Its password.}
          realm:
            description: Hosts of token services outside the registry's domain that may get it, with commas between.
            type: str
            default: ''
"""
