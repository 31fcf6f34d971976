"""What a rule says about a candidate: a rejection or a warning, always with the values."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Rejection:
    """The candidate can't be used on this host."""

    found: str
    needed: str
    fix: str
    hard: bool = False  # not even `verl_image_force` overrides it

    def row(self, candidate: str, rule: str) -> dict[str, Any]:
        """As the plan shows it."""
        return {"candidate": candidate, "rule": rule, "found": self.found, "needed": self.needed, "fix": self.fix}

    def error(self, rule: str, where: str | None = None) -> dict[str, Any]:
        """As an error of the host's plan."""
        return {"rule": rule, "found": self.found, "needed": self.needed, "where": where, "fix": self.fix}


@dataclass(frozen=True, slots=True)
class Warning:
    """The candidate can be used, but one should know."""

    message: str
    fix: str = ""
    conditional: bool = False  # only where some feature is used: no reason to prefer another candidate
    weakens: bool = False  # what is known of the release it follows is not known of this one

    def row(self, rule: str) -> dict[str, Any]:
        """As the plan shows it."""
        return {"rule": rule, "message": self.message, "fix": self.fix}


Finding = Rejection | Warning
