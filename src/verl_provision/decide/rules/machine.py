"""Rules about the machine: CPU architecture, disk."""

from verl_provision.decide import vendors
from verl_provision.decide.candidates import Candidate
from verl_provision.decide.findings import Finding, Rejection, Warning
from verl_provision.decide.host import Host
from verl_provision.decide.wanted import Wishes
from verl_provision.decide.world import World

MARGIN = 1.1  # layers are unpacked beside what is downloaded; then there must be room to work
ROOM_GB = 5.0


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
    path, free = (host.home, host.home_free_gb) if candidate.source else (host.engine_root, host.engine_free_gb)
    if free is None:
        return Warning(f"free space of {path} is not known; {needed:.0f} GB are needed")
    if free >= needed:
        return None
    size = candidate.image.size_gb
    return Rejection(
        f"{free:.1f} GB free in {path}",
        f"{needed:.0f} GB ({size:.0f} GB for {candidate.name} and a margin)",
        _fix(candidate, path),
    )


def _fix(candidate: Candidate, path: str) -> str:
    if candidate.source:
        return f"Free space in {path}, or set verl_prefix to a larger file system."
    return "Free space (docker system df; docker image prune), or move the engine's data-root to a larger file system."


def needed_gb(candidate: Candidate, host: Host) -> float | None:
    """What the disk must have free; None where nothing is fetched or no size is known."""
    image = candidate.image
    if image.size_gb is None or present(candidate, host):
        return None
    return image.size_gb * MARGIN + ROOM_GB


def present(candidate: Candidate, host: Host) -> bool:
    """Whether it's on the host already."""
    if candidate.source:
        return bool(host.source) and host.source.get("verl_version") == candidate.release.version
    return candidate.image.local(host.image_refs, host.image_digests)
