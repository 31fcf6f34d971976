"""B1: a converged fleet met again: `python benchmarks/noop.py [--hosts 16] [--runs 5] [--no-drift]`."""

import argparse

import contestants
import drift
import fleet
import harness


def main() -> None:
    """Measure, then show that every contestant looks at every item."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=16)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--slow-runs", type=int, default=1000, help="at most so many of the role's and Mitogen's")
    parser.add_argument("--no-drift", action="store_true", help="don't show that drift is caught")
    parser.add_argument("--only", help="contestants whose name has this in it")
    args = parser.parse_args()
    inventory = fleet.start(args.hosts)
    everybody = [one for one in contestants.all_of(args.hosts, inventory) if (args.only or "") in one.name]
    harness.about(
        f"B1: {args.hosts} healthy hosts met again, {args.runs} runs",
        "every run from cold (no SSH master left), contestants in turn (ABBA); 16 forks or connections, curve25519 for "
        "all; our whole site.yml with its report; the plain role of 20 tasks and the pyinfra deploy are ours too",
    )
    for contestant in everybody:
        contestant.good = lambda done, contestant=contestant: not contestants.changed(contestant, done)
        contestant.most_runs = args.slow_runs if "role" in contestant.name else args.runs
    results = harness.interleave(everybody, args.runs)
    harness.table(results, everybody[0].name)
    if not args.no_drift:
        drift.show()
    harness.save(f"noop-{args.hosts}", results)


if __name__ == "__main__":
    main()
