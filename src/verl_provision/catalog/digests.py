"""Write digests and measured sizes into images.yml, and leave every other byte as it is."""

import re
from pathlib import Path
from typing import Any

import yaml

from verl_provision.catalog.errors import CatalogError, Fault
from verl_provision.catalog.yaml_file import Loader
from verl_provision.module_utils import files

START = re.compile(r"^  - id: (\S+)\s*$")
DIGEST = re.compile(r"^(    digest: )(\S+)(.*)$")
COMPRESSED = re.compile(r"^(      compressed: )(\S+)(.*)$")


def write(path: Path, found: dict[str, tuple[str, float | None]]) -> list[str]:
    """Set `digest` (and `size_gb.compressed`) of the images in `found`; returns the ids that changed."""
    before = path.read_text()
    after = edit(before, found)
    _only_these(path, before, after, found)
    if after == before:
        return []
    files.write(str(path), after, like=str(path))
    old = {image["id"]: image for image in _parsed(before)["images"]}
    return [image["id"] for image in _parsed(after)["images"] if image != old[image["id"]]]


def edit(text: str, found: dict[str, tuple[str, float | None]]) -> str:
    """The file's text with the new values."""
    lines, current = text.split("\n"), None
    for number, line in enumerate(lines):
        start = START.match(line)
        if start:
            current = start[1].strip("\"'")
        if current not in found:
            continue
        digest, size = found[current]
        if match := DIGEST.match(line):
            lines[number] = f"{match[1]}{digest}{match[3]}"
        elif size is not None and (match := COMPRESSED.match(line)):
            lines[number] = f"{match[1]}{size:g}{match[3]}"
    return "\n".join(lines)


def _parsed(text: str) -> Any:
    return yaml.load(text, Loader)


def _only_these(path: Path, before: str, after: str, found: dict[str, tuple[str, float | None]]) -> None:
    """Refuse to write a file in which anything else changed, or in which a digest didn't arrive."""
    old, new = _parsed(before), _parsed(after)
    for image in old["images"]:
        if image["id"] in found:
            image["digest"], size = found[image["id"]]
            if size is not None:
                image["size_gb"]["compressed"] = float(f"{size:g}")
    if old != new:
        fix = (
            "Each image needs the lines `  - id: X`, `    digest: ...` and `      compressed: ...`; see docs/catalog.md"
        )
        raise CatalogError(
            [Fault(str(path), "", "digest", "a layout that can't be edited in place", "the file's usual layout", fix)]
        )
