"""B2: one host of the fleet has drifted and is mended: `python benchmarks/repair.py [--hosts 16] [--runs 5]`."""

import argparse

import contestants
import fleet
import harness

LOST = "/home/ops/.local/bin/verl-shell"


def main() -> None:
    """Measure; an independent look says whether the host is mended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=16)
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    inventory = fleet.start(args.hosts)
    drifted = fleet.members(args.hosts)[args.hosts // 2]
    harness.about(
        f"B2: {args.hosts} hosts, one without its verl-shell, {args.runs} runs",
        "from cold, in turn (ABBA); the file is taken away before each run and looked at by hand after it",
    )

    def spoil() -> None:
        fleet.inside(drifted, f"rm -f {LOST}")

    def mended(done) -> bool:
        return done.returncode == 0 and fleet.inside(drifted, f"test -x {LOST} && echo mended").strip() == "mended"

    everybody = contestants.all_of(args.hosts, inventory)
    for contestant in everybody:
        contestant.before, contestant.good = spoil, mended
    results = harness.interleave(everybody, args.runs)
    harness.table(results, everybody[0].name)
    harness.save(f"repair-{args.hosts}", results)


if __name__ == "__main__":
    main()
