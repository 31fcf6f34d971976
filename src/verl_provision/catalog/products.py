"""Find a GPU in the catalog by the name that nvidia-smi prints, that a person types, or by its PCI device id."""

import re
from typing import Any


def find(catalog: dict[str, Any], name: str | None = None, pci_id: str | None = None) -> dict[str, Any] | None:
    """The product, or None. Among names the alias with the most words wins: `A100-PCIE-40GB` is the A100 PCIe."""
    products = catalog["gpus"]["products"]
    if pci_id:
        wanted = pci_id.lower().removeprefix("0x")
        for product in products:
            if wanted in product["pci_ids"]:
                return product
    text = f" {words(name or '')} "
    best, size = None, (0, 0)
    for product in products:
        for alias in product["aliases"]:
            if f" {words(alias)} " in text and (len(alias.split()), len(alias)) > size:
                best, size = product, (len(alias.split()), len(alias))
    if best is None:  # typed without blanks: rtx4090
        tight = words(name or "").replace(" ", "")
        best = next(
            (product for product in products if tight in [alias.replace(" ", "") for alias in product["aliases"]]), None
        )
    return best


def words(name: str) -> str:
    """`NVIDIA A100-SXM4-80GB` -> `nvidia a100 sxm4 80gb`."""
    return " ".join(re.findall(r"[a-z0-9]+", name.lower()))
