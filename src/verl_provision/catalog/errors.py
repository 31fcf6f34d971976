"""What is wrong with a catalog or an overlay: where, what was found, what is needed."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong, and where."""

    file: str
    item: str
    field: str
    found: str
    needed: str
    fix: str = ""

    def __str__(self) -> str:
        where = ": ".join(part for part in (self.file, self.item, self.field) if part)
        fix = f". {self.fix}" if self.fix else ""
        return f"{where}: found {self.found}, needed {self.needed}{fix}"


class CatalogError(Exception):
    """All that is wrong at once. `file`, `item`, `field`, `found`, `needed` and `fix` are those of the first fault."""

    def __init__(self, faults: Iterable[Fault]):
        self.faults = tuple(faults)
        first = self.faults[0]
        self.file, self.item, self.field = first.file, first.item, first.field
        self.found, self.needed, self.fix = first.found, first.needed, first.fix
        super().__init__("\n".join(str(fault) for fault in self.faults))
