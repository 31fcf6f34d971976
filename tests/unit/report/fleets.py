"""Reports of fleets of any size, from recorded hosts and real plans."""

import json
from functools import lru_cache
from pathlib import Path

from verl_provision import catalog, variables
from verl_provision.plan import fleet as decide
from verl_provision.report import build

ROOT = Path(__file__).resolve().parents[3]
FACTS = ROOT / "tests/fixtures/facts"
HEALTHY = ["h100x8_580", "h100x8_550", "r610", "docker_with_sudo", "no_gpu", "h100x8_580", "h100x8_580"]
SICK = ["not_installed", "mismatch", "docker_refused", "nouveau", "mig"]
RUN = {
    "id": "20261124T100000Z",
    "version": "0.1.0",
    "ansible": "2.19.14",
    "started": "2026-11-24T10:00:00Z",
    "limit": None,
}
FINISHED = "2026-11-24T10:14:09Z"


def check(identity, ok, found, needed=None, fix=None, seconds=0.4):
    return {"id": identity, "ok": ok, "found": found, "needed": needed, "fix": fix, "seconds": seconds}


CHECKS = [
    check(
        "import.torch", True, "torch 2.11.0+cu130 (CUDA 13.0 build)", "torch 2.11.0, built for CUDA 13.0", seconds=5.4
    ),
    check("import.ray", True, "ray 2.60.0", "ray importable", seconds=1.2),
    check("import.engine", True, "vllm 0.24.0", "vllm 0.24.0", seconds=9.1),
    check("import.verl", True, "verl.__version__ is 0.9.1, package metadata says 0.9.1", "verl 0.9.1", seconds=0.9),
    check("devices.count", True, "8 GPUs (NVIDIA H100 80GB HBM3)", "8 GPUs in nvidia-smi -L"),
    check("devices.shm", True, "/dev/shm has 10240 MB", "at least 10240 MB", seconds=0.0),
    check("devices.memlock", None, "skipped: no memlock limit is expected here (found unlimited)", seconds=0.0),
    check("gpu.matmul", True, "exact on GPU 0 (bfloat16), 1 (bfloat16), 2 (bfloat16)", "the CPU's result", seconds=6.2),
]
SHM = check(
    "devices.shm",
    False,
    "/dev/shm has 64 MB",
    "at least 10240 MB",
    "set training_container_shm_size (a source environment: enlarge /dev/shm of the host); docker rm -f verl (when "
    "nothing runs in it), then run the site playbook again",
)


@lru_cache(maxsize=1)
def world():
    return catalog.load()


@lru_cache(maxsize=8)
def fleet(size):
    """The plans of a fleet: mostly alike, some of it sick."""
    hosts = {}
    for number in range(size):
        sick = size > 1 and number % 29 == 7
        name = SICK[number // 29 % len(SICK)] if sick else HEALTHY[number % len(HEALTHY)]
        facts = json.loads((FACTS / f"{name}.json").read_text())
        hosts[f"gpu-{number + 1:04}"] = {
            "facts": facts.get("facts", facts),
            "request": variables.defaults(),
            "settings": {},
            "errors": [],
        }
    planned = decide.plan_fleet(hosts, world())
    return planned | {"unlooked": {}, "machines": {}}


def report(size, mode="apply", healthy=False):
    """What became of a fleet after a run."""
    planned = fleet(size)
    variables = {}
    for number, name in enumerate(planned["hosts"]):
        passed = {"passed": True, "level": "gpu", "reached": "gpu", "checks": CHECKS, "versions": {}, "by_stamp": False,
                  "key": "k", "verified_at": "2026-11-24T10:13:00Z"}  # fmt: skip
        variables[name] = {"verification_result": passed}
        if healthy:
            continue
        if number % 41 == 3:
            checks = [SHM if item["id"] == "devices.shm" else item for item in CHECKS]
            variables[name] = {
                "verification_result": passed | {"passed": False, "checks": checks, "verified_at": None},
                "__verl_failure": {"step": "verification", "task": "Refuse", "message": "1 of 8 checks failed"},
            }
        elif number % 97 == 5:
            message = "no route to host"
            variables[name]["__verl_failure"] = {
                "step": "container_image",
                "task": "Pull",
                "message": message,
                "unreachable": True,
            }
    run = {**RUN, "mode": mode, "hosts": {name: {} for name in planned["hosts"]}, "look_at": []}
    return build.build(variables, run, planned, FINISHED)
