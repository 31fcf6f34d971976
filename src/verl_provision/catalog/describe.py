"""A catalog entry of an image that nobody described yet, from what its registry says of it; the rest is marked."""

import re
from typing import Any

import yaml

UNKNOWN = "unknown"  # no version: a catalog with it is refused by name until a person has filled it in
UNPACKED = 2.2  # times the download: vllm020.dev1 has 24 GB on disk of 11 GB pulled
# field -> what a build's command calls it, before `==1.2`, `-1.2` of a wheel's name, or `.git@v1.2`
PACKAGES = {
    "torch": "torch", "vllm": "vllm", "sglang": "sglang", "megatron_core": "megatron[-_](?:core|lm)",
    "transformer_engine": "transformer[-_]?engine", "flash_attn": "flash[-_]attn", "flashinfer": "flashinfer[-_]python",
    "transformers": "transformers", "tensordict": "tensordict", "transfer_queue": "transfer[-_]?queue",
}  # fmt: skip
REQUIRED = ("torch",)
ENGINES = ("vllm", "sglang")


def entry(reference: tuple[str, str, str], arch: str, found: dict[str, Any], catalog: dict[str, Any]) -> dict[str, Any]:
    """The overlay's entry of (registry, repository, tag), from what `manifest` of the registry client found."""
    registry, repository, tag = reference
    environment = dict(line.partition("=")[::2] for line in found["env"])
    commands = _commands(found["history"], environment)
    versions = {field: _version(name, commands) for field, name in PACKAGES.items()}
    toolkit = environment.get("CUDA_VERSION", UNKNOWN)
    torch_cuda = _torch_cuda(commands)
    python = re.match(r"3\.[0-9]+", environment.get("PYTHON_VERSION", ""))
    gb = round((found["compressed_bytes"] or 0) / 1e9, 2)
    return {
        "id": re.sub(r"[^a-z0-9]+", "-", f"{repository.rpartition('/')[2]}-{tag}".lower()).strip("-"),
        "ref": f"{repository}:{tag}",
        "registry": registry,
        "digest": found["digest"],
        "arch": [arch],
        "python": python[0] if python else UNKNOWN,
        "cuda": {"toolkit": toolkit, "torch": torch_cuda or UNKNOWN},
        "engines": {name: versions[name] for name in ENGINES if versions[name]} or UNKNOWN,
        "trainers": ["fsdp", "megatron"] if versions["megatron_core"] else ["fsdp"],
        **{name: versions[name] or UNKNOWN for name in REQUIRED},
        **{name: version for name, version in versions.items() if version and name not in (*ENGINES, *REQUIRED)},
        "compute_capabilities": _code(arch, torch_cuda, versions, catalog["cuda"]),
        "serves": {"floor_only": UNKNOWN},
        "size_gb": {"compressed": gb or None, "estimate": round(gb * UNPACKED) or UNKNOWN},
        "sources": [f"env and history in the configuration of {found['digest']}"],
    }


def overlay(image: dict[str, Any]) -> str:
    """The entry as a file for `verl_catalog_extra`."""
    missing = unknown(image)
    head = [
        "# Made by `verl-provision catalog add` from the image's manifest, environment and build history.",
        "# What a build's commands name may be replaced later in the build: compare with `pip list` in the image.",
    ]
    if missing:
        head.append(
            f"# Fill in, or the file is refused: {', '.join(missing)}. `serves`: the releases of verl you tried on it."
        )
    body = yaml.safe_dump({"schema_version": 1, "images": [image]}, sort_keys=False, width=120)
    return "\n".join([*head, body])


def unknown(value: Any, path: str = "") -> list[str]:
    """The fields that a person has to fill in."""
    if value == UNKNOWN:
        return [path]
    if not isinstance(value, dict):
        return []
    return [name for key, part in value.items() for name in unknown(part, f"{path}.{key}" if path else key)]


def _commands(history: list[str], environment: dict[str, str]) -> str:
    """The build's commands, with the values of arguments and environment in the place of their names."""
    text = "\n".join(history)
    named = {**environment, **dict(re.findall(r"(?:^|[\s|])([A-Z][A-Z0-9_]*)=([\w.+-]+)", text))}
    return re.sub(r"\$\{?([A-Z][A-Z0-9_]*)\}?", lambda match: named.get(match[1], match[0]), text)


def _version(name: str, commands: str) -> str | None:
    """The version of a package that the build's commands name last."""
    pin = rf"(?<![\w-]){name}(?:\[[\w,-]+\])?(?:==|-(?=[0-9])|\.git@(?:core_|release_)?v?)([0-9]+(?:\.[0-9a-z]+)*)"
    found = re.findall(pin, commands, re.IGNORECASE)
    return found[-1] if found else None


def _torch_cuda(commands: str) -> str | None:
    """The CUDA of torch's wheel: `torch==2.6.0+cu124`, or the index it came from."""
    found = re.findall(r"torch==[0-9.]+\+cu([0-9]{3})\b", commands) or re.findall(r"/whl/cu([0-9]{3})\b", commands)
    return f"{found[-1][:2]}.{found[-1][2]}" if found else None


def _code(arch: str, cuda: str | None, versions: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    """The GPUs that torch's wheel has code for."""
    wheel = known["wheel_arches"].get("cu" + (cuda or "").replace(".", ""))
    if wheel is None or not versions["torch"]:
        return {"sass": UNKNOWN, "minimum": UNKNOWN}
    minor = ".".join(versions["torch"].split(".")[:2])
    sass = wheel["by_torch"].get(minor, wheel)[arch]
    flash = known["library_minimum"]["flash_attn_2"]["compute_capability"]
    if versions["flash_attn"]:
        minimum = {"value": flash, "because": f"flash-attn 2 has no code below {flash}"}
    else:
        minimum = {"value": sass[0], "because": f"torch's wheel has no code below {sass[0]}"}
    return {"sass": sass, "ptx": wheel["ptx"], "minimum": minimum}
