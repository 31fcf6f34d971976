"""Machines, requests and catalogs for property tests: sensible ones, and junk in their shape."""

import json
from functools import cache
from typing import Any

from hypothesis import strategies as st

from tests.unit.decide.machines import ROOT, loaded, machine

GPUS = (
    "H100",
    "H200",
    "A100",
    "A800",
    "L40S",
    "RTX 4090",
    "RTX 5090",
    "B200",
    "B300",
    "V100",
    "T4",
    "P100",
    "GB10",
    "L4",
)
DRIVERS = (
    "450.80.02", "470.256.02", "525.60.12", "525.60.13", "535.261.03", "545.23.08", "550.163.01", "555.42.06",
    "560.35.05", "565.57.01", "570.124.06", "575.57.08", "580.65.06", "590.48.01", "595.71.05", "601.1", "610.43.02",
    "620.1",
)  # fmt: skip


@cache
def schema(name: str) -> dict[str, Any]:
    """A schema of the project."""
    return json.loads((ROOT / "catalog" / "schema" / f"{name}.json").read_text())


@st.composite
def machines(draw: st.DrawFn, drivers: Any = None) -> dict[str, Any]:
    """A machine that could be."""
    gpu = draw(st.sampled_from((*GPUS, None)))
    facts = machine(
        gpu,
        draw(drivers if drivers is not None else st.sampled_from(DRIVERS)),
        docker=draw(st.booleans()),
        sudo=draw(st.booleans()),
    )
    if gpu and draw(st.booleans()):
        facts["nvidia"]["gpus"][-1] |= draw(
            st.sampled_from(
                (
                    {"name": "Tesla T4", "compute_capability": "7.5"},
                    {"name": "NVIDIA A800-SXM4-80GB", "compute_capability": "8.0"},
                    {"name": "unheard of", "compute_capability": None},
                    {"mig": "enabled", "mig_devices": 2},
                )
            )
        )
    free = draw(st.sampled_from((0.5, 20.0, 60.0, 2000.0, None)))
    facts["disk"]["engine_root"] = (
        None if free is None else {"path": "/var/lib/docker", "free_gb": free, "total_gb": free}
    )
    facts["engines"]["docker"]["running"] = draw(
        st.sampled_from(([], [{"id": "f" * 12, "name": "somebodys", "image": "x"}]))
    )
    facts["arch"] = draw(st.sampled_from((facts["arch"], "x86_64", "aarch64")))
    return facts


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    """Requests that are valid, a few at a time."""
    images = [image["id"] for image in loaded()["images"]]
    releases = [release["version"] for release in loaded()["releases"]]
    chosen = {
        "verl_version": st.sampled_from(["auto", "latest", *releases]),
        "verl_engine": st.sampled_from(["auto", "vllm", "sglang", "none"]),
        "verl_trainer": st.sampled_from(["auto", "fsdp", "megatron"]),
        "verl_scenario": st.sampled_from(["auto", "large_model", "fast_rollout", "prototype"]),
        "verl_model_params_b": st.sampled_from([None, 0.5, 7, 8, 13, 671]),
        "verl_model_family": st.sampled_from([None, "deepseek-v3", "qwen3"]),
        "verl_algorithm": st.sampled_from(["ppo", "grpo", "dpo", "sft"]),
        "verl_nnodes": st.sampled_from([1, 2, 16]),
        "verl_backend": st.sampled_from(["auto", "docker", "podman", "apptainer", "source"]),
        "verl_driver_policy": st.sampled_from(["auto", "native", "minor", "compat"]),
        "verl_image": st.sampled_from([None, *images]),
        "verl_image_force": st.booleans(),
        "verl_allow_disruption": st.booleans(),
    }
    names = draw(st.lists(st.sampled_from(sorted(chosen)), max_size=4, unique=True))
    return {name: draw(chosen[name]) for name in names}


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def spoiled(draw: st.DrawFn, whole: Any) -> Any:
    """`whole` with junk in up to four places."""
    copy = json.loads(json.dumps(whole))
    for _ in range(draw(st.integers(1, 4))):
        _spoil(draw, copy)
    return copy


def _spoil(draw: st.DrawFn, value: Any) -> None:
    """Walk down a random path and put junk at its end, or take something away."""
    for _ in range(draw(st.integers(1, 6))):
        keys = sorted(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
        if not keys:
            return
        key = draw(st.sampled_from(keys))
        if isinstance(value[key], dict | list) and value[key] and draw(st.integers(0, 3)):
            value = value[key]
            continue
        if draw(st.booleans()) and isinstance(value, dict):
            del value[key]
        else:
            value[key] = draw(JUNK)
        return


def from_schema(name: str) -> st.SearchStrategy:
    """Values of a schema's shape: types, enums, nulls, lengths; patterns become text."""
    whole = schema(name)
    return _of(whole, whole)


def _of(about: dict[str, Any], root: dict[str, Any]) -> st.SearchStrategy:
    if "$ref" in about:
        node: Any = root
        for part in about["$ref"].removeprefix("#/").split("/"):
            node = node[part]
        return _of(node, root)
    if "const" in about:
        return st.just(about["const"])
    if "enum" in about:
        return st.sampled_from(about["enum"])
    for key in ("oneOf", "anyOf"):
        if key in about:
            return st.one_of(*(_of(choice, root) for choice in about[key]))
    kinds = about.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    return st.one_of(*(_simple(kind, about, root) for kind in kinds)) if kinds else JUNK


def _simple(kind: str, about: dict[str, Any], root: dict[str, Any]) -> st.SearchStrategy:
    if kind == "object":
        known = {name: _of(value, root) for name, value in about.get("properties", {}).items()}
        more = about.get("additionalProperties")
        if known or not isinstance(more, dict):
            return st.fixed_dictionaries(known)
        return st.dictionaries(st.text(max_size=6), _of(more, root), max_size=2)
    if kind == "array":
        return st.lists(_of(about.get("items", {}), root), max_size=3)
    versions = st.sampled_from(("", "0", "12.4", "3.12.3", "580.95.05", "550.163.01", "9.0", "x86_64", "é", "-1.5rc2"))
    return {
        "null": st.none(),
        "boolean": st.booleans(),
        "integer": st.integers(-1, 10**12),
        "number": st.integers(-1, 10**6) | st.floats(0, 1e9),
        "string": versions | st.text(max_size=8),
    }[kind]
