"""The one matcher of accelerator names: what a vendor's tool prints, or what a person types."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, TypeVar

T = TypeVar("T")
Names = dict[tuple[str, ...], T]

LONGEST = 24  # words; a product's name has fewer
NO_PART_OF_IT = re.compile(r"nvidia|amd|huawei|geforce|tesla|instinct|ascend|\d+gb")  # said of many products


@lru_cache(maxsize=4096)
def words(name: str) -> tuple[str, ...]:
    """`NVIDIA A100-SXM4-80GB` -> nvidia, a100, sxm4, 80gb."""
    return tuple(re.findall(r"[a-z0-9]+", name.lower()))


def index(named: Iterable[tuple[Iterable[str], T]]) -> Names[T]:
    """`(its names, what they mean)` as `find` wants it; where two have a name, the first keeps it."""
    found: Names[T] = {}
    for names, value in named:
        for name in names:
            found.setdefault(words(name), value)
    return found


def find(name: str, known: Names[T]) -> T | None:
    """What is called by the longest run of words in `name`; else what `name` is, written in one (`rtx4090`)."""
    spelled = words(name)[:LONGEST]
    for length in range(len(spelled), 0, -1):
        for start in range(len(spelled) - length + 1):
            if spelled[start : start + length] in known:
                return known[spelled[start : start + length]]
    whole = _together(spelled)
    return next((value for alias, value in known.items() if whole and _together(alias) == whole), None)


@lru_cache(maxsize=4096)
def _together(spelled: tuple[str, ...]) -> str:
    return "".join(word for word in spelled if not NO_PART_OF_IT.fullmatch(word))


def is_a(name: str, product: str) -> bool:
    """Whether something called `name` is a `product`: all its words, in a row."""
    spelled, wanted = words(name), words(product)
    return any(spelled[start : start + len(wanted)] == wanted for start in range(len(spelled)))


def gpu(catalog: dict[str, Any], name: str) -> dict[str, Any] | None:
    """The entry of catalog/gpus.yml that a name means."""
    return find(name, index(((entry["name"], *entry["aliases"]), entry) for entry in catalog["gpus"]["products"]))
