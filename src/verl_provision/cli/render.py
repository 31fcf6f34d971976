"""`verl-provision render TARGET`: the decision as a manifest for Slurm, KubeRay, SkyPilot, dstack or Compose.

Touches no host and no cluster."""

import argparse
import os
import re
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

from verl_provision import catalog as catalogs
from verl_provision import render, variables
from verl_provision.boundary.text import visible
from verl_provision.catalog import CatalogError
from verl_provision.cli import explain
from verl_provision.render import files, site

SECRET = 6  # a shorter value is found by chance


def add_parser(subparsers: Any) -> None:
    """Add the command's own part of the command line."""
    parser = subparsers.add_parser(
        "render",
        help="write the decision as a manifest for an orchestrator",
        description=__doc__,
        epilog="Exit status: 0 written, 1 refused with every reason, 2 bad usage. "
        "Example: verl-provision render slurm --gpu H100 --driver 580 --want verl_nnodes=2 --set partition=gpu "
        "--command python3 -m verl.trainer.main_ppo trainer.nnodes=2 trainer.n_gpus_per_node=8",
    )
    parser.add_argument("target", choices=list(render.TARGETS), help="the orchestrator")
    explain.add_machine(parser)
    parser.add_argument(
        "--set", metavar="NAME=VALUE", action="append", default=[], help="a variable of the site; may be repeated"
    )
    parser.add_argument("--site", metavar="FILE", help="the site's variables, as YAML; --set goes before it")
    parser.add_argument("-o", "--output", metavar="DIR", help="where to write (verl-TARGET)")
    parser.add_argument("--explain", action="store_true", help="print each line and where it comes from; write nothing")
    parser.add_argument(
        "--command",
        dest="job",
        metavar="WORD",
        nargs=argparse.REMAINDER,
        default=[],
        help="the rest of the line is what to run, on one node (verl's PPO trainer)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Render; returns the exit status."""
    try:
        wanted = explain.wanted_variables(args.want)
        _no_secret(wanted)
        extra = variables.parse(dict(wanted)).values["verl_catalog_extra"]
        catalog = catalogs.load(extra=extra)
        facts = explain.machine_facts(args, catalog)
        given = {**(site.read(Path(args.site)) if args.site else {}), **_set(args.set)}
    except (explain.Usage, CatalogError, ValueError) as problem:
        print(visible(f"verl-provision render: {problem}"), file=sys.stderr)
        return 2
    try:
        job = render.job(args.target, facts, wanted, given, args.job, catalog, recorded=bool(args.facts))
        made = render.render(job, made_by(args))
    except render.Refused as refused:
        print(f"verl-provision render {args.target}: refused", file=sys.stderr)
        for error in refused.errors:
            print(visible(f"  - {explain.error(error)}"), file=sys.stderr)
        return 2 if any(error["rule"] in ("site", "wishes") for error in refused.errors) else 1
    shown = [name for name in job.secrets if _holds(made, os.environ.get(name, ""))]
    if shown:
        print(f"verl-provision render: the value of {', '.join(shown)} is among what was given", file=sys.stderr)
        print(
            "  It would stand in the files. Nothing is written; name it in `secrets` and nowhere else.", file=sys.stderr
        )
        return 2
    for warning in job.warnings:
        print(visible(f"warning: {warning}"), file=sys.stderr)
    if args.explain:
        print("\n".join(map(visible, explained(made))))
        return 0
    return write(Path(args.output or f"verl-{args.target}"), made)


def made_by(args: argparse.Namespace) -> str:
    """The command that makes the same again. No secret is on it: the site's variables refuse them."""
    words = ["verl-provision", "render", args.target]
    for flag in ("facts", "gpu", "gpu_count", "driver", "arch", "site"):
        value = getattr(args, flag)
        words += [f"--{flag.replace('_', '-')}", str(value)] if value is not None else []
    words += [word for pair in args.want for word in ("--want", pair)]
    words += [word for pair in args.set for word in ("--set", pair)]
    words += ["-o", args.output] if args.output else []
    return visible(shlex.join(words + (["--command", *args.job] if args.job else []))).replace("\n", "\\n")


def _no_secret(wanted: dict[str, str]) -> None:
    """Nothing that is rendered needs a secret's value, and the files repeat the command that made them."""
    for name, value in wanted.items():
        if name in variables.secrets() or re.search(r"://[^/\s]*@", value):
            raise explain.Usage(f"{name} holds a secret, which would stand in the files: leave it out")


def _holds(made: dict[str, list[tuple[str, str]]], value: str) -> bool:
    return len(value) >= SECRET and any(value in files.text(rows) for rows in made.values())


def _set(pairs: list[str]) -> dict[str, Any]:
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise explain.Usage("--set takes NAME=VALUE, such as --set partition=gpu")
        found[name] = site.value(value)
    return found


def explained(made: dict[str, list[tuple[str, str]]]) -> list[str]:
    """Each line of the manifest, and where it comes from; a line without is the template's own."""
    rows = next(iter(made.values()))
    width = min(100, max(len(line) for line, said in rows if said))
    return [f"{line.ljust(width)}  <- {said}" if said else line for line, said in rows]


def write(folder: Path, made: dict[str, list[tuple[str, str]]]) -> int:
    """Write the files whole; one that this command didn't make stays as it is, and nothing is written."""
    others = [folder / name for name in made if (folder / name).exists() and not _ours(folder / name)]
    if others:
        for other in others:
            fix = "Choose another folder with --output."
            print(f"verl-provision render: {other} is there and was not made by this command. {fix}", file=sys.stderr)
        return 1
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, rows in made.items():
            _replace(folder / name, files.text(rows))
    except OSError as problem:
        print(f"verl-provision render: {problem.filename or folder}: {problem.strerror}", file=sys.stderr)
        return 1
    manifest = next(iter(made))
    print(f"{folder}/README.md has the three commands; the manifest is {folder}/{manifest}")
    return 0


def _ours(file: Path) -> bool:
    try:
        return file.is_file() and files.MADE in file.read_text(encoding="utf-8")[:2000]
    except (OSError, ValueError):
        return False


def _replace(file: Path, text: str) -> None:
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fchmod(descriptor, 0o644)
            os.fsync(descriptor)
        os.replace(name, file)
    except BaseException:
        os.unlink(name)
        raise
