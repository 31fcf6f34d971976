"""The driver's user space for GPU hosts: NVIDIA's real nvidia-smi over the lab's NVML."""

import shutil
from pathlib import Path

import yaml

from lab import cache, settings
from lab.build import builder, gomodules

LIBRARIES = "usr/lib/x86_64-linux-gnu"

SCRIPT = r"""
mirror=$(awk '$1 == "deb" {print $2; exit}' /etc/apt/sources.list)
echo "deb $mirror trixie non-free" > /tmp/non-free.list
set -- -q -o Dir::Etc::SourceList=/tmp/non-free.list -o Dir::Etc::SourceParts=- -o APT::Sandbox::User=root \
    -o Acquire::Check-Valid-Until=false
apt-get "$@" update
cd /tmp && apt-get "$@" download nvidia-smi
dpkg-deb -x nvidia-smi_*.deb smi
install -D -m 755 smi/usr/lib/nvidia/current/nvidia-smi /out/usr/bin/nvidia-smi
python3 /files/nvml/make_stubs.py /nvml/nvml.h /out/usr/bin/nvidia-smi > stubs.c
for machine in /files/nvml/*.yaml; do
    version=$(sed -n 's/^driver_version: "\(.*\)"/\1/p' "$machine")
    folder=/out/$(basename "$machine" .yaml)
    mkdir -p "$folder"
    python3 -c 'import json, sys; print("#define BUILT_IN", json.dumps(sys.stdin.read()))' < "$machine" > built_in.h
    gcc -shared -fPIC -O2 -I/nvml -I/tmp -Wl,-soname,libnvidia-ml.so.1 -o "$folder/libnvidia-ml.so.$version" \
        /files/nvml/nvml_mock.c stubs.c
done
"""


def make() -> Path:
    """Give a folder with nvidia-smi and one NVML library for each machine of files/nvml."""
    header = gomodules.nvml_header()
    return cache.step(
        "gpu",
        [settings.FILES / "nvml", header, SCRIPT],
        lambda folder: builder.run(SCRIPT, folder, mounts={header.parent: "/nvml"}),
    )


def describe(machine: str) -> dict:
    """Read what a machine's NVML reports."""
    return yaml.safe_load((settings.FILES / "nvml" / f"{machine}.yaml").read_text())


def install(machine: str, root: Path) -> None:
    """Lay a machine's driver into a tree of host files."""
    built, version = make(), describe(machine)["driver_version"]
    (root / "usr/bin").mkdir(parents=True, exist_ok=True)
    shutil.copy2(built / "usr/bin/nvidia-smi", root / "usr/bin/nvidia-smi")
    libraries = root / LIBRARIES
    libraries.mkdir(parents=True, exist_ok=True)
    shutil.copy2(built / machine / f"libnvidia-ml.so.{version}", libraries)
    (libraries / "libnvidia-ml.so.1").symlink_to(f"libnvidia-ml.so.{version}")
    (libraries / "libnvidia-ml.so").symlink_to("libnvidia-ml.so.1")
