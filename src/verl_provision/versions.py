"""Compare versions of drivers, CUDA, verl and Python packages: numeric, component by component."""

import re
from functools import lru_cache

_VERSION = re.compile(r"v?(\d{1,18}(?:\.\d{1,18})*)(?:[.\-_+]?([a-z]+)[.\-_]?(\d{0,18}))?", re.ASCII | re.IGNORECASE)
_CLAUSE = re.compile(r"\s*(==|!=|<=|>=|<|>|~=)\s*([^\s,]+)\s*")
_BEFORE_RELEASE = {"dev", "a", "alpha", "b", "beta", "rc", "c", "pre", "preview"}

Key = tuple[tuple[int, ...], int, int]


@lru_cache(maxsize=4096)
def key(version: str) -> Key | None:
    """A sortable key, or None for what isn't a version: `0.8.5 < 0.8.5.post1 < 0.8.10`, `0.14.0rc7 < 0.14.0`.

    Missing components are zeros; a local part (`+cu124`) says nothing about the order.
    """
    match = _VERSION.match(version)
    if match is None:
        return None
    numbers = [int(part) for part in match[1].split(".")]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    word = (match[2] or "").lower()
    phase = -1 if word in _BEFORE_RELEASE else int(word == "post")
    return tuple(numbers), phase, int(match[3] or 0) if phase else 0


def key_or_zero(version: str) -> Key:
    """A sortable key; what isn't a version sorts before every version."""
    return key(version) or ((-1,), 0, 0)


def compare(left: str, right: str) -> int:
    """-1, 0 or 1. What isn't a version sorts before every version."""
    first, second = key(left), key(right)
    if first is None or second is None:
        return (first is not None) - (second is not None)
    return (first > second) - (first < second)


def at_least(version: str, floor: str) -> bool:
    """Whether `version` >= `floor`."""
    return compare(version, floor) >= 0


@lru_cache(maxsize=4096)
def satisfies(version: str, specifier: str) -> bool:
    """Whether `version` meets every clause of a specifier such as `>=3.10,<3.13,!=3.11.*`.

    An empty specifier is met by anything; a clause that can't be read is met by nothing.
    """
    clauses = [clause for clause in specifier.split(",") if clause.strip()]
    return all(_clause_met(version, clause) for clause in clauses)


def _clause_met(version: str, clause: str) -> bool:
    match = _CLAUSE.fullmatch(clause)
    if match is None:
        return False
    operator, wanted = match[1], match[2]
    if wanted.endswith(".*"):
        prefix = numbers(wanted[:-2])
        same = numbers(version)[: len(prefix)] == prefix
        return same if operator == "==" else (not same if operator == "!=" else False)
    if key(wanted) is None:
        return False
    order = compare(version, wanted)
    if operator == "~=":
        prefix = numbers(wanted)[:-1]
        return order >= 0 and numbers(version)[: len(prefix)] == prefix
    return {
        "==": order == 0,
        "!=": order != 0,
        "<=": order <= 0,
        ">=": order >= 0,
        "<": order < 0,
        ">": order > 0,
    }[operator]


@lru_cache(maxsize=4096)
def numbers(version: str) -> tuple[int, ...]:
    """The numeric components as written: `3.10.0` -> (3, 10, 0)."""
    match = _VERSION.match(version)
    return tuple(int(part) for part in match[1].split(".")) if match else ()


@lru_cache(maxsize=4096)
def major(version: str) -> str:
    """The first component: the branch of a driver (`550.163.01` -> `550`), the major of a CUDA."""
    return str(numbers(version)[0]) if numbers(version) else ""


@lru_cache(maxsize=4096)
def minor(version: str) -> str:
    """The first two components: `12.4.1` -> `12.4`, `13` -> `13.0`."""
    parts = (*numbers(version), 0, 0)[:2]
    return f"{parts[0]}.{parts[1]}" if numbers(version) else ""


def gap(newer: str, older: str) -> tuple[int, int]:
    """How far `newer`'s CUDA minor is ahead of `older`'s: (majors, minors), smaller is nearer."""
    ahead, behind = numbers(minor(newer)), numbers(minor(older))
    if not ahead or not behind:
        return (99, 0)
    return (ahead[0] - behind[0], ahead[1] - behind[1] if ahead[0] == behind[0] else ahead[1])


def without_v(version: str) -> str:
    """`v0.9.0` -> `0.9.0`."""
    return version[1:] if version[:1] in "vV" and version[1:2].isdigit() else version
