"""Debian root file systems, by mmdebstrap, as Docker images."""

import subprocess
import threading
from collections import defaultdict
from pathlib import Path

from lab import cache, engine, machine, settings, topology

# What no release of Debian has comes from sid, with what it needs from there; all else stays as it is.
PIN = "Package: *\\nPin: release a=unstable\\nPin-Priority: 100\\n"
SID, PREFERENCES = "$1/etc/apt/sources.list.d/sid.list", "$1/etc/apt/preferences.d/sid"


def _beside_sid(suite: str) -> list[str]:
    return [
        f"--setup-hook=sed -n 's/ {suite} / sid /p' $1/etc/apt/sources.list > {SID}; printf '{PIN}' > {PREFERENCES}",
        f"--customize-hook=rm {SID} {PREFERENCES}",
    ]


def make(name: str) -> Path:
    """Give the archive of a root file system, built where the cache lacks it."""
    suite, packages = topology.ROOTFS[name]
    newer = topology.FROM_SID.get(name, [])
    mirror = machine.debian_mirror()

    def build(folder: Path) -> None:
        command = [
            machine.need("mmdebstrap", "mmdebstrap"),
            "--quiet",
            "--variant=minbase",
            f"--include={','.join([*packages, *newer])}",
            # A machine whose package index is a frozen snapshot has expired indexes; in the lab that's no matter.
            '--aptopt=Acquire::Check-Valid-Until "false"',
            '--aptopt=Acquire::Languages "none"',
            "--dpkgopt=force-unsafe-io",
            # The hosts install packages for real (the toolkit's .debs): no policy keeps their services from starting.
            *(_beside_sid(suite) if newer else []),
            "--customize-hook=rm -f $1/usr/sbin/policy-rc.d $1/etc/machine-id; touch $1/etc/machine-id",
            suite,
            str(folder / "rootfs.tar"),
            *([mirror] if mirror else []),
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise machine.LabError(f"mmdebstrap {suite} failed ({name}):\n{done.stderr[-2000:]}")

    return (
        cache.step(
            f"rootfs-{name}", [suite, packages, mirror, 2, *([newer, _beside_sid(suite)] if newer else [])], build
        )
        / "rootfs.tar"
    )


_importing = defaultdict(threading.Lock)


def image(name: str) -> str:
    """Give the local tag of a root file system's image, imported where Docker lacks it."""
    archive = make(name)
    repository, version = f"{settings.IMAGES}/{name}", archive.parent.name
    docker = engine.client()
    with _importing[name]:
        if not docker.images.list(f"{repository}:{version}"):
            with archive.open("rb") as file:
                docker.api.import_image_from_stream(
                    iter(lambda: file.read(1 << 20), b""),
                    repository=repository,
                    tag=version,
                    changes=[f"LABEL {settings.LABEL}=1"],
                )
    return f"{repository}:{version}"
