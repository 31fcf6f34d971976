"""Levels engine, train and collective: what is asked of whom, and how the answers are judged."""

import sys

import pytest

from .fake_cuda import put_cuda, smi
from .fake_packages import put

GPU = {"profile": "gpu", "gpus": 2, "driver": "580.95.05"}


@pytest.fixture
def gpus(place):
    put_cuda(place.site)
    smi(place, sys.executable)
    return place


def level(result, name):
    return {check["id"]: check for check in result["checks"] if check["id"].startswith(name + ".")}


# ---- engine


ENGINE = """
class SamplingParams:
    def __init__(self, **given): self.given = given
class _Ids:
    def __init__(self, ids): self.token_ids = ids
class _Answer:
    def __init__(self, ids): self.outputs = [_Ids(ids)]
class LLM:
    def __init__(self, model, **given):
        {fault}
        assert given["gpu_memory_utilization"] <= 0.5
    def generate(self, prompts, params): return [_Answer([7] * {count})]
"""


def put_engine(place, fault="pass", count=8):
    """A vllm, and what tiny.py makes its model with."""
    put(place.site, "vllm", "0.24.0", ENGINE.format(fault=fault, count=count))
    put(
        place.site,
        "transformers",
        "5.9.0",
        """
class _Any:
    pad_token_id = eos_token_id = 1
    def __init__(self, *args, **named): pass
    def save_pretrained(self, folder): pass
    def to(self, kind): return self
PreTrainedTokenizerFast = Qwen2Config = Qwen2ForCausalLM = _Any
""",
    )
    put(
        place.site,
        "tokenizers",
        "0.22.0",
        """
class _Any:
    def __init__(self, *args, **named): pass
    def __call__(self, *args, **named): return self
    def __getattr__(self, name): return _Any()
    def __iter__(self): return iter("ab")
    __index__ = lambda self: 3
class Tokenizer(_Any): pass
decoders = models = pre_tokenizers = _Any()
""",
    )


def test_the_engine_answers(gpus):
    put_engine(gpus)
    result = gpus.run("engine", {**GPU, "engine": "vllm"}, work_timeout=40)
    check = level(result, "engine")["engine.generate"]
    assert check["ok"] is True, check
    assert check["found"] == "8 tokens from vllm on GPU 0"
    assert result["reached"] == "engine"


@pytest.mark.parametrize(
    ("how", "found"),
    [
        ({"count": 3}, "3 tokens"),
        ({"fault": "raise ValueError('no kernel image is available')"}, "ValueError: no kernel image is available"),
        ({"fault": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"}, "exit status -11"),
    ],
)
def test_an_engine_that_does_not_answer_fails_with_its_own_words(gpus, how, found):
    put_engine(gpus, **how)
    result = gpus.run("engine", {**GPU, "engine": "vllm"}, work_timeout=40)
    check = level(result, "engine")["engine.generate"]
    assert check["ok"] is False
    assert found in check["found"]


def test_no_free_gpu_is_skipped_and_the_level_is_not_passed(gpus):
    put_engine(gpus)
    smi(gpus, sys.executable, memory="512")
    result = gpus.run("engine", {**GPU, "engine": "vllm"})
    check = level(result, "engine")["engine.generate"]
    assert check["ok"] is None
    assert "no GPU is free: GPU 0 has the most free memory, 512 MB" in check["found"]
    assert result["passed"] is False


# ---- train


@pytest.mark.parametrize(
    ("version", "logger", "cpus"),
    [
        ((0, 2), "trainer.logger=['console']", None),
        ((0, 4, 1), "trainer.logger=['console']", "ray_init.num_cpus=16"),
        ((0, 5), "trainer.logger=console", "ray_init.num_cpus=16"),
        ((0, 6), "trainer.logger=console", "ray_kwargs.ray_init.num_cpus=16"),
        ((0, 9, 1), "trainer.logger=console", "ray_kwargs.ray_init.num_cpus=16"),
    ],
)
def test_the_flags_are_the_releases_own(checks, version, logger, cpus):
    given = checks.train.flags(version, "sglang", "fsdp", "/w", 0.3, True)
    assert logger in given
    assert [flag for flag in given if "num_cpus" in flag] == ([cpus] if cpus else [])
    assert "actor_rollout_ref.rollout.name=sglang" in given  # mandatory from 0.6 on
    assert "trainer.total_training_steps=1" in given
    assert len({flag.split("=")[0] for flag in given}) == len(given)


def test_megatron_has_its_own_config_and_no_flash_attn_means_torchs_own_attention(checks):
    assert "--config-name=ppo_megatron_trainer" in checks.train.flags((0, 9), "vllm", "megatron", "/w", 0.3, False)
    given = checks.train.flags((0, 9), "vllm", "fsdp", "/w", 0.3, False)
    assert "+actor_rollout_ref.model.override_config.attn_implementation=sdpa" in given


LINE = (
    "\x1b[36m(TaskRunner pid=1)\x1b[0m step:{step} - actor/pg_loss:{loss} - actor/grad_norm:np.float64(0.5) - x:1e-05"
)


@pytest.mark.parametrize(
    ("text", "found", "problem"),
    [
        (LINE.format(step=1, loss="-0.25"), "step:1 with 3 metrics, actor/pg_loss -0.25, actor/grad_norm 0.5", None),
        (LINE.format(step=1, loss="nan"), None, "not a number: actor/pg_loss"),
        (LINE.format(step=0, loss="0.1"), None, "no line `step:1 - ...` in the output"),
        (LINE.format(step=10, loss="0.1"), None, "no line `step:1 - ...` in the output"),
        ("step:1 - val/reward:0.5", None, "step:1 has no metrics of the actor: it wasn't trained (val/reward)"),
    ],
)
def test_the_metrics_line_says_whether_it_trained(checks, text, found, problem):
    assert checks.train.judge("noise\n" + text + "\nmore") == (found, problem)


# In the forms that users' logs of two releases show (verl's issues 2060 and 7412): validation first, a name with @,
# rounded numbers; then the worker's prefix and numbers in full.
OLDER = (
    "step:0 - val-aux/openai/gsm8k/reward/mean@1:0.565 - val-core/openai/gsm8k/acc/mean@1:0.508\n"
    "step:1 - global_seqlen/min:484245.000 - actor/kl_loss:0.000 - actor/pg_loss:0.001 - actor/ppo_kl:-0.000 - "
    "actor/grad_norm:0.020 - critic/vf_loss:0.125 - training/epoch:0.000"
)
NEWER = (
    "(TaskRunner pid=222265) step:1 - global_seqlen/min:419336 - actor/ppo_kl:-8.163164312320433e-06 - "
    "actor/pg_loss:0.042396901015308686 - actor/grad_norm:0.129638671875 - timing_s/step:31.5"
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            OLDER,
            "step:1 with 7 metrics, actor/pg_loss 0.001, actor/grad_norm 0.02, critic/vf_loss 0.125",
        ),
        (NEWER, "step:1 with 5 metrics, actor/pg_loss 0.0423969, actor/grad_norm 0.129639, timing_s/step 31.5"),
    ],
    ids=["0.4", "0.9"],
)
def test_the_metrics_lines_of_real_runs_are_read(checks, text, found):
    assert checks.train.judge(text) == (found, None)


def test_the_script_that_never_was_is_named_where_a_user_looks(checks):
    assert "examples/ppo_simple.py" in checks.train.NEVER_WAS
    assert "has never existed" in checks.train.NEVER_WAS


# ---- collective


def test_the_algorithm_is_what_nccl_set_up(checks):
    line = "NCCL INFO 24 coll channels, 16 collnet channels, {} nvls channels, 32 p2p channels"
    assert checks.collective.algorithm_of(line.format(16)) == "nvls"
    assert checks.collective.algorithm_of(line.format(0)) == "ring"
    assert checks.collective.algorithm_of("no word of it") == "ring"
    # 2.18 has no word of collnet; an H20 and an A6000 have no NVLS (NCCL's issues 892 and 1189)
    older = (
        "node:33347:33366 [6] NCCL INFO 16 coll channels, {} nvls channels, 16 p2p channels, 16 p2p channels per peer"
    )
    assert [checks.collective.algorithm_of(older.format(number)) for number in (0, 16)] == ["ring", "nvls"]


H200 = [
    {"gpus": 8, "size_mb": 16384, "algorithm": "nvls", "busbw_gbs": 431},
    {"gpus": 8, "size_mb": 8192, "algorithm": "ring", "busbw_gbs": 341},
]


@pytest.mark.parametrize(
    ("measured", "channels", "ok"),
    [(480, 16, True), (365, 16, False), (365, 0, True), (300, 0, False)],  # 365 without NVLS is healthy
)
def test_a_bandwidth_is_held_against_the_threshold_of_its_algorithm(checks, monkeypatch, measured, channels, ok):
    collective = checks.collective
    text = f"{channels} nvls channels"
    results = [{"size_mb": size, "busbw": measured} for size in (8192, 16384)]

    class Gone:
        def remove(self):
            pass

    def run(request, sizes):
        assert sizes == [8192, 16384]
        return Gone(), {"ok": True, "results": results}, collective.algorithm_of(text)

    monkeypatch.setattr(collective, "all_reduce", run)
    request = {"expected": {"gpus": 8, "profile": "gpu", "collective": H200}}
    if ok:
        assert f"{measured} GB/s" in collective.bandwidth(request, {})[0]
    else:
        with pytest.raises(checks.core.Wrong) as wrong:
            collective.bandwidth(request, {})
        assert "at least" in wrong.value.needed
    request["expected"]["gpus"] = 4  # no threshold: measured, told, and not passed
    monkeypatch.setattr(collective, "all_reduce", lambda *_: (Gone(), {"results": results}, "ring"))
    with pytest.raises(checks.core.Skip, match="no threshold is known for 4 of these GPUs with ring"):
        collective.bandwidth(request, {})
