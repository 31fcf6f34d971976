"""As a job on a Ray cluster: make the tiny model on every node, then have verl make one PPO step over all of them.

python3 cluster.py asked.json, beside tiny.py; asked.json: {"nodes", "folder", "flags": {GPUS A NODE: [...]}}
"""

import json
import os
import shutil
import subprocess
import sys

MARK = "verl-verify-cluster "  # then a word, a colon and what it says


def prepare(folder, program, rows):
    """On each node: the model and the data, of the same random numbers everywhere."""
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "tiny.py")
    with open(path, "w") as stream:
        stream.write(program)
    env = dict(os.environ, VERL_VERIFY_ROWS=str(rows))
    done = subprocess.run(
        [sys.executable, path, "model", "train.parquet", "val.parquet"],
        cwd=folder,
        env=env,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        raise RuntimeError(done.stdout.decode("utf-8", "replace")[-2000:])


def clear(folder):
    shutil.rmtree(folder, ignore_errors=True)


def everywhere(ray, nodes, function, *arguments):
    """Call a function once on each node."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

    remote = ray.remote(num_cpus=0)(function)
    placed = [remote.options(scheduling_strategy=On(node["NodeID"], soft=False)) for node in nodes]
    ray.get([one.remote(*arguments) for one in placed])


def main(asked):
    import ray

    with open("tiny.py") as stream:
        program = stream.read()
    ray.init(log_to_driver=False, logging_level="ERROR")
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU", 0) >= 1]
    nodes = sorted(nodes, key=lambda node: -node["Resources"]["GPU"])[: asked["nodes"]]
    if len(nodes) < asked["nodes"]:
        sys.exit("RuntimeError: Ray has %d nodes with GPUs, planned are %d" % (len(nodes), asked["nodes"]))
    # verl wants as many on each; all of the smallest, so that no two groups of workers fit on one node.
    gpus = int(min(node["Resources"]["GPU"] for node in nodes))
    free, wanted = int(ray.available_resources().get("GPU", 0)), gpus * len(nodes)
    if free < wanted:
        print(MARK + "busy: %d of the cluster's GPUs are free and %d are needed" % (free, wanted), flush=True)
        return 0
    flags = asked["flags"].get(str(gpus))
    if flags is None:
        sys.exit("RuntimeError: the nodes have %d GPUs each, and flags are known for up to 16" % gpus)
    batch = max(int(flag.split("=")[1]) for flag in flags if flag.startswith("data.train_batch_size="))
    print(MARK + "nodes: %d nodes with %d GPUs each" % (len(nodes), gpus), flush=True)
    try:
        everywhere(ray, nodes, prepare, asked["folder"], program, max(32, batch))
        return subprocess.call([sys.executable, "-m", "verl.trainer.main_ppo"] + flags, cwd=asked["folder"])
    finally:
        everywhere(ray, nodes, clear, asked["folder"])


if __name__ == "__main__":
    with open(sys.argv[1]) as handle:
        sys.exit(main(json.load(handle)))
