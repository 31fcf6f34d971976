"""`verl-provision catalog`: compare the catalog with a registry, describe an image that it doesn't have."""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from verl_provision.catalog import CatalogError, describe, digests, load
from verl_provision.catalog.check import Checked, check, connect, fix, summary
from verl_provision.module_utils import registry as client
from verl_provision.module_utils import web
from verl_provision.paths import CATALOG

DIGEST_SHOWN = len("sha256:") + 12


def add_parser(subparsers: Any) -> None:
    """Add the command to the program's parser."""
    catalog = subparsers.add_parser(
        "catalog", help="look after the catalog of images", description="Look after the catalog of images."
    )
    commands = catalog.add_subparsers(dest="catalog_command", required=True, metavar="COMMAND")
    compare = commands.add_parser(
        "check",
        help="compare the catalog's images with a registry",
        description="Ask a registry for each image of the catalog: is it there, is its digest the catalog's, for which "
        "platforms, how large. Logins are those of `docker login`. Exit status 0: all well; 1: something differs; "
        "2: bad usage.",
    )
    compare.set_defaults(run=run)
    compare.add_argument("--registry", metavar="BASE", help="ask here instead of at each image's own registry, such as "
                         "127.0.0.1:5000 or https://mirror.example/hub")  # fmt: skip
    compare.add_argument("--update", action="store_true", help="write digests and sizes found into images.yml")
    compare.add_argument("--only", metavar="ID", action="append", default=[], help="this image only (repeatable)")
    compare.add_argument("--quick", action="store_true", help="read sizes and labels of new and changed images only")
    compare.add_argument("--catalog", metavar="DIR", type=Path, default=CATALOG, help="the catalog's folder")
    compare.add_argument(
        "--extra", metavar="FILE", action="append", default=[], help="an overlay as in verl_catalog_extra"
    )
    compare.add_argument("--json", action="store_true", help="print JSON")
    add = commands.add_parser(
        "add",
        help="describe an image for verl_catalog_extra, from what its registry says",
        description="Print an entry made from an image's manifest, environment and build history, for a file that "
        "verl_catalog_extra names. What they don't say is `unknown`, and refused until filled in. Nothing is pulled. "
        "Exit status 0: printed; 1: the registry doesn't have it or can't be asked; 2: bad usage.",
    )
    add.set_defaults(run=describe_image)
    add.add_argument("image", metavar="IMAGE", help="repository and tag, such as verlai/verl:vllm024.latest")
    add.add_argument("--registry", metavar="BASE", help="ask here instead, such as http://127.0.0.1:5000")
    add.add_argument("--arch", choices=["x86_64", "aarch64"], default="x86_64", help="of an image for several (x86_64)")
    for command in (compare, add):
        command.add_argument("--timeout", metavar="SECONDS", type=_positive, default=30, help="per request (30)")
        command.add_argument("--max-wait", metavar="SECONDS", type=float, default=60,
                             help="how long to wait in all where the registry limits requests (60)")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    try:
        images = load(args.catalog, extra=args.extra)["images"]
        unknown = [name for name in args.only if name not in {image["id"] for image in images}]
        if unknown:
            return _usage(f"--only {unknown[0]}: found no such image, needed an id of images.yml")
        if args.only:
            images = [image for image in images if image["id"] in args.only]
        found = check(images, args.registry, not args.quick, timeout=args.timeout, max_wait=args.max_wait)
        written = _update(args.catalog, found) if args.update else None
    except (CatalogError, ValueError) as error:
        return _usage(str(error))
    result = summary(found)
    if written is not None:
        result["written"] = written
        # what was written is settled: a moved tag is no difference any more
        result["ok"] = all(item.ok or item.id in written for item in found)
    if args.json:
        print(json.dumps(result, indent=2))
    else:
        _print(found, result)
    return 0 if result["ok"] else 1


def describe_image(args: argparse.Namespace) -> int:
    """Print an entry for one image; returns the exit status."""
    registry, repository, tag = client.parse(args.image)
    if client.is_digest(tag) or not re.fullmatch(r"[a-z0-9._/-]+:[\w.-]{1,128}", f"{repository}:{tag}", re.ASCII):
        return _usage(f"found {args.image}, needed an image with a tag, such as verlai/verl:vllm024.latest")
    try:
        found = connect(args.registry or registry, args.timeout, web.Patience(args.max_wait)).manifest(
            repository, tag, client.ARCHITECTURES[args.arch]
        )
    except ValueError as error:
        return _usage(str(error))
    except client.RegistryError as error:
        print(f"{args.image}: {error}. {fix(error)}", file=sys.stderr)
        return 1
    platform = f"linux/{client.ARCHITECTURES[args.arch]}"
    if not any(name.startswith(platform) for name in found["platforms"]):
        return _usage(
            f"{args.image}: found {', '.join(found['platforms']) or 'no platform'}, needed {platform}: see --arch"
        )
    image = describe.entry((registry, repository, tag), args.arch, found, load())
    print(describe.overlay(image), end="")
    if describe.unknown(image):
        print(f"{args.image}: fill in {', '.join(describe.unknown(image))}", file=sys.stderr)
    return 0


def _update(folder: Path, found: list[Checked]) -> list[str]:
    """Write what was found; images that only an overlay has are in no file of ours and stay out."""
    path = folder / "images.yml"
    if not path.is_file():
        path = folder / "catalog" / "images.yml"
    here = {image["id"] for image in load(folder)["images"]}
    news = {
        item.id: (item.digest, item.compressed_gb)
        for item in found
        if item.id in here and item.digest and item.state in ("same", "new", "moved", "changed")
    }
    return digests.write(path, news)


def _print(found: list[Checked], result: dict[str, Any]) -> None:
    width = max((len(item.id) for item in found), default=0)
    for item in found:
        size = f"{item.compressed_gb:g} GB" if item.compressed_gb is not None else ""
        what = f"{(item.digest or '')[:DIGEST_SHOWN]:<{DIGEST_SHOWN}}  {size:>9}  {', '.join(item.platforms)}"
        print(f"{item.id:<{width}}  {item.state:<14}  {what}".rstrip())
        if item.state in ("moved", "changed"):
            print(f"{'':<{width}}  the catalog has {item.catalog_digest}")
        for note in item.notes:
            print(f"{'':<{width}}  {note}")
        if item.fix:
            print(f"{'':<{width}}  {item.fix}")
    counted = ", ".join(f"{count} {state}" for state, count in result["counts"].items()) or "no images"
    print(f"\n{len(found)} images: {counted}")
    if "written" in result:
        print(f"written to images.yml: {', '.join(result['written']) or 'nothing, it was up to date'}")


def _usage(message: str) -> int:
    print(message, file=sys.stderr)
    return 2


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"found {text}, needed seconds")
    return value
