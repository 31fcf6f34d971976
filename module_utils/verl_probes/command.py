# Copyright the verl-provision authors
# SPDX-License-Identifier: Apache-2.0
"""Run an external command that may hang, and always come back."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time

MAX_OUTPUT = 1024 * 1024
GRACE = 2.0  # seconds that a killed command gets to go; one stuck in the kernel is left behind


class Result:
    """What became of a command. `rc` is None where it never started or was killed at the limit."""

    def __init__(self, argv, rc=None, stdout="", stderr="", timed_out=False, error=None, seconds=0.0):
        self.argv = argv
        self.rc = rc
        self.stdout = stdout
        self.stderr = stderr
        self.timed_out = timed_out
        self.error = error
        self.seconds = seconds

    @property
    def ok(self):
        return self.rc == 0

    def message(self):
        """The first line that says something, for a reason."""
        for text in (self.error or "", self.stderr, self.stdout):
            for line in text.splitlines():
                if line.strip():
                    return line.strip()[:300]
        return "exit status %s and no message" % self.rc


def _kill_group(process):
    """End the command and everything it started that stayed in its process group."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        # Gone already, or it belongs to root (sudo): the process itself is all that can be tried.
        with contextlib.suppress(OSError):
            process.kill()


def _drain(process):
    try:
        return process.communicate(timeout=GRACE)
    except (subprocess.TimeoutExpired, ValueError, OSError):
        for stream in (process.stdout, process.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.close()
        return b"", b""


def _text(data):
    return (data or b"")[:MAX_OUTPUT].decode("utf-8", "replace")


def run(argv, timeout=10.0, env=None, said=None):
    """Run argv without a terminal, in a process group of its own, for at most `timeout` seconds.

    Standard input has `said`, or nothing.
    """
    started = time.monotonic()
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL if said is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            cwd="/",
            start_new_session=True,
        )
    except (OSError, ValueError) as exc:
        return Result(argv, error="cannot run %s: %s" % (argv[0], getattr(exc, "strerror", None) or exc))
    timed_out = False
    try:
        stdout, stderr = process.communicate(None if said is None else said.encode(), timeout=timeout)
    except subprocess.TimeoutExpired:
        # A command that has ended, but left a child holding its output, did answer.
        timed_out = process.poll() is None
        _kill_group(process)
        stdout, stderr = _drain(process)
    return Result(
        argv,
        rc=None if timed_out else process.returncode,
        stdout=_text(stdout),
        stderr=_text(stderr),
        timed_out=timed_out,
        error="no answer within %g s" % timeout if timed_out else None,
        seconds=round(time.monotonic() - started, 3),
    )
