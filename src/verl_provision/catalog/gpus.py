"""What the catalog knows of a GPU by its name, and of a driver by its branch."""

from dataclasses import dataclass
from typing import Any

from verl_provision import versions
from verl_provision.catalog.products import Names, index
from verl_provision.decide.junk import mapping, mappings, text, texts


@dataclass(frozen=True, slots=True)
class Product:
    """A GPU of the catalog."""

    name: str
    capability: str | None
    forward_compat: bool = False
    open_modules: str = "optional"
    memory_mb: int | None = None
    cpu: str | None = None
    nvswitch: bool = False
    nvlsm: bool = False  # its board's switches need NVIDIA's subnet manager
    pci_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Architecture:
    """What an architecture's GPUs share."""

    name: str
    last_cuda_major: str | None
    last_driver_branch: str | None
    open_modules: str
    first_driver_branch: str | None = None


def products(catalog: dict[str, Any]) -> Names[Product]:
    """Aliases, as words, with the product each means."""
    found = []
    for entry in mappings(catalog.get("products")):
        name = text(entry.get("name"))
        if not name:
            continue
        sizes = (
            [size for size in entry.get("memory_gb") or [] if isinstance(size, int)]
            if isinstance(entry.get("memory_gb"), list)
            else []
        )
        product = Product(
            name=name,
            capability=text(entry.get("compute_capability")),
            forward_compat=entry.get("forward_compat") is True,
            open_modules=text(entry.get("open_kernel_modules")) or "optional",
            memory_mb=max(sizes) * 1000 if sizes else None,
            cpu=text(entry.get("cpu")),
            nvswitch=entry.get("nvswitch") == "hgx",
            nvlsm="nvlsm" in texts(entry.get("extra_services")),
            pci_ids=texts(entry.get("pci_ids")),
        )
        found.append(((name, *texts(entry.get("aliases"))), product))
    return index(found)


def architectures(catalog: dict[str, Any], branches: dict[str, Any]) -> dict[str, Architecture]:
    """Compute capability -> its architecture, with the first driver branch that drives such a GPU.

    Where the catalog names none, it's the branch that came with the first toolkit that has code for it.
    """
    capabilities = mapping(catalog.get("compute_capabilities"))
    found = {}
    for name, about in mapping(catalog.get("architectures")).items():
        about = mapping(about)
        for capability in texts(about.get("compute_capabilities")):
            first = mapping(capabilities.get(capability))
            toolkit = text(first.get("first_cuda")) if first.get("confidence") == "high" else None
            found[capability] = Architecture(
                str(name),
                text(about.get("last_cuda_major")),
                text(about.get("last_driver_branch")),
                text(about.get("open_kernel_modules")) or "optional",
                text(about.get("first_driver_branch")) or (branch_for(toolkit, branches) if toolkit else None),
            )
    return found


def driver_cuda(driver: str | None, branches: dict[str, Any]) -> tuple[str | None, bool]:
    """The CUDA version that a driver's branch implements, and whether the catalog knows that branch.

    An unknown branch has what the nearest lower known branch has; None below all of them.
    """
    if driver is None or not versions.numbers(driver):
        return None, False
    branch = versions.numbers(driver)[0]
    exact = text(branches.get(str(branch)))
    if exact:
        return exact, True
    lower = [
        (versions.numbers(name)[0], cuda)
        for name, cuda in branches.items()
        if isinstance(name, str) and versions.numbers(name) and text(cuda) and versions.numbers(name)[0] < branch
    ]
    return (max(lower)[1], False) if lower else (None, False)


def branch_for(cuda: str, branches: dict[str, Any]) -> str | None:
    """The lowest driver branch that implements `cuda` natively."""
    wanted = versions.key_or_zero(versions.minor(cuda))
    able = [
        versions.numbers(name)[0]
        for name, carried in branches.items()
        if isinstance(name, str)
        and versions.numbers(name)
        and text(carried)
        and versions.key_or_zero(versions.minor(carried)) >= wanted
    ]
    return str(min(able)) if able else None


def native_branch(cuda: str, catalog: Any) -> str | None:
    """The lowest driver branch that implements `cuda` natively, from the catalog as read."""
    if cuda in catalog.native_branch:
        return catalog.native_branch[cuda]
    return branch_for(cuda, catalog.branch_cuda)
