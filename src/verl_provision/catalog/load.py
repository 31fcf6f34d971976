"""Load the catalog as plain data. Needs PyYAML only; an overlay (`extra`) needs jsonschema too, to be checked."""

import copy
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from verl_provision.catalog import overlay, patches
from verl_provision.catalog.errors import CatalogError, Fault
from verl_provision.catalog.yaml_file import read
from verl_provision.paths import CATALOG
from verl_provision.schemas import shown

# file -> the key its content has in the catalog, or None where the whole file is the value
FILES = {
    "images": "images",
    "releases": "releases",
    "cuda": None,
    "gpus": None,
    "vendors": None,
    "thresholds": "thresholds",
    "managers": "managers",
    "daemon_json": "keys",
    "distributions": "distributions",
}
KEPT = 8  # catalogs in the cache: one run needs one

_cache: dict[tuple, dict[str, Any]] = {}


def load(root: str | os.PathLike | None = None, extra: Any = ()) -> dict[str, Any]:
    """The catalog: {images, releases, cuda, gpus, vendors, thresholds, managers, daemon_json,
    distributions}.

    `root` is the folder of the files, or a folder that has them in catalog/. `extra` is what `verl_catalog_extra`
    holds: a file, a mapping, or a list of both; see overlay.py. Raises CatalogError.
    """
    folder = _folder(root)
    overlays = _listed(extra)
    catalog = _base(folder)
    known = patches.listed(catalog["images"])
    for number, item in enumerate(overlays, 1):
        if isinstance(item, Path):
            catalog = overlay.apply(catalog, read(item), str(item), folder / "schema")
        else:
            catalog = overlay.apply(catalog, item, f"verl_catalog_extra, item {number}", folder / "schema")
    patches.inherit(catalog, known)
    return catalog


def _base(folder: Path) -> dict[str, Any]:
    """Our own files; a copy of what is cached while they stay as they were."""
    key = tuple(_stamp(folder / f"{name}.yml") for name in FILES)
    if key not in _cache:
        while len(_cache) >= KEPT:
            del _cache[next(iter(_cache))]
        _cache[key] = {name: _file(folder / f"{name}.yml", part) for name, part in FILES.items()}
    return copy.deepcopy(_cache[key])


def _folder(root: str | os.PathLike | None) -> Path:
    if root is None:
        return CATALOG
    folder = Path(root)
    inner = folder / "catalog"
    return inner if (inner / "images.yml").is_file() else folder


def _file(path: Path, part: str | None) -> Any:
    """The content of one of our own files. Its details are the tests' business; its shape is checked here."""
    content = read(path)
    if not isinstance(content, dict):
        raise CatalogError([Fault(str(path), "", "", shown(content), "a mapping")])
    if part is None:
        return content
    entries = content.get(part)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise CatalogError([Fault(str(path), "", part, shown(entries), "a list of mappings")])
    return entries


def _listed(extra: Any) -> list[Path | Mapping]:
    """`extra` as a list of files and mappings."""
    if extra is None:
        return []
    if isinstance(extra, str | os.PathLike | Mapping):
        extra = [extra]
    if not isinstance(extra, Iterable):
        raise CatalogError([Fault("verl_catalog_extra", "", "", shown(extra), "a file, or a list of files")])
    found: list[Path | Mapping] = []
    for number, item in enumerate(extra, 1):
        if isinstance(item, Mapping):
            found.append(item)
        elif isinstance(item, str | os.PathLike) and item and "\0" not in os.fspath(item):
            found.append(Path(item).expanduser())
        else:
            fault = Fault("verl_catalog_extra", f"item {number}", "", shown(item), "the name of a file, or a mapping")
            raise CatalogError([fault])
    return found


def _stamp(path: Path) -> tuple[str, int, int]:
    try:
        seen = path.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CatalogError([Fault(str(path), "", "", reason, "a file that can be read")]) from None
    return str(path), seen.st_mtime_ns, seen.st_size
