"""NVIDIA's Go modules, fetched by the ordinary Go client."""

import json
import re
from functools import cache
from pathlib import Path

from lab import machine, settings

TOOLKIT = "github.com/NVIDIA/nvidia-container-toolkit"
NVML = "github.com/NVIDIA/go-nvml"


@cache
def source(module: str, version: str) -> Path:
    """Give the folder of a module's source in Go's own cache, downloaded where it isn't there."""
    answer = json.loads(machine.output(str(machine.go()), "mod", "download", "-json", f"{module}@{version}", cwd="/"))
    return Path(answer["Dir"])


@cache
def nvml_header() -> Path:
    """Find NVIDIA's nvml.h in the go-nvml version that the newest toolkit uses."""
    text = (source(TOOLKIT, f"v{settings.TOOLKIT_VERSIONS[-1]}") / "go.mod").read_text()
    version = re.search(rf"{NVML} (\S+)", text)
    return source(NVML, version[1]) / "pkg/nvml/nvml.h"
