"""Which code runs on which GPU: the rule that PyTorch itself uses (torch/cuda/__init__.py)."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any


@dataclass(frozen=True, slots=True)
class Sass:
    """The exceptions to the rule of families (catalog/cuda.yml)."""

    exclusions: dict[str, tuple[str, ...]] = field(default_factory=dict)  # code -> GPUs it must not be used on
    only: dict[str, tuple[str, ...]] = field(default_factory=dict)  # code -> the only GPUs it runs on
    known: dict[Any, str | None] = field(default_factory=dict, compare=False)  # answers of code_for


def runs(code: str, capability: str, sass: Sass) -> bool:
    """Whether machine code for `code` runs on a GPU of `capability`: the same family, and not newer."""
    if code in sass.only:
        return capability in sass.only[code]
    if capability in sass.exclusions.get(code, ()):
        return False
    family, minor = split(code)
    gpu_family, gpu_minor = split(capability)
    return family is not None and family == gpu_family and minor <= gpu_minor


@lru_cache(maxsize=1024)
def split(capability: str) -> tuple[int | None, int]:
    """`12.0` -> (12, 0)."""
    family, dummy, minor = capability.partition(".")
    if not (family.isascii() and family.isdigit()):
        return None, 0
    digits = minor if minor.isascii() and minor.isdigit() else "0"
    return int(family[:9]), int(digits[:9])


def code_for(capability: str, codes: tuple[str, ...], ptx: str | None, sass: Sass) -> str | None:
    """`sass` where machine code fits, `ptx` where it would be compiled from PTX, None where nothing runs."""
    asked = capability, codes, ptx
    if asked not in sass.known:
        sass.known[asked] = _code_for(*asked, sass)
    return sass.known[asked]


def _code_for(capability: str, codes: tuple[str, ...], ptx: str | None, sass: Sass) -> str | None:
    if any(runs(code, capability, sass) for code in codes):
        return "sass"
    if ptx and split(ptx)[0] is not None and split(capability)[0] is not None and split(ptx) <= split(capability):
        return "ptx"
    return None
