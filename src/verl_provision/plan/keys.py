"""The key of a step: a hash of what it is asked to bring about."""

import hashlib
import json
from typing import Any

# What became of people's files came after 0.1.0: no reason to make a container of that version anew.
FILES = frozenset({"home", "home_mounts", "discard_kept"})
# How a step goes about it, not what it brings about.
NOT_CONTENT = FILES | frozenset(
    {
        "become",
        "root_become",
        "linger",
        "state_dir",
        "allowed",
        "because",
        "disruption_allowed",
        "restart_running",
        "existing_source",
        "install",
        "distribution",
        "codename",
        "allow_disruption",
        "nodes",
        "node_key",
        "set_proxy",
    }
)
SAME_GPUS = {"gpus_all": "all", "runtime_env": "all"}  # two ways to ask for the same devices


def digest(value: Any) -> str:
    """SHA-256 of canonical JSON."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


def step_key(step: str, args: dict[str, Any]) -> str:
    """The key of a step with these arguments."""
    content = {name: value for name, value in args.items() if name not in NOT_CONTENT}
    if content.get("gpu_request") in SAME_GPUS:
        content["gpu_request"] = SAME_GPUS[content["gpu_request"]]
    return digest([step, content])
