"""Rules about the GPUs: vendor, compute capability, PTX, mixed hosts, MIG."""

from verl_provision import versions
from verl_provision.catalog import capability, gpus
from verl_provision.catalog.model import Catalog
from verl_provision.select import vendors
from verl_provision.select.candidates import Candidate
from verl_provision.select.findings import Finding, Rejection, Warning
from verl_provision.select.inputs import Preferences, SelectionFacts


def vendor_apply(candidate: None, facts: SelectionFacts, preferences: Preferences, catalog: Catalog) -> Finding | None:
    """AMD and Ascend hosts are recognised and sent to their vendor's own image and command."""
    if not facts.others or facts.gpus or facts.nvidia_state not in ("none", "ok"):
        return None
    vendor, product = facts.others[0].vendor, facts.others[0].model
    devices = sum(other.vendor == vendor for other in facts.others)
    return Rejection(
        found=f"{devices} x {product} ({vendor})",
        needed="NVIDIA GPUs, or none: this toolkit sets up NVIDIA and CPU hosts",
        fix=vendors.fix(vendor, product, catalog),
        hard=True,
    )


def gpu_choice(candidate: None, facts: SelectionFacts, preferences: Preferences, catalog: Catalog) -> Finding | None:
    """`verl_gpus` names GPUs that are there; a card that drives a monitor is left out and named."""
    if facts.gpus_unmatched:
        return Rejection(
            found=f"verl_gpus: {', '.join(facts.gpus_unmatched)}; this host has {_counted(facts)}",
            needed="products or UUIDs of GPUs that are in this host",
            fix="Set verl_gpus to some of these (nvidia-smi -L shows names and UUIDs), or leave it out.",
            hard=True,
        )
    if facts.gpus_aside:
        return Warning(
            f"{' and '.join(sorted(set(facts.gpus_aside)))}: left out as a card for a monitor; {_counted(facts)} used",
            "verl_gpus chooses otherwise, by product or UUID; verl_gpus: all uses every GPU.",
        )
    return None


def _counted(facts: SelectionFacts) -> str:
    models = [gpu.model for gpu in facts.gpus]
    return ", ".join(f"{models.count(model)} x {model}" for model in dict.fromkeys(models))


def vendor(candidate: Candidate, facts: SelectionFacts, preferences: Preferences, catalog: Catalog) -> Finding | None:
    """An image for another vendor's accelerators doesn't run on NVIDIA GPUs."""
    if candidate.image.vendor == "nvidia":
        return None
    return Rejection(
        f"an image for {candidate.image.vendor}",
        "an image for NVIDIA GPUs",
        "Choose an image whose catalog entry says `vendor: nvidia`.",
        hard=True,
    )


def compute_capability(
    candidate: Candidate, facts: SelectionFacts, preferences: Preferences, catalog: Catalog
) -> Finding | None:
    """Every GPU needs machine code (SASS) of its own family in the image, or PTX; libraries may ask for more."""
    image = candidate.image
    if not image.known or not image.sass:
        return None
    for gpu in facts.kinds:
        if gpu.arch is None:
            continue
        label = f"{gpu.model} (compute capability {gpu.arch})"
        if image.minimum and versions.compare(gpu.arch, image.minimum) < 0:
            because = f": {image.minimum_because}" if image.minimum_because else ""
            return Rejection(
                label, f"compute capability >= {image.minimum}{because}", _other_gpu(facts, gpu.model), hard=True
            )
        if capability.code_for(gpu.arch, image.sass, image.ptx, catalog.sass) is None:
            ptx = f", PTX {image.ptx}" if image.ptx else ""
            return Rejection(
                label,
                f"a GPU that code for {', '.join(image.sass)}{ptx} runs on",
                _newer_cuda(gpu.arch, facts, gpu.model),
                hard=True,
            )
    return None


def _other_gpu(facts: SelectionFacts, name: str) -> str:
    if len({gpu.model for gpu in facts.gpus}) > 1:
        others = sorted({gpu.model for gpu in facts.gpus} - {name})
        return f"Leave the {name} out: verl_gpus: [{', '.join(others)}]."
    return "Use a newer GPU: no image has code for this one."


def _newer_cuda(found: str, facts: SelectionFacts, name: str) -> str:
    if len({gpu.model for gpu in facts.gpus}) > 1:
        return _other_gpu(facts, name)
    return f"Choose an image built for compute capability {found} (Blackwell: CUDA 12.8 or newer)."


def ptx_jit(candidate: Candidate, facts: SelectionFacts, preferences: Preferences, catalog: Catalog) -> Finding | None:
    """A GPU served by PTX alone has its kernels compiled at first use, which needs the image's native driver."""
    image = candidate.image
    if not image.sass:
        return None
    for gpu in facts.kinds:
        if not gpu.arch or capability.code_for(gpu.arch, image.sass, image.ptx, catalog.sass) != "ptx":
            continue
        carried = facts.driver_cuda
        if carried and image.cuda and versions.compare(versions.minor(carried), versions.minor(image.cuda)) < 0:
            return Rejection(
                f"{gpu.model} needs PTX {image.ptx}, driver {facts.driver} (CUDA {carried})",
                f"a driver that carries CUDA {versions.minor(image.cuda)}: "
                "an older one cannot compile this PTX (error 222)",
                f"Install driver >= {gpus.native_branch(image.cuda, catalog)}.",
            )
        return Warning(
            f"{image.id} has no machine code for {gpu.model} ({gpu.arch}): its kernels are compiled "
            "from PTX at first use, which takes minutes",
            "Prefer an image with code for this GPU.",
        )
    return None


def mixed_gpus(candidate: None, facts: SelectionFacts, preferences: Preferences, catalog: Catalog) -> Finding | None:
    """Different GPUs in one host train at the pace and with the memory of the smallest."""
    names = sorted({gpu.model for gpu in facts.gpus})
    if len(names) < 2:
        return None
    return Warning(
        f"this host mixes GPUs ({', '.join(names)}): the image must have code for each, and the smallest sets the pace",
        f"Choose GPUs of one kind: verl_gpus: [{_largest(facts)}].",
    )


def _largest(facts: SelectionFacts) -> str:
    return max(facts.gpus, key=lambda one: one.memory_mb or 0).model


def mig(candidate: None, facts: SelectionFacts, preferences: Preferences, catalog: Catalog) -> Finding | None:
    """verl trains on whole GPUs: a MIG slice is one device without NCCL between slices."""
    sliced = [gpu for gpu in facts.gpus if gpu.mig]
    if not sliced:
        return None
    if len(sliced) == len(facts.gpus) and not any(gpu.mig_devices for gpu in sliced):
        return Rejection(
            f"MIG on for all {len(sliced)} GPUs, with no MIG device made",
            "whole GPUs",
            "nvidia-smi -mig 0 (as root, on an idle host)",
        )
    return Warning(
        f"MIG is on for {len(sliced)} of {len(facts.gpus)} GPUs: a process sees one slice, and slices "
        "cannot train together",
        "nvidia-smi -mig 0 (as root, on an idle host)",
    )
