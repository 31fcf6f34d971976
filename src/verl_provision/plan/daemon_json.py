"""What a change of daemon.json needs to take effect. The table is catalog/daemon_json.yml."""

from collections.abc import Iterable
from typing import Any

from verl_provision import versions
from verl_provision.decide.junk import mapping, text

NOTHING, RELOAD, RESTART, RESTART_IDLE = "none", "reload", "restart", "restart_idle"  # from light to heavy
WEIGHT = (NOTHING, RELOAD, RESTART, RESTART_IDLE)

Table = Iterable[dict[str, Any]]


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Keys of `wanted` that `found` has otherwise; `features.x` and `runtimes.x` one by one, other keys whole."""
    return [name for name, same in _compared(found, wanted) if not same]


def _compared(found: dict[str, Any], wanted: dict[str, Any]) -> list[tuple[str, bool]]:
    keys = []
    for name, value in wanted.items():
        if name in ("features", "runtimes") and isinstance(value, dict):
            have = mapping(found.get(name))
            keys += [(f"{name}.{key}", have.get(key) == item) for key, item in value.items()]
        elif isinstance(value, list) and isinstance(found.get(name), list):
            keys.append((name, all(item in found[name] for item in value)))
        else:
            keys.append((name, found.get(name) == value))
    return keys


def effect(name: str, engine: str | None, table: Table) -> str:
    """What one changed key needs on this engine. A key that nobody listed waits for an idle host."""
    rows = [row for row in table if row.get("key") == name] or [
        row for row in table if row.get("key") == name.partition(".")[0]
    ]
    if engine is None:
        return heaviest([str(row.get("effect")) for row in rows]) if rows else RESTART_IDLE
    holding = [row for row in rows if versions.compare(engine, text(row.get("since")) or "0") >= 0]
    newest = max(holding, key=lambda row: versions.key_or_zero(text(row.get("since")) or "0"), default={})
    return text(newest.get("effect")) or RESTART_IDLE


def heaviest(effects: Iterable[str]) -> str:
    """The one that brings all of them about."""
    return max(effects, key=lambda one: WEIGHT.index(one) if one in WEIGHT else len(WEIGHT), default=NOTHING)


def classify(found: dict[str, Any], wanted: dict[str, Any], engine: str | None, table: Table) -> dict[str, Any]:
    """`{action, keys: {KEY: effect}}`: what bringing `found` to `wanted` needs, the heaviest of its keys."""
    keys = {name: effect(name, engine, table) for name in differences(found, wanted)}
    return {"action": heaviest(keys.values()), "keys": keys}


def waiting(found: dict[str, Any], wanted: dict[str, Any], engine: str | None, table: Table) -> dict[str, str]:
    """`{KEY: effect}` of the wanted keys that are in the file and need more than a reload."""
    keys = {name: effect(name, engine, table) for name, same in _compared(found, wanted) if same}
    return {name: needs for name, needs in keys.items() if needs in (RESTART, RESTART_IDLE)}
