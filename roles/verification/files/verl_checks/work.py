"""Tools of the levels that really work: a folder of their own, programs in it, and a GPU that is free."""

import contextlib
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

from verl_checks.core import PROGRAMS, Skip, Wrong, no_gpu, smi

SPARE = 30  # seconds that a program has less than its check, so that it's the check that says what happened
NEEDED_MB = 6000  # what the tiny model's engine and trainer take, with CUDA's own


class Folder:
    """A folder in the temporary directory; removed unless something went wrong in it."""

    def __init__(self):
        # Below /tmp, whatever TMPDIR says: Ray's sockets need a short path.
        self.path = tempfile.mkdtemp(prefix="verl-verify-", dir="/tmp" if os.access("/tmp", os.W_OK) else None)
        for name, text in PROGRAMS.items():
            self.write(name, text)

    def write(self, name, text):
        with open(os.path.join(self.path, name), "w") as stream:
            stream.write(text)

    def python(self, request, name, *arguments, **environment):
        """Run one of the programs; returns its output."""
        return self.run(request, name, [sys.executable, os.path.join(self.path, name)] + list(arguments), environment)

    def run(self, request, name, words, environment):
        """Run a command with its output in a file here; raises Wrong where it fails. Returns the output."""
        log = os.path.join(self.path, os.path.splitext(name)[0] + ".log")
        seconds = max(5, request["work_timeout"] - SPARE)
        env = {key: value for key, value in os.environ.items() if key not in ("RAY_ADDRESS", "PYTHONSTARTUP")}
        env.update(environment)
        needed = "`%s` to end with exit status 0" % name
        with open(log, "wb") as stream:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                cwd=self.path,
                env=env,
                start_new_session=True,
            )
            try:
                status = process.wait(timeout=seconds)
            except subprocess.TimeoutExpired:
                status = None
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)  # whatever it left running
            process.wait()
        with open(log, "rb") as stream:
            text = stream.read().decode("utf-8", "replace")
        if status != 0:
            what = "no end within %d s" % seconds if status is None else "exit status %d" % status
            raise Wrong("%s: %s" % (what, telling(text)), needed, "read %s%s" % (log, inside()))
        return text

    def remove(self):
        shutil.rmtree(self.path, ignore_errors=True)


def telling(text):
    """The line of a log that says most: the last error, else the last line."""
    lines = [re.sub(r"\x1b\[[\d;]*m", "", line).strip() for line in text.splitlines()]
    lines = [line for line in lines if line]
    errors = [
        line for line in lines if re.match(r"(\([^)]*\) )?[\w.]*(Error|Exception|Interrupt)\b(?!.*Warning)", line)
    ]
    return ((errors or lines or ["no output"])[-1])[:400]


def inside():
    """Where a path is, for somebody outside."""
    marks = ("/.dockerenv", "/run/.containerenv", "/.singularity.d")
    return " (inside the container)" if any(os.path.exists(mark) for mark in marks) else ""


def on(gpu):
    """The environment in which CUDA sees that GPU only; numbered as nvidia-smi does."""
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": gpu["index"]}


def free_gpu(request):
    """The GPU to work on, {index, free_mb, total_mb}; skips where none is planned or free."""
    reason = no_gpu(request["expected"])
    if reason:
        raise Skip(reason)
    rows = smi("--query-gpu=index,memory.free,memory.total", "--format=csv,noheader,nounits").splitlines()
    gpus = []
    for row in rows:
        index, free, total = (part.strip() for part in row.split(","))
        if free.isdigit() and total.isdigit():
            gpus.append({"index": index, "free_mb": int(free), "total_mb": int(total)})
    if not gpus:
        raise Skip("nvidia-smi doesn't say how much memory is free, as with MIG: %s" % "; ".join(rows)[:200])
    best = max(gpus, key=lambda gpu: gpu["free_mb"])
    if best["free_mb"] < NEEDED_MB:
        text = "GPU %s has the most free memory, %d MB, and %d MB are needed" % (
            best["index"],
            best["free_mb"],
            NEEDED_MB,
        )
        raise Skip("no GPU is free: %s; verify again when what runs has ended" % text)
    return best


def share(gpu):
    """The part of a GPU's memory for an engine: enough for the tiny model, and not all."""
    return math.ceil(100 * min(0.5, max(0.1, 4000.0 / gpu["total_mb"]))) / 100
