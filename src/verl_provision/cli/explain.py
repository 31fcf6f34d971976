"""`verl-provision explain`: what would be chosen for a machine, and why not the rest. Touches no host."""

import argparse
import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from verl_provision import catalog as catalogs
from verl_provision import handmade, variables
from verl_provision.boundary import documents
from verl_provision.boundary.text import visible
from verl_provision.catalog import CatalogError
from verl_provision.plan.fleet import plan_host

HINTS = 3  # shown where there are more


def add_parser(subparsers: Any) -> None:
    """Add the command's own part of the command line."""
    parser = subparsers.add_parser(
        "explain",
        help="say what would be chosen for a machine, and why",
        description=__doc__,
        epilog="Exit status: 0 something fits, 1 nothing fits, 2 bad usage. "
        "Example: verl-provision explain --gpu H100 --driver 550.163.01 --want verl_version=0.9.0",
    )
    add_machine(parser)
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")
    parser.add_argument("--all", action="store_true", help="every step, hint, runner-up and rejected candidate")
    parser.add_argument(
        "--print-facts",
        action="store_true",
        help="print the facts that the flags describe, to change and give to --facts",
    )
    parser.set_defaults(run=run)


def add_machine(parser: argparse.ArgumentParser) -> None:
    """The flags that describe a machine, and what is asked for on it."""
    parser.add_argument(
        "--facts", metavar="FILE", help="recorded facts (JSON of verl_host_facts); - reads standard input"
    )
    parser.add_argument(
        "--want", metavar="NAME=VALUE", action="append", default=[], help="a variable by its full name; may be repeated"
    )
    by_hand = parser.add_argument_group("a machine described by hand, instead of --facts")
    by_hand.add_argument("--gpu", metavar="NAME", help="product of its GPUs, such as H100 or 'RTX 4090'")
    by_hand.add_argument("--gpu-count", metavar="N", type=_count, help="how many (8); 0: a machine without GPU")
    by_hand.add_argument(
        "--compute-capability", metavar="X.Y", type=_capability, help="of a GPU that the catalog doesn't know"
    )
    by_hand.add_argument("--driver", metavar="VERSION", help="version of its NVIDIA driver, such as 550.163.01 or 550")
    by_hand.add_argument("--arch", choices=["x86_64", "aarch64"], help="CPU architecture (x86_64, or the GPU's own)")
    by_hand.add_argument("--docker", action=argparse.BooleanOptionalAction, help="whether Docker can be used (yes)")
    by_hand.add_argument("--podman", action=argparse.BooleanOptionalAction, help="rootless Podman, with CDI (no)")
    by_hand.add_argument("--apptainer", action=argparse.BooleanOptionalAction, help="Apptainer (no)")
    by_hand.add_argument(
        "--sudo", action=argparse.BooleanOptionalAction, help="whether sudo works without password (yes)"
    )
    by_hand.add_argument("--disk-gb", metavar="GB", type=_gigabytes, help="free disk space (2000)")


def run(args: argparse.Namespace) -> int:
    """Explain; returns the exit status."""
    try:
        wanted = wanted_variables(args.want)
        parsed = variables.parse(wanted)
        catalog = catalogs.load(extra=parsed.values["verl_catalog_extra"])
        facts = machine_facts(args, catalog)
    except Usage as problem:
        print(f"verl-provision explain: {problem}", file=sys.stderr)
        return 2
    except CatalogError as problem:
        print(f"verl-provision explain: {problem}", file=sys.stderr)
        return 2
    if args.print_facts:
        print(json.dumps(facts, indent=2))
        return 0
    plan = plan_host(facts, wanted, catalog)
    refused = [error for error in plan["errors"] if error["rule"] == "wishes"]
    if args.json:
        print(json.dumps(plan, indent=2))
    else:
        print("\n".join(map(visible, text(plan, args.all))))
    if refused:
        return 2
    return 0 if plan["ok"] else 1


class Usage(ValueError):
    """Bad usage: exit status 2."""


def _count(value: str) -> int:
    number = int(value)
    if not 0 <= number <= 1024:
        raise argparse.ArgumentTypeError("between 0 and 1024")
    return number


def _gigabytes(value: str) -> float:
    number = float(value)
    if not 0 <= number <= 1e6:
        raise argparse.ArgumentTypeError("between 0 and 1000000")
    return number


def _capability(value: str) -> str:
    if not re.fullmatch(r"[0-9]{1,2}\.[0-9]", value, re.ASCII):
        raise argparse.ArgumentTypeError(f"found {value!r}, needed a compute capability such as 9.0")
    return value


def wanted_variables(pairs: list[str]) -> dict[str, str]:
    """`--want` as variables. Raises Usage."""
    wanted = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise Usage(f"--want takes NAME=VALUE, found {pair!r}")
        if not name.startswith("verl_"):
            raise Usage(f"--want takes a variable's full name (verl_...), found {name!r}; try verl_{name}={value}")
        wanted[name] = value
    return wanted


def machine_facts(args: argparse.Namespace, catalog: dict[str, Any]) -> dict[str, Any]:
    """The facts that the flags name or describe. Raises Usage."""
    by_hand = (
        "gpu", "gpu_count", "compute_capability", "driver", "arch", "docker", "podman", "apptainer", "sudo", "disk_gb",
    )  # fmt: skip
    given = {name: getattr(args, name) for name in by_hand if getattr(args, name) is not None}
    flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
    if args.facts and given:
        raise Usage(f"--facts and {flags} exclude each other")
    if args.facts:
        return _recorded(args.facts)
    if not given:
        raise Usage("give --facts FILE, or describe the machine: --gpu, --driver, --arch, --docker, --sudo")
    if args.gpu is None and args.compute_capability is None and (args.driver or args.gpu_count):
        raise Usage("--driver and --gpu-count need --gpu or --compute-capability")
    if args.driver is not None and not args.driver[:1].isdigit():
        raise Usage(f"--driver takes a version such as 550.163.01, found {args.driver!r}")
    try:
        return handmade.facts(handmade.Machine(**given), catalog)
    except handmade.UnknownGpu as problem:
        raise Usage(f"{problem}; or name its --compute-capability") from None


def _recorded(name: str) -> dict[str, Any]:
    """Facts from a file: the facts themselves, or the module's result around them."""
    try:
        content = json.loads(sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8"))
    except OSError as problem:
        raise Usage(f"{name}: {problem.strerror}") from None
    except (ValueError, RecursionError) as problem:
        raise Usage(f"{name} is not JSON: {problem}") from None
    if not isinstance(content, dict):
        raise Usage(f"{name} holds no facts: found {type(content).__name__}, needed an object")
    inner = content.get("facts")
    try:
        return documents.facts(inner if isinstance(inner, dict) else content, given_only=True)
    except documents.Refused as why:
        raise Usage(f"{name}: {why}") from None


def text(plan: dict[str, Any], everything: bool = False) -> list[str]:
    """The plan as lines for a person, what matters most first; a screenful, or everything."""
    warnings = [_warning(item) for item in plan["warnings"]]
    lines = [*_choice(plan), *_listed("errors", [error(item) for item in plan["errors"]])]
    lines += _listed("warnings", warnings)
    told = "\n".join(warnings)
    hints = [item["message"] for item in plan["unlocks"] if everything or item["message"] not in told]
    if not everything:
        steps = [name + _disturbs(step) for name, step in plan["steps"].items()]
        lines += _listed("why", [reason for reason in plan["why"] if not reason.startswith("skipped ")])
        if len(hints) > HINTS:  # the smallest changes, and the one that gives most
            hints = [*hints[: HINTS - 2], f"{len(hints) - HINTS + 1} between", hints[-1]]
        lines += _listed("a change that would help", hints)
        lines += [f"steps: {', '.join(steps)}"] if steps else []
        lines += [f"deferred: {', '.join(item['step'] for item in plan['deferred'])}"] if plan["deferred"] else []
        return [
            *lines,
            *([] if steps else [""]),
            f"{_count_rejected(plan['rejected'])}more: --all, --json",
        ]
    lines += _listed("why", plan["why"])
    lines += _listed("a change that would help", hints)
    lines += _listed("steps", [f"{name}: {step['reason']}{_disturbs(step)}" for name, step in plan["steps"].items()])
    if plan["ok"]:
        verification = plan["verification"]
        lines += _listed("verification", [f"level {verification['level']}: {verification['reason']}"])
    lines += _listed(
        "deferred", [f"{item['step']}: {item['action']}: {item['because']}. {item['fix']}" for item in plan["deferred"]]
    )
    lines += _listed("runners-up", [_runner_up(item) for item in plan["runners_up"]])
    return lines + _listed("rejected", _rejections(plan["rejected"]))


def _count_rejected(rows: list[dict[str, Any]]) -> str:
    """How many candidates were rejected, each counted by its first rule."""
    first: dict[str, str] = {}
    for row in rows:
        first.setdefault(row["candidate"], row["rule"])
    if not first:
        return ""
    rules = Counter(first.values()).most_common()
    return f"rejected: {len(first)} ({', '.join(f'{rule} {count}' for rule, count in rules)}); "


def _choice(plan: dict[str, Any]) -> list[str]:
    if not plan["ok"]:
        return ["nothing fits"]
    lines = [f"verl {plan['verl_version']} by {plan['backend']} (profile {plan['profile']})"]
    image = plan["image"]
    if image:
        tier = f", {image['tier']}" if image["tier"] else ""
        lines.append(f"image {image['pull_ref']} (CUDA {image['cuda'] or 'unknown'}{tier})")
    return [*lines, f"engine {plan['engine']}, trainer {plan['trainer']}"]


def _listed(title: str, entries: list[str]) -> list[str]:
    return ["", f"{title}:", *(f"  - {entry}" for entry in entries)] if entries else []


def _disturbs(step: dict[str, Any]) -> str:
    return "" if step["disruption"] == "none" else f" [{step['disruption']}]"


def _warning(item: dict[str, Any]) -> str:
    return f"{item['rule']}: {item['message']}" + (f". {item['fix']}" if item["fix"] else "")


def error(item: dict[str, Any]) -> str:
    where = f" ({item['where']})" if item.get("where") else ""
    return f"{item['rule']}{where}: found {item['found']}; needed {item['needed']}. {item['fix']}"


def _runner_up(item: dict[str, Any]) -> str:
    tier = f", {item['tier']}" if item["tier"] else ""
    return f"{item['candidate']} with verl {item['verl_version']}{tier}: {item['because']}"


def _rejections(rows: list[dict[str, Any]]) -> list[str]:
    """One line for the candidates that the same rule rejected for the same values."""
    grouped: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        names = grouped.setdefault((row["rule"], row["found"], row["needed"]), [])
        if row["candidate"] not in names:
            names.append(row["candidate"])
    lines = []
    for (rule, found, needed), names in grouped.items():
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        lines.append(f"{', '.join(names[:3])}{more}: {rule}: found {found}; needed {needed}")
    return lines
