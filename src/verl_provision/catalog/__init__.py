"""The world as data: images, releases, CUDA and drivers, GPUs, other vendors (the files in catalog/)."""

from verl_provision.catalog.errors import CatalogError
from verl_provision.catalog.load import load
from verl_provision.catalog.products import find

__all__ = ["CatalogError", "find", "load"]
