"""Level train: verl itself makes one PPO step, with a tiny model of random weights and a dataset made on the spot.

On the head of a Ray cluster it makes another one over all nodes, as a job of that Ray.

The recipe is the one of verl's quickstart, made small. Old write-ups run `examples/ppo_simple.py`: verl never had it.
"""

import contextlib
import json
import math
import os
import re
import subprocess
import sys
import uuid

from verl_checks.core import Skip, Wrong, check, packaged, release
from verl_checks.work import Folder, free_gpu, on, share

NEVER_WAS = (
    "examples/ppo_simple.py, which some write-ups name, has never existed in verl: this runs verl.trainer.main_ppo"
)
STEP = re.compile(r"\bstep:1 - (.*)")
NEEDED = "a line `step:1 - ...` with metrics that are numbers"
MARK = "verl-verify-cluster "  # of verl_programs/cluster.py


@check("train.ppo")
def ppo(request, versions):
    """verl.trainer.main_ppo ends one step (trainer.total_training_steps=1) and its metrics are numbers."""
    expected = request["expected"]
    wanted, version, numbers = known(expected)
    gpu = free_gpu(request)
    folder = Folder()
    folder.python(request, "tiny.py", "model", "train.parquet", "val.parquet")
    words = [sys.executable, "-m", "verl.trainer.main_ppo"]
    words += flags(
        numbers, wanted, expected.get("trainer"), folder.path, share(gpu), bool(packaged("flash-attn", "flash_attn"))
    )
    environment = {
        # A Ray of its own, beside whatever runs here already; the path of its sockets must be short.
        "RAY_ADDRESS": "local",
        "RAY_TMPDIR": folder.path,
        "RAY_USAGE_STATS_ENABLED": "0",
        "HF_HUB_OFFLINE": "1",
        "HYDRA_FULL_ERROR": "1",
        "PYTHONUNBUFFERED": "1",
        "VERL_USE_UV": "0",
        "WANDB_MODE": "disabled",
    }
    text = folder.run(request, "main_ppo.py", words, dict(environment, **on(gpu)))
    log = os.path.join(folder.path, "main_ppo.log")
    found, problem = judge(text)
    if problem:
        raise Wrong(problem, NEEDED, "read %s. %s" % (log, NEVER_WAS))
    folder.remove()
    return "verl %s: %s" % (version, found), NEEDED


@check("train.cluster")
def cluster(request, versions):
    """On the head of a Ray cluster: a job of that Ray (ray job submit) makes the same step over all nodes."""
    expected = request["expected"]
    wanted = expected.get("cluster")
    if not wanted:
        raise Skip("no Ray cluster has its head here")
    engine, version, numbers = known(expected)
    gpu = free_gpu(request)
    folder = Folder()
    job = "verl-verify-%s" % uuid.uuid4().hex[:12]
    place = "/tmp/" + job  # on every node
    attention = bool(packaged("flash-attn", "flash_attn"))
    asked = {
        "nodes": wanted["nodes"],
        "folder": place,
        # By the number of GPUs a node, which the job finds out.
        "flags": {
            gpus: flags(numbers, engine, expected.get("trainer"), place, share(gpu), attention, wanted["nodes"], gpus)
            for gpus in range(1, 17)
        },
    }
    folder.write("asked.json", json.dumps(asked))
    submit = [sys.executable, "-m", "ray.scripts.scripts", "job"]
    at = ["--address", wanted["dashboard"]]
    words = submit + ["submit"] + at + ["--submission-id", job, "--working-dir", folder.path]
    environment = ray_token()
    try:
        text = folder.run(request, "cluster.py", words + ["--", "python3", "cluster.py", "asked.json"], environment)
    except Wrong:
        # What ended may be the one who waited, and not the job.
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(
                submit + ["stop"] + at + [job],
                env=dict(os.environ, **environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=60,
                check=False,
            )
        raise
    told = dict(line.split(MARK, 1)[1].split(": ", 1) for line in text.splitlines() if MARK in line)
    if "busy" in told:
        folder.remove()
        raise Skip("%s; verify again when what runs has ended" % told["busy"])
    found, problem = judge(text)
    if problem:
        raise Wrong(problem, NEEDED, "read %s" % os.path.join(folder.path, "cluster.log"))
    folder.remove()
    return "verl %s over %s, job %s: %s" % (version, told.get("nodes", "Ray"), job, found), NEEDED


def known(expected):
    """(engine, verl's version, its numbers) where a step can be asked for; skips where it can't."""
    wanted = expected.get("engine")
    if wanted not in ("vllm", "sglang"):
        raise Skip("no rollout engine is planned here, and verl's PPO generates with vLLM or SGLang (%s)" % NEVER_WAS)
    version = packaged("verl") or expected.get("verl_version") or ""
    numbers = release(version)
    if numbers < (0, 2):
        raise Skip("the flags of verl %s aren't known here, those from 0.2 on are" % (version or "of unknown version"))
    return wanted, version, numbers


def ray_token():
    """What Ray's own command needs, where the module has handed on a token; it's on no command line."""
    token = os.environ.get("VERL_VERIFY_RAY_TOKEN")
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token} if token else {}


def batch(gpus):
    """How many rows a step takes, so that each GPU gets a whole number of pairs; never fewer than 8."""
    return gpus * 2 * max(1, -(-4 // gpus))


def flags(numbers, engine, trainer, folder, part, flash_attn, nodes=None, gpus=1):
    """The command line of one small PPO step for verl's release `numbers`, such as (0, 9, 1).

    With `nodes`, on a Ray that runs already, and over that many nodes.
    """
    rows = batch((nodes or 1) * gpus)
    model, critic = os.path.join(folder, "model"), os.path.join(folder, "model")
    given = []
    if trainer == "megatron":
        given += ["--config-name=ppo_megatron_trainer"]
    given += [
        "data.train_files=%s" % os.path.join(folder, "train.parquet"),
        "data.val_files=%s" % os.path.join(folder, "val.parquet"),
        "data.train_batch_size=%d" % rows,
        "data.max_prompt_length=128",
        "data.max_response_length=32",
        "actor_rollout_ref.model.path=%s" % model,
        "actor_rollout_ref.actor.optim.lr=1e-6",
        "actor_rollout_ref.actor.ppo_mini_batch_size=%d" % rows,
        "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=2",
        # With a default until 0.5, mandatory from 0.6 on.
        "actor_rollout_ref.rollout.name=%s" % engine,
        "actor_rollout_ref.rollout.tensor_model_parallel_size=1",
        "actor_rollout_ref.rollout.gpu_memory_utilization=%s" % part,
        "actor_rollout_ref.rollout.enforce_eager=True",
        "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=2",
        "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu=2",
        "critic.model.path=%s" % critic,
        "critic.optim.lr=1e-5",
        "critic.ppo_micro_batch_size_per_gpu=2",
        "algorithm.kl_ctrl.kl_coef=0.001",
        # A list until 0.4, a word is enough from 0.5 on.
        "trainer.logger=['console']" if numbers < (0, 5) else "trainer.logger=console",
        "trainer.n_gpus_per_node=%d" % gpus,
        "trainer.nnodes=%d" % (nodes or 1),
        "trainer.save_freq=-1",
        "trainer.test_freq=-1",
        "trainer.total_epochs=1",
        "trainer.total_training_steps=1",
        "trainer.default_local_dir=%s" % os.path.join(folder, "checkpoints"),
        "hydra.run.dir=%s" % os.path.join(folder, "hydra"),
    ]
    # No plus sign where the release has the key: one that it doesn't know must be an error. 0.3 has none, but asks.
    given.append(("++" if numbers < (0, 4) else "") + "trainer.val_before_train=False")
    # Ray counts these slots and nothing else: enough for the workers, also where there are few CPUs. A Ray that runs
    # already has its own, and refuses the setting.
    if numbers >= (0, 4) and not nodes:
        given.append("%s.num_cpus=16" % ("ray_kwargs.ray_init" if numbers >= (0, 6) else "ray_init"))
    if numbers >= (0, 5):
        given.append("actor_rollout_ref.rollout.agent.num_workers=1")
    if numbers >= (0, 7, 1):
        given.append("reward.num_workers=1")
    if numbers >= (0, 9):
        given.append("transfer_queue.backend.SimpleStorage.num_data_storage_units=1")
    if numbers >= (0, 5) and not flash_attn and trainer != "megatron":
        given += [
            "+%s.override_config.attn_implementation=sdpa" % part
            for part in ("actor_rollout_ref.model", "critic.model")
        ]
    return given


def judge(text):
    """(found, problem) of the output: exactly one is None."""
    lines = STEP.findall(re.sub(r"\x1b\[[\d;]*m", "", text))
    if not lines:
        return None, "no line `step:1 - ...` in the output"
    metrics = {}
    for pair in lines[-1].split(" - "):
        name, colon, value = pair.rpartition(":")
        number = re.match(r"(?:np\.\w+\()?(-?(?:[\d.]+(?:e[-+]?\d+)?|nan|inf))\)?\s*$", value.strip(), re.I)
        if colon and number:
            metrics[name.strip()] = float(number.group(1))
    bad = sorted(name for name, value in metrics.items() if not math.isfinite(value))
    if bad:
        return None, "not a number: %s" % ", ".join(bad)
    if not any(name.startswith("actor/") for name in metrics):
        return None, "step:1 has no metrics of the actor: it wasn't trained (%s)" % ", ".join(sorted(metrics))[:200]
    wanted = ("actor/pg_loss", "actor/grad_norm", "critic/vf_loss", "timing_s/step")
    shown = [name for name in wanted if name in metrics]
    return "step:1 with %d metrics, %s" % (len(metrics), ", ".join("%s %g" % (n, metrics[n]) for n in shown)), None
