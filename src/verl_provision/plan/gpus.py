"""Which NVIDIA GPUs of a host are used: those that `verl_gpus` names, else all but cards for a monitor."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import compress
from operator import not_

from verl_provision import versions
from verl_provision.catalog.model import Catalog
from verl_provision.catalog.products import find, words
from verl_provision.facts import NVIDIA, Accelerator, Host

ALL = "all"
NUMBERED = (
    "the CDI specification names GPUs by number only, and some of this host's are chosen by UUID (verl_gpus): sudo "
    "nvidia-ctk cdi generate --device-name-strategy=uuid --device-name-strategy=index --output=/etc/cdi/nvidia.yaml"
)


def choose(host: Host, asked: Sequence[str], catalog: Catalog) -> Host:
    """The host with the GPUs that are used, and what became of the others."""
    complete = all(number is not None and uuid for number, uuid in host.gpu_places)
    if not host.gpus or tuple(asked) == (ALL,) or not (asked or complete):
        return host
    if asked:
        # Without UUIDs none can be asked for alone.
        uuids = [place[1] if complete else None for place in host.gpu_places]
        named = [_called(gpu, uuid, catalog) for gpu, uuid in zip(host.gpus, uuids, strict=True)]
        unmatched = tuple(name for name in asked if not any(is_it(name) for is_it in named))
        if unmatched:
            return replace(host, gpus_unmatched=unmatched)
        kept = [any(map(is_it, asked)) for is_it in named]
    elif len({gpu.model for gpu in host.gpus}) == 1:
        return host
    else:
        kept = [not _for_a_monitor(gpu, host.gpus, catalog) for gpu in host.gpus]
        host = replace(host, gpus_aside=tuple(compress((gpu.model for gpu in host.gpus), map(not_, kept))))
    return host if all(kept) else _with(host, kept)


def _with(host: Host, kept: list[bool]) -> Host:
    others = (other for other in host.accelerators if other.vendor != NVIDIA)
    used = tuple((number, uuid) for number, uuid in compress(host.gpu_places, kept) if number is not None and uuid)
    host = replace(host, accelerators=(*compress(host.gpus, kept), *others), gpus_used=used)
    if host.cdi_uuids:
        return host
    return replace(host, docker=replace(host.docker, cdi_ready=False), podman_lacks=host.podman_lacks or NUMBERED)


def visible(host: Host) -> dict[str, str]:
    """What has CUDA see those GPUs only, where no engine does. By number: engines of verl read no UUIDs there."""
    numbers = ",".join(str(number) for number, dummy in host.gpus_used)
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": numbers} if numbers else {}


def _called(gpu: Accelerator, uuid: str | None, catalog: Catalog) -> Callable[[str], bool]:
    """Whether a name is this GPU's: its UUID, its product, or as nvidia-smi prints it."""
    product = find(gpu.model, catalog.products)

    def is_it(name: str) -> bool:
        if uuid is None or name.lower() == uuid.lower():
            return uuid is not None
        wanted = find(name, catalog.products)
        return wanted is product if wanted else words(name) == words(gpu.model)

    return is_it


def _for_a_monitor(gpu: Accelerator, gpus: tuple[Accelerator, ...], catalog: Catalog) -> bool:
    """Whether one is much smaller than another kind beside it, or smaller and older: no card to train on."""
    largest = max(gpus, key=lambda one: one.memory_mb or 0)
    if gpu.model == largest.model or not gpu.memory_mb or not largest.memory_mb:
        return False
    older = bool(gpu.arch and largest.arch) and versions.compare(gpu.arch or "", largest.arch or "") < 0
    share = catalog.monitor_share["older" if older else "same"]
    return gpu.memory_mb <= share * largest.memory_mb
