"""`verl-provision explain`: what would be chosen for a machine, and why not the rest. Touches no host."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from verl_provision import catalog as catalogs
from verl_provision import handmade, variables
from verl_provision.boundary import documents
from verl_provision.boundary.text import visible
from verl_provision.catalog import CatalogError
from verl_provision.plan.fleet import plan_host

SHOWN = 12  # rejections listed before the rest is counted


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
    by_hand.add_argument("--gpu-count", metavar="N", type=_count, help="how many (8)")
    by_hand.add_argument("--driver", metavar="VERSION", help="version of its NVIDIA driver, such as 550.163.01 or 550")
    by_hand.add_argument("--arch", choices=["x86_64", "aarch64"], help="CPU architecture (x86_64, or the GPU's own)")
    by_hand.add_argument("--docker", action=argparse.BooleanOptionalAction, help="whether Docker can be used (yes)")
    by_hand.add_argument(
        "--sudo", action=argparse.BooleanOptionalAction, help="whether sudo works without password (yes)"
    )


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
    plan = plan_host(facts, wanted, catalog)
    refused = [error for error in plan["errors"] if error["rule"] == "wishes"]
    if args.json:
        print(json.dumps(plan, indent=2))
    else:
        print("\n".join(map(visible, text(plan))))
    if refused:
        return 2
    return 0 if plan["ok"] else 1


class Usage(ValueError):
    """Bad usage: exit status 2."""


def _count(value: str) -> int:
    number = int(value)
    if not 1 <= number <= 1024:
        raise argparse.ArgumentTypeError("between 1 and 1024")
    return number


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
    by_hand = {
        "--gpu": args.gpu, "--gpu-count": args.gpu_count, "--driver": args.driver, "--arch": args.arch,
        "--docker": args.docker, "--sudo": args.sudo,
    }  # fmt: skip
    given = [name for name, value in by_hand.items() if value is not None]
    if args.facts and given:
        raise Usage(f"--facts and {', '.join(given)} exclude each other")
    if args.facts:
        return _recorded(args.facts)
    if not given:
        raise Usage("give --facts FILE, or describe the machine: --gpu, --driver, --arch, --docker, --sudo")
    if args.gpu is None and (args.driver or args.gpu_count):
        raise Usage("--driver and --gpu-count need --gpu")
    if args.driver is not None and not args.driver[:1].isdigit():
        raise Usage(f"--driver takes a version such as 550.163.01, found {args.driver!r}")
    machine = handmade.Machine(
        gpu=args.gpu,
        gpu_count=args.gpu_count or 8,
        driver=args.driver,
        arch=args.arch,
        docker=args.docker is not False,
        sudo=args.sudo is not False,
    )
    try:
        return handmade.facts(machine, catalog)
    except handmade.UnknownGpu as problem:
        raise Usage(str(problem)) from None


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


def text(plan: dict[str, Any]) -> list[str]:
    """The plan as lines for a person: the choice, why, what else, what not, what would help."""
    lines = [*_choice(plan), *_listed("why", plan["why"])]
    lines += _listed("steps", [f"{name}: {step['reason']}{_disturbs(step)}" for name, step in plan["steps"].items()])
    if plan["ok"]:
        verification = plan["verification"]
        lines += _listed("verification", [f"level {verification['level']}: {verification['reason']}"])
    lines += _listed(
        "deferred", [f"{item['step']}: {item['action']}: {item['because']}. {item['fix']}" for item in plan["deferred"]]
    )
    lines += _listed("warnings", [_warning(item) for item in plan["warnings"]])
    lines += _listed("errors", [error(item) for item in plan["errors"]])
    lines += _listed("a change that would help", [item["message"] for item in plan["unlocks"]])
    lines += _listed("runners-up", [_runner_up(item) for item in plan["runners_up"]])
    return lines + _listed("rejected", _rejections(plan["rejected"]))


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
    if len(lines) > SHOWN:
        return [*lines[:SHOWN], f"{len(lines) - SHOWN} more reasons: --json has all of them"]
    return lines
