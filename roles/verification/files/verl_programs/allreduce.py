"""Add tensors up over all GPUs of a host; bus bandwidth as NVIDIA's nccl-tests define it. Run by torch.distributed.run.

python -m torch.distributed.run --standalone --nproc-per-node=8 allreduce.py SIZE-IN-MB...
"""

import json
import os
import sys
import time

import torch
import torch.distributed as dist

ROUNDS = 20


def main(sizes):
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(device)
    dist.init_process_group("nccl")
    rank, ranks = dist.get_rank(), dist.get_world_size()
    right = torch.ones(1, device=device)
    results = []
    for size in sizes:
        data = torch.full((size * 1024 * 1024 // 4,), float(rank + 1), device=device)
        dist.all_reduce(data)
        if not bool((data == ranks * (ranks + 1) / 2).all()):
            right.zero_()
        for dummy in range(5):
            dist.all_reduce(data)
        torch.cuda.synchronize()
        start = time.perf_counter()
        for dummy in range(ROUNDS):
            dist.all_reduce(data)
        torch.cuda.synchronize()
        each = (time.perf_counter() - start) / ROUNDS
        speed = data.numel() * 4 / each * 2 * (ranks - 1) / ranks / 1e9
        results.append({"size_mb": size, "busbw": round(speed, 1)})
        del data
    every = [torch.zeros_like(right) for dummy in range(ranks)]
    dist.all_gather(every, right)
    wrong = [number for number, one in enumerate(every) if not bool(one.item())]
    if rank == 0:
        told = {"ok": not wrong, "wrong": wrong, "ranks": ranks, "results": results}
        told["nccl"] = ".".join(str(part) for part in torch.cuda.nccl.version())
        print("verl-verify-collective: " + json.dumps(told), flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]])
