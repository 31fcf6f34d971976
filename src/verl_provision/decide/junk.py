"""Read untrusted plain data without raising: facts of an odd host, a half-written catalog entry."""

from typing import Any


def mapping(value: Any) -> dict[str, Any]:
    """`value` if it's a dict, else an empty one."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """`value` if it's a list, else an empty one."""
    return value if isinstance(value, list) else []


def mappings(value: Any) -> list[dict[str, Any]]:
    """The dicts among the items of `value`."""
    return [item for item in items(value) if isinstance(item, dict)]


def text(value: Any) -> str | None:
    """`value` if it's a non-empty string, else None."""
    return value if isinstance(value, str) and value else None


def texts(value: Any) -> tuple[str, ...]:
    """The non-empty strings among the items of `value`."""
    return tuple(item for item in items(value) if isinstance(item, str) and item)


def number(value: Any) -> float | None:
    """`value` if it's a finite number (no boolean), else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) < 1e15 else None  # no NaN is


def whole(value: Any) -> int | None:
    """`value` as an int if it's a finite number, else None."""
    found = number(value)
    return None if found is None else int(found)


def flag(value: Any) -> bool | None:
    """`value` if it's a boolean, else None."""
    return value if isinstance(value, bool) else None
