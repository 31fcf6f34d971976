"""Wishes as the decisions read them: typed, with `latest` and `auto` still in them."""

from typing import Any

from verl_provision.variables import Error, parse
from verl_provision.variables import Request as Wishes

__all__ = ["Wishes", "read"]


def read(raw: Any) -> tuple[Wishes, list[Error]]:
    """Typed wishes and the errors of those that were refused; any shape of input will do."""
    parsed = parse(raw if raw is not None else {})
    return Wishes.of(parsed.values), list(parsed.errors)
