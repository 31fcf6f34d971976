"""`verl-provision verify` finds what broke since the hosts were verified: each fault by the id of its check."""

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from lab import hosts, network, topology
from tests.lab.fleet import ROOT, play, report, states

pytestmark = pytest.mark.lab

CHECKOUT = "/home/ops/verl/src"


@pytest.fixture(scope="module", autouse=True)
def verified():
    """Hosts that were taken up."""
    run = play("site.yml")
    assert run.returncode == 0, run.stdout


def verify(*arguments: str) -> subprocess.CompletedProcess:
    """The command as a user types it, in a pipe."""
    program = Path(sys.executable).parent / "verl-provision"
    request = f"run_report_directory={ROOT}/build/lab/reports"
    argv = [program, "verify", "-i", "inventories/lab", "--want", request, *arguments]
    return subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)


def failed_checks() -> dict[str, list[str]]:
    """The failed checks of each host, by id."""
    checks = {name: host["checks"] for name, host in report()["hosts"].items()}
    return {name: [check["id"] for check in found if check["ok"] is False] for name, found in checks.items()}


def inside(host: str, command: str) -> str:
    """Run a command in the host's training container."""
    return hosts.exec(host, f"docker exec verl {command}").out


@contextlib.contextmanager
def small_shm(host: str):
    """Somebody remounted /dev/shm."""
    pid = hosts.exec(host, "docker inspect --format '{{.State.Pid}}' verl").out.strip()
    size = inside(host, "df --output=size -k /dev/shm").split()[-1]
    resize = f"nsenter --target {pid} --mount mount -o remount,size=%s /dev/shm"
    hosts.exec(host, resize % "64m")
    try:
        yield
    finally:
        hosts.exec(host, resize % f"{size}k")


@contextlib.contextmanager
def lost_device(host: str):
    """A device node isn't there inside, though the host has it."""
    inside(host, "rm /dev/nvidia7")
    try:
        yield
    finally:
        inside(host, "mknod -m 666 /dev/nvidia7 c 195 7")


@contextlib.contextmanager
def other_release(host: str):
    """The checkout was moved to another release under an installed verl."""
    was = hosts.exec(host, f"git -C {CHECKOUT} rev-parse HEAD", user="ops").out.strip()
    hosts.exec(host, f"git -C {CHECKOUT} fetch -q --depth 1 origin tag v0.8.0 && git -C {CHECKOUT} checkout -q v0.8.0",
               user="ops")  # fmt: skip
    try:
        yield
    finally:
        hosts.exec(host, f"git -C {CHECKOUT} checkout -q {was}", user="ops")


@contextlib.contextmanager
def no_engine(host: str):
    """The rollout engine was uninstalled."""
    place = inside(host, "python3 -c 'import vllm; print(vllm.__path__[0])'").strip()
    inside(host, f"mv {place} {place}.away")
    try:
        yield
    finally:
        inside(host, f"mv {place}.away {place}")


@contextlib.contextmanager
def other_torch(host: str):
    """`pip install --user` brought a CPU build, which comes before the image's own."""
    index = f"http://{network.web_address()}/whl/cpu"
    options = f"--user --quiet --no-deps --ignore-installed --index-url {index} --trusted-host {network.web_address()}"
    inside(host, f"python3 -m pip install {options} torch")
    try:
        yield
    finally:
        inside(host, "rm -rf /root/.local/lib/python3.11")


ROUNDS = [
    {
        "gpu-550": (small_shm, "devices.shm", "/dev/shm has 64 MB"),
        "gpu-580": (lost_device, "devices.nodes", "7 device nodes"),
        "spare": (no_engine, "import.engine", "no module named vllm"),
    },
    {
        "gpu-550": (other_release, "import.verl", "verl.__version__ is 0.8.0"),
        "spare": (other_torch, "import.torch", "torch 2.11.0+cpu (CPU build)"),
    },
]


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param(ROUNDS[0], id="what lies around verl"),
        pytest.param(ROUNDS[1], id="what was installed", marks=pytest.mark.slow),  # a wheel of 200 MB
    ],
)
def test_each_fault_fails_its_own_check_and_healthy_hosts_are_verified_at_their_level(faults):
    with contextlib.ExitStack() as broken:
        for host, (fault, _check, _found) in faults.items():
            broken.enter_context(fault(host))
        run = verify()
    assert run.returncode == 1, run.stdout
    assert states() == {name: "failed" if name in faults else "verified" for name in report()["hosts"]}
    failed = failed_checks()
    for host, (_fault, identity, found) in faults.items():
        assert failed[host][0] == identity
        (check,) = [check for check in report()["hosts"][host]["checks"] if check["id"] == identity]
        assert found in check["found"]
        assert check["needed"] and check["fix"]
        assert identity in run.stdout
    for host in report()["hosts"].keys() - faults.keys():
        level = (
            "level devices passed at" if topology.HOSTS[host].machine else "level import (wanted devices: no GPU here)"
        )
        assert level in report()["hosts"][host]["reason"]
