"""What a change of daemon.json needs to take effect: a reload, a restart, or nothing. Table: catalog/cuda.yml."""

from typing import Any

from verl_provision.decide import versions
from verl_provision.decide.junk import mapping, mappings, text
from verl_provision.decide.world import World

# Read by dockerd on SIGHUP on every engine (moby daemon/reload.go); the catalog's own list comes first.
ALSO_RELOADABLE = (
    "debug", "labels", "max-concurrent-downloads", "max-concurrent-uploads", "max-download-attempts",
    "authorization-plugins", "shutdown-timeout",
)  # fmt: skip
NOTHING, RELOAD, RESTART = "none", "reload", "restart"


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Keys of `wanted` that `found` has otherwise; `features.x` and `runtimes.x` one by one, other keys whole."""
    changed = []
    for name, value in wanted.items():
        if name in ("features", "runtimes") and isinstance(value, dict):
            have = mapping(found.get(name))
            changed += [f"{name}.{key}" for key, item in value.items() if have.get(key) != item]
        elif isinstance(value, list) and isinstance(found.get(name), list):
            changed += [name] if any(item not in found[name] for item in value) else []
        elif found.get(name) != value:
            changed.append(name)
    return changed


def action(name: str, engine: str | None, world: World) -> str:
    """`reload` or `restart` for one changed key on this engine version; unknown keys need a restart."""
    key = name.partition(".")[0]
    for row in mappings(world.docker.get("restart_needed")):
        if row.get("key") == name:
            until = text(row.get("until"))
            return RELOAD if until and engine and versions.compare(engine, until) >= 0 else RESTART
    since = text(mapping(world.docker.get("reloadable")).get(key))
    if since:
        return RELOAD if engine is None or versions.compare(engine, since) >= 0 else RESTART
    return RELOAD if key in ALSO_RELOADABLE else RESTART


def classify(found: dict[str, Any], wanted: dict[str, Any], engine: str | None, world: World) -> dict[str, Any]:
    """`{action, keys: {KEY: action}}`: what bringing `found` to `wanted` needs, the heaviest of its keys."""
    keys = {name: action(name, engine, world) for name in differences(found, wanted)}
    heaviest = RESTART if RESTART in keys.values() else RELOAD if keys else NOTHING
    return {"action": heaviest, "keys": keys}
