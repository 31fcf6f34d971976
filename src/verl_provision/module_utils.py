"""What hosts run, importable on the controller too: one registry client, one writer of files."""

from importlib import import_module

import ansible.module_utils

from verl_provision.paths import ROOT

HERE = ROOT / "module_utils"
if HERE.is_dir():
    PLACE = "ansible.module_utils"
    if str(HERE) not in ansible.module_utils.__path__:
        ansible.module_utils.__path__.append(str(HERE))
else:  # the collection, in which Ansible itself finds them
    PLACE = "ansible_collections.verl.provision.plugins.module_utils"

preflight, registry, web = (
    import_module(f"{PLACE}.verl_container.{name}") for name in ("preflight", "registry", "web")
)
claim, files = (import_module(f"{PLACE}.verl_state.{name}") for name in ("claim", "files"))

__all__ = ["claim", "files", "preflight", "registry", "web"]
