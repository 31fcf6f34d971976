"""The machine's own Docker Engine: reach it, or start one and remember that we did."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import docker

from lab import settings
from lab.machine import LabError, need
from lab.waiting import until

SOCKET = Path("/var/run/docker.sock")
PID_FILE = settings.CACHE / "dockerd.pid"  # exists while a dockerd that the lab started runs
LOG_FILE = settings.CACHE / "dockerd.log"


def running() -> bool:
    """Tell whether a Docker Engine answers."""
    try:
        return docker.from_env(timeout=5).ping()
    except (docker.errors.DockerException, OSError):
        return False


def ensure() -> bool:
    """Start the machine's Docker Engine where none runs; tell whether this call did."""
    if running():
        return False
    _start()
    return True


@cache
def client() -> docker.DockerClient:
    """Give a client of the machine's Docker Engine, started by us where none runs."""
    ensure()
    return docker.from_env(timeout=600)


def current(name: str, key: Callable[[], str]) -> bool:
    """Tell whether a container runs, and was made from what it would be made from today."""
    try:
        container = client().containers.get(name)
    except docker.errors.NotFound:
        return False
    return container.status == "running" and container.labels.get(settings.KEY) == key()


def _start() -> None:
    if os.geteuid():
        raise LabError("No Docker Engine answers. Start it (sudo systemctl start docker), or run the lab as root.")
    dockerd = need("dockerd", "docker.io")
    settings.CACHE.mkdir(parents=True, exist_ok=True)
    with LOG_FILE.open("ab") as log:
        started = subprocess.Popen([dockerd], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    PID_FILE.write_text(str(started.pid))

    def up() -> bool:
        if started.poll() is not None:
            tail = LOG_FILE.read_text(errors="replace")[-1500:]
            raise LabError(f"dockerd ended at once; {LOG_FILE} says:\n{tail}")
        return running()

    until("the Docker Engine to answer", up, 60)


def stop_if_ours() -> None:
    """End the dockerd that the lab started; leave any other alone, and one in which somebody's containers run."""
    if not PID_FILE.exists() or (running() and client().containers.list()):
        return
    pid = int(PID_FILE.read_text())
    process = Path(f"/proc/{pid}")

    def is_dockerd() -> bool:
        try:
            ended = "\nState:\tZ" in (process / "status").read_text()
            return not ended and "dockerd" in (process / "cmdline").read_text()
        except OSError:
            return False

    if is_dockerd():
        os.kill(pid, signal.SIGTERM)
        until("the lab's dockerd to end", lambda: not is_dockerd(), 60)
    PID_FILE.unlink()
    client.cache_clear()
    if not shutil.which("systemctl"):
        SOCKET.unlink(missing_ok=True)
