"""Check an overlay's entries against the schemas in catalog/schema/."""

from pathlib import Path
from typing import Any

from verl_provision import schemas
from verl_provision.catalog.errors import Fault

# section -> where its entries' schema is: the file, and the keys inside it
ENTRY = {
    "images": ("images.json", "$defs", "image"),
    "releases": ("releases.json", "$defs", "release"),
    "gpus": ("gpus.json", "properties", "products", "items"),
    "managers": ("managers.json", "properties", "managers", "items"),
}


def faults_of(section: str, entry: Any, file: str, item: str, folder: Path) -> list[Fault]:
    """What is wrong with one entry of a section."""
    name, *part = ENTRY[section]
    return [
        Fault(file, item, ".".join(problem.path), problem.found, problem.needed, problem.fix)
        for problem in schemas.problems(schemas.checker(folder / name, *part), entry)
    ]
