"""Rules about the machine: CPU architecture, disk."""

from verl_provision.catalog.model import World
from verl_provision.facts import Host, Store
from verl_provision.select import vendors
from verl_provision.select.candidates import Candidate
from verl_provision.select.findings import Finding, Rejection, Warning
from verl_provision.select.wanted import Wishes

ROOM_GB = 5.0  # to work in, beside what is fetched


def cpu_architecture(candidate: Candidate, host: Host, wishes: Wishes, world: World) -> Finding | None:
    """An image runs on the CPU architecture it was built for only."""
    image = candidate.image
    if not image.arch or host.arch is None or host.arch in image.arch:
        return None
    fix = f"Use a host with one of: {', '.join(image.arch)}."
    if host.arch == "aarch64":
        fix = vendors.aarch64_fix(world)
    return Rejection(host.arch, " or ".join(image.arch), fix, hard=True)


def disk(candidate: Candidate, host: Host, wishes: Wishes, world: World) -> Finding | None:
    """The image, or the environment, and a margin must fit on the disk it goes to."""
    needed = needed_gb(candidate, host)
    if needed is None:
        return None
    store = store_of(candidate, host)
    if store.free_gb is None:
        return Warning(f"free space of {store.path} is not known; {needed:.0f} GB are needed")
    if store.free_gb >= needed:
        return None
    size = candidate.image.size_gb
    return Rejection(
        f"{store.free_gb:.1f} GB free in {store.path}",
        f"{needed:.0f} GB ({size:.0f} GB for {candidate.name} and a margin)",
        store.fix,
    )


def store_of(candidate: Candidate, host: Host) -> Store:
    """Where it goes: the store of the backend that was chosen."""
    return host.stores["source" if candidate.source else host.engine]


def needed_gb(candidate: Candidate, host: Host) -> float | None:
    """What the disk must have free; None where nothing is fetched or no size is known."""
    image = candidate.image
    if image.size_gb is None or present(candidate, host):
        return None
    return image.size_gb * store_of(candidate, host).factor + ROOM_GB


def present(candidate: Candidate, host: Host) -> bool:
    """Whether it's on the host already."""
    if candidate.source:
        return bool(host.source) and host.source.get("verl_version") == candidate.release.version
    if host.engine == "apptainer":
        return any(path.endswith(f"/images/{candidate.image.id}.sif") for path in host.sif_images)
    return candidate.image.local(host.image_refs, host.image_digests)
