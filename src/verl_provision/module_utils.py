"""What hosts run, importable on the controller too: one registry client, one writer of files."""

import ansible.module_utils

from verl_provision.paths import ROOT

HERE = ROOT / "module_utils"
if str(HERE) not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(str(HERE))

from ansible.module_utils.verl_container import preflight, registry, web  # noqa: E402
from ansible.module_utils.verl_state import claim, files  # noqa: E402

__all__ = ["claim", "files", "preflight", "registry", "web"]
