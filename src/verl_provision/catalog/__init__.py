"""The world as data: images, releases, CUDA and drivers, GPUs, other vendors (the files in catalog/)."""

from verl_provision.catalog.errors import CatalogError
from verl_provision.catalog.load import load
from verl_provision.catalog.products import gpu

__all__ = ["CatalogError", "gpu", "load"]
