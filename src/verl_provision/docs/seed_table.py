"""The selection guide's advice by sentence, and what the plan answers. Tests run it; docs/selection.md shows it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LARGE = "whatcanyousee/verl:ngc-cu124-vllm0.8.5-sglang0.4.6.post5-mcore0.12.1-te2.3-deepseekv3"
FAST = "hiyouga/verl:ngc-th2.6.0-cu126-vllm0.8.4-flashinfer0.2.2-cxx11abi0"
LIGHT = "ocss884/verl-sglang:ngc-th2.6.0-cu126-sglang0.4.6.post5"
LIGHT_TESTED = "ocss884/verl-sglang:ngc-th2.6.0-cu126-sglang0.4.5.post3"  # of that kind, and what CI of 0.4.1 ran on
OLD = {"verl_version": "0.4.1"}


@dataclass(frozen=True, slots=True)
class Row:
    """A sentence of the guide, a machine and variables that it speaks about, and the answer."""

    chapter: str
    sentence: str
    rule: str
    requests: dict[str, Any]
    answer: dict[str, Any]  # image (id or reference), engine, trainer, backend; warned = text of a warning
    machine: dict[str, Any] = field(default_factory=lambda: {"gpu": "H100", "driver": "550.163.01"})


NEW = {"gpu": "H100", "driver": "580.95.05"}

ROWS = (
    Row("4.1", "使用 PPO、IPPO 等需要高频采样的算法", "algorithms that sample want vLLM: PPO",
        {**OLD, "verl_algorithm": "ppo"}, {"engine": "vllm", "trainer": "fsdp"}),
    Row("4.1", "使用 PPO、IPPO 等需要高频采样的算法", "algorithms that sample want vLLM: IPPO",
        {**OLD, "verl_algorithm": "ippo"}, {"engine": "vllm"}),
    Row("4.1", "使用 PPO、IPPO 等需要高频采样的算法", "algorithms that sample want vLLM: GRPO, with a new driver",
        {"verl_algorithm": "grpo"}, {"engine": "vllm", "image": "vllm024"}, NEW),
    Row("4.1", "模型较大(>7B),原生 HF generate 效率太低", "more than 7 B wants vLLM, whatever the algorithm",
        {**OLD, "verl_model_params_b": 8, "verl_algorithm": "dpo"}, {"engine": "vllm", "warned": "does not sample"}),
    Row("4.1", "模型较大(>7B),原生 HF generate 效率太低", "7 B is not more than 7 B",
        {**OLD, "verl_model_params_b": 7, "verl_algorithm": "dpo"}, {"image": LIGHT_TESTED, "engine": "sglang"}),
    Row("4.1", "仅做算法原型验证", "a prototype needs no vLLM",
        {**OLD, "verl_scenario": "prototype"}, {"image": LIGHT, "engine": "sglang"}),
    Row("4.1", "使用 DPO 类无需采样的方法", "DPO does not sample and needs no vLLM",
        {**OLD, "verl_algorithm": "dpo"}, {"image": LIGHT_TESTED, "engine": "sglang"}),
    Row("4.1", "使用 DPO 类无需采样的方法", "nor does SFT",
        {**OLD, "verl_algorithm": "sft"}, {"image": LIGHT_TESTED, "engine": "sglang"}),
    Row("4.1", "显存紧张,想尽量减少依赖", "GPU memory is tight: the light image",
        OLD, {"image": LIGHT_TESTED, "engine": "sglang"}, {"gpu": "RTX 4080", "driver": "550.163.01"}),
    Row("4.1", "此时可考虑ocss884/verl-sglang这类轻量镜像", "the light image of today's release",
        {"verl_algorithm": "dpo"}, {"image": "sgl0512", "engine": "sglang"}, NEW),
    Row("4.2", "模型参数量 ≥ 13B", "13 B or more wants Megatron",
        {**OLD, "verl_model_params_b": 13}, {"trainer": "megatron", "engine": "vllm"}),
    Row("4.2", "多机多卡环境下追求最大吞吐", "several hosts want Megatron",
        {**OLD, "verl_nnodes": 2}, {"trainer": "megatron"}),
    Row("4.2", "已有 Megatron 工作流基础", "an existing Megatron workflow wants Megatron",
        {**OLD, "verl_trainer": "megatron"}, {"trainer": "megatron"}),
    Row("4.2", "否则,FSDP 通常是更简单高效的选择,尤其在单机多卡场景下", "else FSDP",
        {**OLD, "verl_model_params_b": 12.9}, {"trainer": "fsdp", "engine": "vllm"}),
    Row("4.3", "务必确保镜像中的 CUDA 版本与宿主机驱动兼容", "the driver's own CUDA first: torch of CUDA 12.4 on 550",
        {}, {"cuda": "12.4", "tier": "native"}),
    Row("4.3", "若主机 CUDA 驱动版本较低(<12.4),则无法运行cu126镜像",
        "not so: its torch is built for CUDA 12.4, and CUDA 12 starts on driver 525; it is warned about",
        {**OLD, "verl_image": FAST}, {"image": FAST, "tier": "minor", "warned": "minor-version compatibility"},
        {"gpu": "H100", "driver": "535.261.03"}),
    Row("4.3", "若使用旧版 PyTorch(<2.0),可能无法加载新版 vLLM", "engine and torch come together, in one image",
        {**OLD, "verl_engine": "vllm"}, {"engine": "vllm", "torch": "2.6.0"}),
    Row("4.3", "建议优先选择与你本地环境匹配的镜像", "native before minor-version compatibility, though verl is older",
        {}, {"tier": "native", "verl_version": "0.5.0"}),
    Row("7", "大模型训练(≥13B),需 Megatron 支持", "large_model: the image with Megatron and DeepSeek-V3",
        {**OLD, "verl_scenario": "large_model"}, {"image": LARGE, "trainer": "megatron", "engine": "vllm"}),
    Row("7", "大模型训练(≥13B),需 Megatron 支持", "large_model with today's release",
        {"verl_scenario": "large_model"}, {"image": "vllm024", "trainer": "megatron"}, NEW),
    Row("7", "高性能推理服务,追求低延迟", "fast_rollout: the image with FlashInfer",
        {**OLD, "verl_scenario": "fast_rollout"}, {"image": FAST, "trainer": "fsdp", "engine": "vllm"}),
    Row("7", "高性能推理服务,追求低延迟", "fast_rollout with today's release",
        {"verl_scenario": "fast_rollout"}, {"image": "vllm024", "engine": "vllm"}, NEW),
    Row("7", "快速验证算法逻辑,资源有限", "prototype: the light image",
        {**OLD, "verl_scenario": "prototype"}, {"image": LIGHT, "engine": "sglang"}),
    Row("7", "快速验证算法逻辑,资源有限", "prototype with today's release",
        {"verl_scenario": "prototype"}, {"image": "sgl0512", "engine": "sglang"}, NEW),
    Row("7", "无 Docker 权限,只能本地安装", "no Docker and no right to install it: from source",
        {}, {"backend": "source"}, {"gpu": "H100", "driver": "580.95.05", "docker": False, "sudo": False}),
)  # fmt: skip

PRECEDENCE = (
    Row("", "", "image before scenario", {**OLD, "verl_image": "hiyouga-vllm084-fi022", "verl_scenario": "prototype"},
        {"image": FAST, "engine": "vllm"}),
    Row("", "", "image before engine", {**OLD, "verl_image": "ocss884-sgl046p5", "verl_engine": "vllm"},
        {"image": LIGHT, "engine": "sglang", "warned": "comes before verl_engine vllm"}),
    Row("", "", "image before trainer", {**OLD, "verl_image": "ocss884-sgl046p5", "verl_trainer": "megatron"},
        {"image": LIGHT, "trainer": "fsdp", "warned": "comes before verl_trainer megatron"}),
    Row("", "", "scenario before trainer", {**OLD, "verl_scenario": "prototype", "verl_trainer": "megatron"},
        {"image": LIGHT, "trainer": "fsdp", "warned": "comes before verl_trainer megatron"}),
    Row("", "", "scenario before size", {**OLD, "verl_scenario": "prototype", "verl_model_params_b": 32},
        {"image": LIGHT, "warned": "comes before verl_model_params_b 32"}),
    Row("", "", "trainer before size", {**OLD, "verl_trainer": "fsdp", "verl_model_params_b": 32},
        {"trainer": "fsdp", "warned": "comes before verl_model_params_b 32"}),
    Row("", "", "size before algorithm", {**OLD, "verl_model_params_b": 32, "verl_algorithm": "dpo"},
        {"trainer": "megatron", "engine": "vllm", "warned": "comes before verl_algorithm dpo"}),
    Row("", "", "size before memory", {**OLD, "verl_model_params_b": 8},
        {"engine": "vllm", "warned": "GPU memory is tight"}, {"gpu": "RTX 4080", "driver": "550.163.01"}),
)  # fmt: skip

MARK = "<!-- generated from src/verl_provision/docs/seed_table.py; run: make docs -->"


def asked(row: Row) -> str:
    """The row's variables in a line."""
    return ", ".join(f"`{name}: {value}`" for name, value in row.requests.items()) or "none"


def answered(row: Row) -> str:
    """The row's answer in a line."""
    return ", ".join(f"{name} {value}" for name, value in row.answer.items())


def where(row: Row) -> str:
    """The row's machine in a line."""
    rights = ", no Docker, no sudo" if row.machine.get("docker") is False else ""
    return f"{row.machine['gpu']}, driver {row.machine['driver'].partition('.')[0]}{rights}"


def table() -> str:
    """Both tables as Markdown."""
    lines = ["| chapter | the guide says | the rule | machine | variables | answer |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {row.chapter} | {row.sentence} | {row.rule} | {where(row)} | {asked(row)} | {answered(row)} |"
        for row in ROWS
    ]
    lines += ["", "Where two variables ask for different things:", ""]
    lines += ["| first | machine | variables | answer |", "|---|---|---|---|"]
    lines += [f"| {row.rule} | {where(row)} | {asked(row)} | {answered(row)} |" for row in PRECEDENCE]
    return "\n".join(lines)


def pages(root: Path) -> dict[Path, str]:
    """docs/selection.md with its tables brought up to date; the rest of the page is written by hand."""
    path = root / "docs" / "selection.md"
    before, dummy, rest = path.read_text(encoding="utf-8").partition(MARK)
    after = rest.partition(MARK)[2]
    return {path: f"{before}{MARK}\n\n{table()}\n\n{MARK}{after}"}
