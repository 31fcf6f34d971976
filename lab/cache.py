"""Build steps, kept by the hash of what they are made from."""

import ast
import fcntl
import hashlib
import logging
import os
import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from lab import settings

log = logging.getLogger("lab")


def _content(path: Path) -> bytes:
    """Give what counts of a file: of a Python program what it does, not how it's laid out."""
    data = path.read_bytes()
    return ast.dump(ast.parse(data)).encode() if path.suffix == ".py" else data


def digest_of(*inputs: object) -> str:
    """Hash texts and files (folders with all they hold) to a short key."""
    total = hashlib.sha256()
    for item in inputs:
        if isinstance(item, Path):
            for path in sorted(item.rglob("*")) if item.is_dir() else [item]:
                if path.is_file() and "__pycache__" not in path.parts:
                    total.update(f"{path.name}\0{path.stat().st_mode & 0o111}\0".encode() + _content(path))
        else:
            total.update(repr(item).encode())
        total.update(b"\1")
    return total.hexdigest()[:16]


_building = defaultdict(threading.Lock)  # one for each target: several threads may want the same part


def step(name: str, inputs: list[object], make: Callable[[Path], None]) -> Path:
    """Give the folder that `make` fills, from the cache where the same inputs were seen before."""
    target = settings.CACHE / "steps" / name / digest_of(*inputs)
    with _building[target]:
        if not target.exists():
            _make(name, target, make)
        os.utime(target)  # when it was last wanted, for `prune`
    return target


def prune(keep: int = 1) -> None:
    """Forget what wasn't wanted lately: of each step, all but the last `keep` results."""
    for name in (settings.CACHE / "steps").iterdir():
        for old in sorted(name.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)[keep:]:
            shutil.rmtree(old, ignore_errors=True)


def _make(name: str, target: Path, make: Callable[[Path], None]) -> None:
    started = time.monotonic()
    log.info("build  %s ...", name)
    for stale in target.parent.glob(f"{target.name}.*"):  # of a build that was killed; `locked` lets one build
        shutil.rmtree(stale, ignore_errors=True)
    unfinished = target.with_suffix(f".{os.getpid()}")
    unfinished.mkdir(parents=True)
    try:
        make(unfinished)
        unfinished.rename(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    log.info("built  %s in %.0f s", name, time.monotonic() - started)


def locked() -> AbstractContextManager[None]:
    """Let one command run at a time on what every lab of this machine shares: the cache and the Docker Engine."""
    return _lock("lock")


def locked_lab() -> AbstractContextManager[None]:
    """Let one command run at a time on this lab: its names and addresses exist once."""
    return _lock(f"lock.{settings.NETWORK}")


def locked_packages() -> AbstractContextManager[None]:
    """Let one command install packages on this machine at a time: apt waits for itself, but not for its lists."""
    return _lock("lock.packages")


@contextmanager
def _lock(name: str) -> Iterator[None]:
    settings.CACHE.mkdir(parents=True, exist_ok=True)
    with (settings.CACHE / name).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
