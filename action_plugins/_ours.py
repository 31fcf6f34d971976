"""Action plugin of each module that needs nothing but its answer read with care: the others here are links to it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # the package lies beside the plugins

from verl_provision.actions import OurAction as ActionModule  # noqa: F401  Ansible looks for this name
