"""Wait for something to become true, with a deadline."""

import threading
import time
from collections.abc import Callable
from typing import Any

from lab.machine import LabError


def until(what: str, check: Callable[[], Any], seconds: float = 60, every: float = 0.1) -> Any:
    """Ask `check` until it answers something true; after `seconds`, say what was waited for and the last answer."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        answer = check()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise LabError(f"Waited {seconds:.0f} s for {what}; last answer: {answer!r}")
        pause.wait(every)
