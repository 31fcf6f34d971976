"""Action plugin of verl_stamp. Modules that, as it, only need their answer read with care have links to it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # the package lies beside the plugins

from verl_provision.actions import OurAction


class ActionModule(OurAction):
    """Runs the module and names what it answers."""
