"""verl's own install script: how it's run, and what it should have left, since its exit status says nothing."""

from __future__ import annotations

import os
import re

from ansible.module_utils.verl_source import checkout
from ansible.module_utils.verl_source.environment import normal
from ansible.module_utils.verl_source.failure import BuildFailure
from ansible.module_utils.verl_state import files

# What the script installs at every release that has one, and more with its two switches.
ALWAYS = ("torch", "vllm", "flash-attn", "tensordict", "transformers", "accelerate", "datasets", "peft", "ray",
          "hydra-core", "codetiming", "torchdata", "pyarrow", "pandas")  # fmt: skip
SGLANG = ("sglang",)
MEGATRON = ("megatron-core", "transformer-engine")
GB_PER_JOB = 8  # compiling flash-attn or Transformer Engine takes 4 to 8 GB a job


def max_jobs(memory_gb, cpus):
    """How many compilers at once: as many as there are CPUs, and memory for."""
    return max(1, min(cpus, int(memory_gb // GB_PER_JOB)))


def jobs_here(meminfo="/proc/meminfo"):
    match = re.search(r"MemTotal:\s*(\d+) kB", files.tail(meminfo))
    return max_jobs(int(match.group(1)) * 1024 / 1e9 if match else 0, os.cpu_count() or 1)


def switches(options):
    """The script's environment."""
    return {
        "USE_MEGATRON": "1" if options["trainer"] == "megatron" else "0",
        "USE_SGLANG": "1" if options["engine"] == "sglang" else "0",
        "MAX_JOBS": str(options["max_jobs"] or jobs_here()),
    }


def packages(options):
    """Names of what the script should have installed."""
    if options["script_packages"]:
        return sorted(normal(name) for name in options["script_packages"])
    wanted = list(ALWAYS)
    if options["engine"] == "sglang":
        wanted += SGLANG
    if options["trainer"] == "megatron":
        wanted += MEGATRON
    return sorted(wanted)


def prepare(options, copy):
    """Write the script to `copy` without its own MAX_JOBS: it sets 32, whatever the memory. Returns its path."""
    path = os.path.join(options["checkout"], checkout.SCRIPT)
    try:
        with open(path, encoding="utf-8") as handle:
            text = handle.read()
    except OSError as error:
        raise BuildFailure(
            "%s can't be read: %s" % (path, error.strerror),
            "choose a release that has it, or source_environment_method=git",
        ) from error
    files.write(copy, re.sub(r"(?m)^(\s*)export MAX_JOBS=\d+", r"\1export MAX_JOBS=${MAX_JOBS:-1}", text))
    return copy


def missing(options, present):
    """What the script should have installed and didn't."""
    return [name for name in packages(options) if name not in present]
