"""What all benchmarks share: contestants in turn, their CPU, medians with the machine beside them."""

import ctypes
import json
import os
import platform
import resource
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fleet

PR_SET_CHILD_SUBREAPER = 36
PEERS = fleet.BUILD / "peers"
PEER_PACKAGES = ("ansible-core==2.19.14", "mitogen==0.3.54", "pyinfra==3.10.0")


@dataclass
class Contestant:
    """One way to do the work. `good` tells from its output whether it did it."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    cwd: Path = fleet.ROOT
    good: Callable[[subprocess.CompletedProcess], bool] = lambda done: done.returncode == 0
    before: Callable[[], None] = lambda: None
    most_runs: int = 1000


def peers() -> Path:
    """The peers' own environment, from PyPI; never in the development requirements."""
    if not (PEERS / "bin/pyinfra").exists():
        subprocess.run(["python3", "-m", "venv", str(PEERS)], check=True)
        subprocess.run([str(PEERS / "bin/pip"), "install", "--quiet", *PEER_PACKAGES], check=True)
    return PEERS / "bin"


def target_cpu() -> float:
    """CPU seconds that the lab's host (sshd, its commands, dockerd) has used."""
    said = fleet.base("cat /sys/fs/cgroup/cpuacct/cpuacct.usage 2>/dev/null || cat /sys/fs/cgroup/cpu.stat")
    if said.startswith("usage_usec"):
        return int(said.split()[1]) / 1e6
    return int(said.split()[0]) / 1e9


def children() -> set[int]:
    """What this process started, or was left with."""
    return {int(child) for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


def reap(others: set[int]) -> None:
    """End what a contestant left behind (SSH masters), so that its CPU is counted and the next one starts cold.

    `others` are not its: the Docker Engine, where the benchmark had to start it.
    """
    for left in children() - others:
        os.kill(left, signal.SIGTERM)
    while left := children() - others:
        os.waitpid(left.pop(), 0)


def measure(contestant: Contestant) -> dict[str, Any]:
    """Run it once from cold."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    contestant.before()
    others = children()
    with tempfile.TemporaryDirectory(prefix="vb", dir="/tmp") as sockets:
        environment = {**os.environ, "ANSIBLE_SSH_CONTROL_PATH_DIR": sockets, **contestant.environment}
        target, start = target_cpu(), time.monotonic()
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            contestant.command, cwd=contestant.cwd, env=environment, capture_output=True, text=True, check=False
        )
        seconds = time.monotonic() - start
        reap(others)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        target = target_cpu() - target
    controller = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    good = contestant.good(done)
    if not good:
        (fleet.BUILD / "failed.txt").write_text(done.stdout + done.stderr)
        raise SystemExit(f"{contestant.name} did not do its work; see build/bench/failed.txt:\n{done.stdout[-1500:]}")
    return {"seconds": seconds, "controller_cpu": controller, "total_cpu": controller + target}


def interleave(contestants: list[Contestant], runs: int) -> dict[str, list[dict[str, Any]]]:
    """ABBA: forwards, then backwards, so that a drift of the machine meets all alike."""
    results: dict[str, list[dict[str, Any]]] = {contestant.name: [] for contestant in contestants}
    for turn in range(runs):
        for contestant in contestants if turn % 2 == 0 else contestants[::-1]:
            if turn < contestant.most_runs:
                results[contestant.name].append(measure(contestant))
                shown = {name: round(value, 1) for name, value in results[contestant.name][-1].items()}
                print(f"  run {turn + 1} {contestant.name}: {shown}", flush=True)
    return results


def middle(results: list[dict[str, Any]], key: str = "seconds") -> float:
    """The median."""
    return statistics.median(result[key] for result in results)


def table(results: dict[str, list[dict[str, Any]]], reference: str) -> None:
    """Medians with their range, and each one's ratio to the reference."""
    print(
        f"\n{'':26}{'wall s (min-max)':>24}{'controller CPU s':>18}{'total CPU s':>13}{'x ' + reference:>10}{'runs':>6}"
    )
    for name, measured in results.items():
        seconds = [result["seconds"] for result in measured]
        wall = f"{middle(measured):.1f} ({min(seconds):.1f}-{max(seconds):.1f})"
        ratio = middle(measured) / middle(results[reference])
        print(
            f"{name:26}{wall:>24}{middle(measured, 'controller_cpu'):>18.1f}{middle(measured, 'total_cpu'):>13.1f}"
            f"{ratio:>10.2f}{len(measured):>6}"
        )


def about(title: str, method: str) -> None:
    """Print what is measured, where and with what."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=fleet.ROOT, capture_output=True, text=True)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    print(f"{title}\n{method}")
    print(
        f"machine: {os.cpu_count()} cores, {memory:.0f} GB, kernel {platform.release()}, Python "
        f"{platform.python_version()}; hosts and controller share it; commit {commit.stdout.strip()}, "
        f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, load {os.getloadavg()[0]:.1f}",
        flush=True,
    )


def save(name: str, result: dict[str, Any]) -> None:
    """Keep the raw figures in build/bench."""
    path = fleet.BUILD / f"{name}.json"
    path.write_text(json.dumps({"load": os.getloadavg(), **result}, indent=2))
    print(f"load at the end {os.getloadavg()[0]:.1f}; raw figures: {path.relative_to(fleet.ROOT)}")


def need(program: str, package: str) -> str:
    """A program of this machine."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    if not found:
        raise SystemExit(f"{program} is missing. Install it: apt-get install {package}")
    return found
