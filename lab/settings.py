"""The names, places and versions that the lab's parts agree on."""

import os
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
FILES = Path(__file__).resolve().parent / "files"
CACHE = Path(os.environ.get("VERL_LAB_CACHE", "~/.cache/verl-provision/lab")).expanduser()
PIP_CACHE = CACHE / "pip"  # the GPU-less host's pip cache, kept between labs
INVENTORY = CHECKOUT / "inventories/lab"
OVERLAY = CHECKOUT / "build/lab/catalog.yml"  # not in the inventory: Ansible would read it as one

NAME = os.environ.get("VERL_LAB_NAME", "")  # several labs can be up at once, each under a name of its own
NETWORK = f"verl-lab-{NAME}" if NAME else "verl-lab"
IMAGES = "verl-lab"  # root file systems are the same for every lab of this machine
LABEL = "verl-provision.lab"  # on every container, volume, network (its value says of which) and image of a lab
OURS = {LABEL: NETWORK}
KEY = f"{LABEL}.key"  # on a container: the hash of what it was made from
SUBNETS = (
    [os.environ["VERL_LAB_SUBNET"]]
    if "VERL_LAB_SUBNET" in os.environ
    else [f"172.{second}.77.0/24" for second in range(30, 18, -1)]
)
REGISTRY_PORT = 5000

GO_MINIMUM = (1, 25)
TOOLKIT_VERSIONS = ("1.19.1", "1.20.0")  # oldest first; the newest is what apt offers
TORCH = "2.11.0"
CUDA_RUNTIME = "13.0.96"
VERL_RELEASES = ("0.4.1", "0.5.0", "0.6.0", "0.6.1", "0.7.1", "0.8.0", "0.9.0", "0.9.1")
