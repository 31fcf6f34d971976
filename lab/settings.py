"""The names, places and versions that the lab's parts agree on."""

import os
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
FILES = Path(__file__).resolve().parent / "files"
CACHE = Path(os.environ.get("VERL_LAB_CACHE", "~/.cache/verl-provision/lab")).expanduser()
PIP_CACHE = CACHE / "pip"  # the GPU-less host's pip cache, kept between labs
INVENTORY = CHECKOUT / "inventories/lab"
OVERLAY = CHECKOUT / "build/lab/catalog.yml"  # not in the inventory: Ansible would read it as one

NETWORK = "verl-lab"
LABEL = "verl-provision.lab"  # on every container, volume and image of the lab
SUBNETS = (
    [os.environ["VERL_LAB_SUBNET"]]
    if "VERL_LAB_SUBNET" in os.environ
    else [f"172.{second}.77.0/24" for second in (30, 29, 28, 27)]
)
REGISTRY_PORT = 5000

GO_MINIMUM = (1, 25)
TOOLKIT_VERSIONS = ("1.19.1", "1.20.0")  # oldest first; the newest is what apt offers
TORCH = "2.11.0"
CUDA_RUNTIME = "13.0.96"
VERL_RELEASES = ("0.4.1", "0.5.0", "0.6.0", "0.6.1", "0.7.1", "0.8.0", "0.9.0", "0.9.1")
