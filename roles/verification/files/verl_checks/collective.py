"""Level collective: the GPUs of this host add up through NCCL, with the right result and as fast as they should.

The trap: with NVLS (NVSwitch does the adding) a healthy 8-GPU H200 reaches some 480 GB/s; without it, or with 4 GPUs,
365. One number for both fails healthy machines or passes sick ones, so a threshold (catalog/thresholds.yml) holds for a
GPU, a count, a size and an algorithm, and the algorithm is read from what NCCL says it set up.
"""

import json
import re
import sys

from verl_checks.core import Skip, Wrong, bring_in, check, no_gpu
from verl_checks.work import Folder

SMALL_MB = 64
MARK = "verl-verify-collective: "


def all_reduce(request, sizes):
    """(folder, {ok, results: [{size_mb, busbw}]}, algorithm) of a run on all GPUs of this host."""
    reason = no_gpu(request["expected"])
    if reason:
        raise Skip(reason)
    torch = bring_in("torch", request, "torch with NCCL")
    if not torch.distributed.is_nccl_available():
        raise Wrong("this torch has no NCCL", "torch with NCCL", request["repair"])
    folder = Folder()
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    words += ["--nproc-per-node=%d" % request["expected"]["gpus"], "allreduce.py"] + [str(size) for size in sizes]
    environment = {"NCCL_DEBUG": "INFO", "NCCL_DEBUG_SUBSYS": "INIT", "OMP_NUM_THREADS": "1"}
    text = folder.run(request, "allreduce.py", words, environment)
    told = [line.split(MARK, 1)[1] for line in text.splitlines() if MARK in line]
    if not told:
        raise Wrong("no result in its output", "a result", "read the output in %s" % folder.path)
    return folder, json.loads(told[-1]), algorithm_of(text)


def algorithm_of(text):
    """`nvls` where NCCL set NVLS up for these GPUs, else `ring` (trees are no faster within a host)."""
    channels = [int(number) for number in re.findall(r"(\d+) nvls channels", text)]
    return "nvls" if channels and min(channels) > 0 else "ring"


def threshold_for(table, gpus, algorithm):
    """The entry for this count and algorithm with the greatest size, None where there is none."""
    fitting = [entry for entry in table if entry["gpus"] == gpus and entry["algorithm"] == algorithm]
    return max(fitting, key=lambda entry: entry["size_mb"]) if fitting else None


@check("collective.all_reduce")
def right(request, versions):
    """An all-reduce over the host's GPUs gives the right sum on each of them."""
    folder, told, algorithm = all_reduce(request, [SMALL_MB])
    needed = "the right sum on each of %d GPUs" % request["expected"]["gpus"]
    versions["nccl"] = told["nccl"]
    if not told["ok"]:
        raise Wrong(
            "wrong sums on ranks %s" % told["wrong"], needed, "on the host: nvidia-smi topo -m; dmesg | grep -i nvrm"
        )
    folder.remove()
    return "right on %d GPUs, NCCL %s, %s" % (told["ranks"], told["nccl"], algorithm), needed


@check("collective.bandwidth")
def bandwidth(request, versions):
    """An all-reduce is as fast as these GPUs, so many, with this algorithm, should be (catalog/thresholds.yml)."""
    reason = no_gpu(request["expected"])
    if reason:
        raise Skip(reason)
    gpus = request["expected"]["gpus"]
    if gpus < 2:
        raise Skip("one GPU has nothing to send to")
    table = request["expected"].get("collective") or []
    sizes = sorted({entry["size_mb"] for entry in table if entry["gpus"] == gpus})
    folder, told, algorithm = all_reduce(request, sizes or [1024])
    measured = {result["size_mb"]: result["busbw"] for result in told["results"]}
    shown = ", ".join("%.0f GB/s at %d MB" % (speed, size) for size, speed in sorted(measured.items()))
    folder.remove()
    entry = threshold_for(table, gpus, algorithm)
    if not entry:
        raise Skip("no threshold is known for %d of these GPUs with %s; measured: %s" % (gpus, algorithm, shown))
    speed = measured[entry["size_mb"]]
    found = "bus bandwidth %.0f GB/s at %d MB, %d GPUs, %s" % (speed, entry["size_mb"], gpus, algorithm)
    needed = "at least %g GB/s for %d MB, %d GPUs, %s" % (entry["busbw_gbs"], entry["size_mb"], gpus, algorithm)
    if speed < entry["busbw_gbs"]:
        raise Wrong(
            found, needed, "on the host: nvidia-smi topo -m; nvidia-smi nvlink --status; nvidia-smi -q -d PERFORMANCE"
        )
    return found, needed
