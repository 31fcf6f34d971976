"""CPU seconds of the pure plan for a fleet: `python benchmarks/plan_fleet.py [--hosts 10000] [--json]`.

The fleet is mixed: the products of catalog/gpus.yml under eight drivers with several requests, every host with its own
name, disk, memory and container; half of the hosts are done already, as in a second run. One core, one process.
"""

import argparse
import copy
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from verl_provision import catalog, handmade, variables
from verl_provision import fleet as runs
from verl_provision.plain import to_plain
from verl_provision.plan.fleet import plan_fleet

DRIVERS = ("470.256.02", "535.261.03", "550.163.01", "560.35.05", "570.124.06", "575.57.08", "580.95.05", "595.71.05")
GPUS = ("H100", "H200", "A100", "A800", "L40S", "RTX 4090", "RTX 5090", "B200", "V100", "T4", "GB200", "L4", None)
ASKED: tuple[dict[str, Any], ...] = ({}, {"verl_scenario": "large_model"}, {"verl_engine": "sglang"})
LIMIT_SECONDS = 5.0


def fleet(count: int, world: dict[str, Any]) -> dict[str, Any]:
    """`count` hosts: {name: {facts, request, settings}}."""
    draw = random.Random(20261124)
    wanted = [variables.Request.of(variables.parse(raw).values) for raw in ASKED]
    models: dict[Any, dict[str, Any]] = {}
    hosts = {}
    for number in range(count):
        gpu, driver = draw.choice(GPUS), draw.choice(DRIVERS)
        if (gpu, driver) not in models:
            models[gpu, driver] = handmade.facts(handmade.Machine(gpu=gpu, driver=driver if gpu else None), world)
        facts = copy.deepcopy(models[gpu, driver])
        facts["disk"]["engine_root"]["free_gb"] = round(draw.uniform(300, 3000), 1)
        facts["memory"]["total_mb"] = draw.randint(200_000, 2_000_000)
        hosts[f"gpu-{number:05d}"] = {"facts": facts, "request": draw.choice(wanted), "settings": {}}
    return hosts


def settle(hosts: dict[str, Any], planned: dict[str, Any]) -> None:
    """Make every second host what its plan wanted: the state of a second run."""
    for name in list(hosts)[::2]:
        facts, plan = hosts[name]["facts"], planned["hosts"][name]
        for step, detail in plan["steps"].items():
            facts["stamps"][step] = {"key": detail["key"]}
            if step == "container_image":
                facts["images"] = [{"refs": [detail["args"]["ref"]], "digests": [], "id": "sha256:0", "size_gb": 30}]
            if step == "verl_shell":
                facts["verl_shell"] = {"path": detail["args"]["path"], "key": detail["key"]}
            if step == "verl_checkout":
                facts["verl_checkout"] = {
                    "path": "",
                    "commit": detail["args"].get("commit") or "0" * 40,
                    "tag": detail["args"]["version"],
                    "dirty": False,
                }
            if step == "training_container":
                facts["container"] = {"name": "verl", "id": "0" * 12, "running": True, "processes": [], "labels": {}}
            if step == "source_environment":
                facts["source_environment"] = {
                    "python_ok": True,
                    "verl_version": plan["verl_version"],
                    "building": False,
                }
        facts["verification"] = {"key": plan["verification"]["key"], "level": plan["verification"]["level"]}


def measure(count: int) -> dict[str, Any]:
    """Plan the fleet twice; CPU seconds of each, and what came out."""
    world = catalog.load()
    hosts = fleet(count, world)
    seconds = {}
    start = time.process_time()
    planned = plan_fleet(hosts, world)
    seconds["first_run"] = time.process_time() - start
    settle(hosts, planned)
    start = time.process_time()
    again = plan_fleet(hosts, world)
    seconds["second_run"] = time.process_time() - start
    per_host = round(1e6 * max(seconds.values()) / count)
    seconds |= edge(hosts, seconds["second_run"])
    return {
        "hosts": count,
        "cpu_seconds": {name: round(value, 2) for name, value in seconds.items()},
        "microseconds_per_host": per_host,
        "ok": sum(plan["ok"] for plan in planned["hosts"].values()),
        "decisions": len(planned["decisions"]),
        "hosts_with_steps": [sum(bool(p["steps"]) for p in run["hosts"].values()) for run in (planned, again)],
        "plan_bytes_per_host": len(json.dumps(planned)) // count,
    }


def edge(hosts: dict[str, Any], pure: float) -> dict[str, float]:
    """CPU seconds that the filters add around the plan: variables read, values made plain (without templating)."""
    hostvars = {
        name: {**ASKED[number % len(ASKED)], "__verl_facts": {"facts": host["facts"]}}
        for number, (name, host) in enumerate(hosts.items())
    }
    about = {"mode": "plan", "started": "2026-11-24T10:00:00Z", "ansible": "-", "limit": None}
    start = time.process_time()
    run = runs.begin(hostvars, list(hostvars), about)
    begun = time.process_time() - start
    start = time.process_time()
    runs.plan(hostvars, to_plain(run))
    return {"edge_begin": begun, "edge_plan": time.process_time() - start - pure}


def main() -> int:
    """Measure and print; exit 1 where it takes longer than the limit for 10,000 hosts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hosts", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    result = measure(args.hosts)
    if args.json:
        print(json.dumps(result, indent=2))
    else:
        for name, value in result.items():
            print(f"{name}: {value}")
    slowest = max(result["cpu_seconds"][name] for name in ("first_run", "second_run"))
    return int(slowest > LIMIT_SECONDS * args.hosts / 10_000)


if __name__ == "__main__":
    sys.exit(main())
