"""B9: how long a fleet takes, as a multiple of its slowest host's own time: `python benchmarks/makespan.py`.

Recorded hosts whose steps sleep, each one longest in another step, met by the plays of site.yml with a fork for every
host. A fleet that waits for its slowest host in every step takes the sum of the slowest steps (the last row); one whose
hosts have their own pace takes as long as its slowest host alone.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tests.e2e.conftest  # noqa: F401  the probes, as recorded hosts want them
from tests.e2e.site_fleet import SiteFleet

STEPS = ("container_image", "verl_checkout", "training_container", "verl_shell", "verification")
LIMIT = 1.15


def pace(number: int, scale: float) -> dict[str, float]:
    """Seconds of one host's steps: short ones, and one long one."""
    draw = random.Random(number)
    seconds = {step: round(draw.uniform(0.02, 0.1) * scale, 1) for step in STEPS}
    seconds[STEPS[number % len(STEPS)]] = round(draw.uniform(0.6, 0.8) * scale, 1)
    return seconds


def run(own: dict[str, dict[str, float]]) -> float:
    """Wall seconds of one cold run."""
    with tempfile.TemporaryDirectory(prefix="verl-makespan-") as place:
        hosts = {name: {"pace": seconds} for name, seconds in own.items()}
        fleet = SiteFleet(Path(place), "h100x8_580", hosts, verl_backend="docker", verl_rolling_canary=0)
        start = time.monotonic()
        said = fleet.run("--forks", str(len(own)))
        seconds = time.monotonic() - start
        if said.returncode:
            sys.exit(f"the run failed with exit status {said.returncode}:\n{said.stdout[-3000:]}")
        return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=8, help="hosts of the fleet (8)")
    parser.add_argument("--scale", type=float, default=300, help="seconds that a host sleeps, about (300)")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    own = {f"gpu-{number}": pace(number, arguments.scale) for number in range(arguments.hosts)}
    slowest = max(own, key=lambda name: sum(own[name].values()))
    alone, fleet = run({slowest: own[slowest]}), run(own)
    barriers = sum(max(seconds[step] for seconds in own.values()) for step in STEPS)
    result = {
        "hosts": arguments.hosts,
        "slowest_host": slowest,
        "slowest_alone_s": round(alone, 1),
        "fleet_s": round(fleet, 1),
        "makespan": round(fleet / alone, 2),
        "limit": LIMIT,
        "sleeps_with_barriers_s": round(barriers, 1),
        "load": os.getloadavg()[0],
    }
    if arguments.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:24} {value}")
    sys.exit(result["makespan"] > LIMIT)


if __name__ == "__main__":
    main()
