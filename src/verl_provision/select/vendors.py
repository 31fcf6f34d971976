"""What is documented for hosts that this project recognises and doesn't set up (catalog/vendors.yml)."""

from typing import Any

from verl_provision.catalog import products
from verl_provision.catalog.model import Catalog
from verl_provision.decide.junk import mapping, mappings, text, texts


def images(vendor: str, product: str, catalog: Catalog) -> list[dict[str, Any]]:
    """The vendor's documented images for a product; all of them where the product isn't known."""
    about = mapping(mapping(catalog.vendors.get("vendors")).get(vendor))
    known = None
    for entry in mappings(about.get("products")):
        if any(products.is_a(product, alias) for alias in texts(entry.get("aliases"))):
            known = text(entry.get("name"))
            break
    return [image for image in mappings(about.get("images")) if known is None or known in texts(image.get("products"))]


def fix(vendor: str, product: str, catalog: Catalog) -> str:
    """The vendor's documented image and command for a product."""
    about = mapping(mapping(catalog.vendors.get("vendors")).get(vendor))
    found = images(vendor, product, catalog)
    if not found:
        return f"Use the images that {text(about.get('name')) or vendor} publishes for verl."
    command, where = text(about.get("command")), text(about.get("documentation"))
    shown = [image for image in found if command and str(image.get("ref")) in command.split()]
    said = f"Use the vendor's image {(shown or found)[0].get('ref')}"
    if command:
        said += f": {command.strip()}"
    return said + (f" (see {where})" if where else "")


def aarch64_fix(catalog: Catalog) -> str:
    """How one gets an image on aarch64."""
    about = mapping(catalog.vendors.get("aarch64"))
    command = text(about.get("command")) or "docker build -f docker/Dockerfile.stable.vllm -t verl:vllm-arm64 ."
    there = [image.id for image in catalog.images if "aarch64" in image.arch]
    known = f"For aarch64 the catalog has {', '.join(there)}" if there else "The catalog has no image for aarch64"
    return (
        f"{known}. Another can be built on this host in a checkout of verl ({command}) and described in a file that "
        "verl_catalog_extra names."
    )
