"""A torch wheel of a tenth of the size: all of the CPU code, none of the GPU's (files/image/slim_torch.py)."""

from pathlib import Path

from lab import cache, settings
from lab.build import builder

SCRIPT = r"""
python3 -m pip download -q --no-deps -d /tmp/wheels "torch==$TORCH" "nvidia-cuda-runtime==$CUDA_RUNTIME"
cd /tmp && python3 -m zipfile -e wheels/nvidia_cuda_runtime-*.whl cudart
mkdir -p /out/cpu/torch
python3 /files/image/slim_torch.py wheels/torch-*.whl cudart/nvidia/cu*/lib/libcudart.so.1[0-9] /out/cpu/torch
"""


def make() -> Path:
    """Give a folder laid out as PyTorch's own package index is: cpu/torch/*.whl."""
    versions = {"TORCH": settings.TORCH, "CUDA_RUNTIME": settings.CUDA_RUNTIME}
    return cache.step(
        "torch",
        [versions, SCRIPT, settings.FILES / "image/slim_torch.py"],
        lambda folder: builder.run(SCRIPT, folder, environment=versions),
    )
