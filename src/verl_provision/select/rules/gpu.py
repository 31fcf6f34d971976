"""Rules about the GPUs: vendor, compute capability, PTX, mixed hosts, MIG."""

from verl_provision import versions
from verl_provision.catalog import capability, gpus
from verl_provision.catalog.model import World
from verl_provision.facts import Host
from verl_provision.select import vendors
from verl_provision.select.candidates import Candidate
from verl_provision.select.findings import Finding, Rejection, Warning
from verl_provision.select.wanted import Wishes


def vendor_apply(candidate: None, host: Host, wishes: Wishes, world: World) -> Finding | None:
    """AMD and Ascend hosts are recognised and sent to their vendor's own image and command."""
    if not host.other or host.gpus or host.nvidia_state not in ("none", "ok"):
        return None
    vendor, product, devices = host.other[0]
    return Rejection(
        found=f"{devices} x {product} ({vendor})" if devices else f"{product} ({vendor})",
        needed="NVIDIA GPUs, or none: this toolkit sets up NVIDIA and CPU hosts",
        fix=vendors.fix(vendor, product, world),
        hard=True,
    )


def vendor(candidate: Candidate, host: Host, wishes: Wishes, world: World) -> Finding | None:
    """An image for another vendor's accelerators doesn't run on NVIDIA GPUs."""
    if candidate.image.vendor == "nvidia":
        return None
    return Rejection(
        f"an image for {candidate.image.vendor}",
        "an image for NVIDIA GPUs",
        "Choose an image whose catalog entry says `vendor: nvidia`.",
        hard=True,
    )


def compute_capability(candidate: Candidate, host: Host, wishes: Wishes, world: World) -> Finding | None:
    """Every GPU needs machine code (SASS) of its own family in the image, or PTX; libraries may ask for more."""
    image = candidate.image
    if not image.known or not image.sass:
        return None
    for gpu in host.kinds:
        if gpu.capability is None:
            continue
        label = f"{gpu.name} (compute capability {gpu.capability})"
        if image.minimum and versions.compare(gpu.capability, image.minimum) < 0:
            because = f": {image.minimum_because}" if image.minimum_because else ""
            return Rejection(
                label, f"compute capability >= {image.minimum}{because}", _other_gpu(host, gpu.name), hard=True
            )
        if capability.code_for(gpu.capability, image.sass, image.ptx, world.sass) is None:
            ptx = f", PTX {image.ptx}" if image.ptx else ""
            return Rejection(
                label,
                f"a GPU that code for {', '.join(image.sass)}{ptx} runs on",
                _newer_cuda(gpu.capability, host, gpu.name),
                hard=True,
            )
    return None


def _other_gpu(host: Host, name: str) -> str:
    if len({gpu.name for gpu in host.gpus}) > 1:
        return f"Leave the {name} out: take it off this host, or use a host with one kind of GPU."
    return "Use a newer GPU: no image has code for this one."


def _newer_cuda(found: str, host: Host, name: str) -> str:
    if len({gpu.name for gpu in host.gpus}) > 1:
        return _other_gpu(host, name)
    return f"Choose an image built for compute capability {found} (Blackwell: CUDA 12.8 or newer)."


def ptx_jit(candidate: Candidate, host: Host, wishes: Wishes, world: World) -> Finding | None:
    """A GPU served by PTX alone has its kernels compiled at first use, which needs the image's native driver."""
    image = candidate.image
    if not image.sass:
        return None
    for gpu in host.kinds:
        if not gpu.capability or capability.code_for(gpu.capability, image.sass, image.ptx, world.sass) != "ptx":
            continue
        carried = host.driver_cuda
        if carried and image.cuda and versions.compare(versions.minor(carried), versions.minor(image.cuda)) < 0:
            return Rejection(
                f"{gpu.name} needs PTX {image.ptx}, driver {host.driver} (CUDA {carried})",
                f"a driver that carries CUDA {versions.minor(image.cuda)}: "
                "an older one cannot compile this PTX (error 222)",
                f"Install driver >= {gpus.native_branch(image.cuda, world)}.",
            )
        return Warning(
            f"{image.id} has no machine code for {gpu.name} ({gpu.capability}): its kernels are compiled "
            "from PTX at first use, which takes minutes",
            "Prefer an image with code for this GPU.",
        )
    return None


def mixed_gpus(candidate: None, host: Host, wishes: Wishes, world: World) -> Finding | None:
    """Different GPUs in one host train at the pace and with the memory of the smallest."""
    names = sorted({gpu.name for gpu in host.gpus})
    if len(names) < 2:
        return None
    return Warning(
        f"this host mixes GPUs ({', '.join(names)}): the image must have code for each, and the smallest sets the pace",
        "Choose GPUs of one kind with CUDA_VISIBLE_DEVICES.",
    )


def mig(candidate: None, host: Host, wishes: Wishes, world: World) -> Finding | None:
    """verl trains on whole GPUs: a MIG slice is one device without NCCL between slices."""
    sliced = [gpu for gpu in host.gpus if gpu.mig]
    if not sliced:
        return None
    if len(sliced) == len(host.gpus) and not any(gpu.mig_devices for gpu in sliced):
        return Rejection(
            f"MIG on for all {len(sliced)} GPUs, with no MIG device made",
            "whole GPUs",
            "nvidia-smi -mig 0 (as root, on an idle host)",
        )
    return Warning(
        f"MIG is on for {len(sliced)} of {len(host.gpus)} GPUs: a process sees one slice, and slices "
        "cannot train together",
        "nvidia-smi -mig 0 (as root, on an idle host)",
    )
