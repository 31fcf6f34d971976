"""Put a user's own entries (`verl_catalog_extra`) over the catalog.

An entry that has an existing `id` or `ref` (images), `version` (releases) or `name` (GPU products, managers) changes
only the fields it gives; mappings inside are merged, lists are replaced. A new entry must be complete, but for what is
known of nobody's own image (DEFAULTS). The result is checked against the schemas.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from verl_provision.catalog import references
from verl_provision.catalog.errors import CatalogError, Fault
from verl_provision.catalog.validate import faults_of
from verl_provision.schemas import shown

# section of an overlay -> the keys that name an entry, first the one its messages use; images last: they name releases
NAMES = {"releases": ("version",), "gpus": ("name",), "managers": ("name",), "images": ("id", "ref")}
DEEPEST = 20
# What a new image needn't say. Everything that decides (CUDA, code, engines, releases, size) it must.
DEFAULTS: dict[str, Any] = {
    "registry": "docker.io", "digest": None, "vendor": "nvidia", "role": "own", "official": False,
    "introduced": None, "os": None, "megatron_core": None, "transformer_engine": None, "flash_attn": None,
    "flashinfer": None, "transformers": None, "tensordict": None, "transfer_queue": None, "cudnn": None, "deepep": None,
    "cxx11abi": None, "verl_inside": False, "compute_capabilities": {"ptx": None, "reason": "as its owner says"},
    "serves": {"tested": [], "documented": [], "floor_only": []}, "named_by": {"ci": [], "docs": []}, "scenarios": [],
    "model_families": [], "tags": ["own"], "inferred": [], "defects": [], "sources": ["verl_catalog_extra"],
    "size_gb": {"compressed": None, "unpacked": None, "estimate": None, "compressed_estimate": None,
                "source": "verl_catalog_extra"},
}  # fmt: skip


def apply(catalog: dict[str, Any], extra: Any, file: str, schemas: Path) -> dict[str, Any]:
    """The catalog with `extra` over it; `file` is how messages call it. Raises CatalogError with all faults."""
    extra = _plain(extra, file)
    if not isinstance(extra, dict):
        raise CatalogError([Fault(file, "", "", shown(extra), f"a mapping with {_or(NAMES)}")])
    faults = [
        Fault(file, "", key, "an unknown section", _or(NAMES)) for key in extra if key not in (*NAMES, "schema_version")
    ]
    if extra.get("schema_version", 1) != 1:
        faults.append(Fault(file, "", "schema_version", shown(extra["schema_version"]), "1"))
    result = copy.deepcopy(catalog)
    for section in NAMES:
        entries = extra.get(section)
        if entries is None:
            continue
        if not isinstance(entries, list):
            faults.append(Fault(file, "", section, shown(entries), "a list of entries"))
            continue
        target = result["gpus"]["products"] if section == "gpus" else result[section]
        touched = []
        for number, entry in enumerate(entries, 1):
            fault = _put(target, section, entry, f"{section} {number}", file, touched)
            if fault:
                faults.append(fault)
        faults += _check(result, target, section, touched, file, schemas)
    if faults:
        raise CatalogError(faults)
    return result


def _put(target: list, section: str, entry: Any, label: str, file: str, touched: list) -> Fault | None:
    """Merge one entry into its list; note its place in `touched`."""
    names = NAMES[section]
    if not isinstance(entry, dict):
        return Fault(file, label, "", shown(entry), "a mapping")
    given = {name: entry[name] for name in names if name in entry}
    if not given:
        return Fault(file, label, names[0], "nothing", f"its {_or(names)}")
    for name, value in given.items():
        if not isinstance(value, str) or not value:
            return Fault(file, label, name, shown(value), "text in quotes")
    if "ref" in given:
        entry = {**entry, "ref": references.short(entry["ref"])}
        given["ref"] = entry["ref"]
    places = {name: _place(target, name, value) for name, value in given.items()}
    place = next((place for place in places.values() if place is not None), None)
    if len({place for place in places.values() if place is not None}) > 1:
        found = ", ".join(f"{name} {value}" for name, value in given.items())
        return Fault(file, label, _or(names), found, f"{_or(names)} of one entry: these belong to two")
    if place is None:
        base = copy.deepcopy(DEFAULTS) if section == "images" else {}
        target.append(_merge(base, entry))
        place = len(target) - 1
    else:
        target[place] = _merge(target[place], {key: entry[key] for key in entry if key != "ref" or "id" in entry})
    touched.append(place)
    return None


def _place(target: list, name: str, value: str) -> int | None:
    return next((place for place, entry in enumerate(target) if entry.get(name) == value), None)


def _merge(below: dict, above: dict) -> dict:
    """`above` over `below`: mappings are merged, everything else is replaced."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _check(result: dict, target: list, section: str, touched: list[int], file: str, schemas: Path) -> list[Fault]:
    """What is wrong with the entries that were touched, and with the list as a whole."""
    name = NAMES[section][0]
    faults = []
    for place in dict.fromkeys(touched):
        faults += faults_of(
            section, target[place], file, str(target[place].get(name) or f"{section} {place + 1}"), schemas
        )
    if faults:
        return faults
    for key in NAMES[section]:
        seen: dict[str, int] = {}
        for entry in target:
            seen[entry[key]] = seen.get(entry[key], 0) + 1
        faults += [Fault(file, value, key, f"{count} entries", "one") for value, count in seen.items() if count > 1]
    if section == "images":
        known = {release["version"] for release in result["releases"]}
        for place in dict.fromkeys(touched):
            image = target[place]
            for kind in ("tested", "documented", "floor_only"):
                for version in image["serves"][kind]:
                    if version not in known:
                        needed = "a release of the catalog"
                        fix = f"Add it under `releases:`, or use one of {', '.join(sorted(known))}"
                        faults.append(Fault(file, image["id"], f"serves.{kind}", version, needed, fix))
    return faults


def _plain(value: Any, file: str, depth: int = 0) -> Any:
    """The value as plain lists and mappings with text keys."""
    if depth > DEEPEST:
        raise CatalogError([Fault(file, "", "", f"more than {DEEPEST} levels", "a catalog entry")])
    if isinstance(value, Mapping):
        if any(not isinstance(key, str) for key in value):
            odd = next(key for key in value if not isinstance(key, str))
            raise CatalogError(
                [Fault(file, "", shown(odd), type(odd).__name__, "a key that is text", "Put it in quotes")]
            )
        return {str(key): _plain(item, file, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, file, depth + 1) for item in value]
    return value


def _or(names: Any) -> str:
    return " or ".join(f"`{name}`" for name in names)
