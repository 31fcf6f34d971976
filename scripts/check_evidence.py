#!/usr/bin/env python3
"""Compare the catalog's `named_by.ci` and `serves.tested` with the workflows of verl's own repository.

    scripts/check_evidence.py ~/src/verl        # a clone of verl, with its tags

Only workflows that run count: files directly in .github/workflows of a release's tag, read as YAML, so that neither a
comment nor a README nor .deprecate nor a `.disabled` file is evidence. Exit 1 where the two differ.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from verl_provision import catalog  # noqa: E402

WORKFLOWS = ".github/workflows/"
IMAGE = re.compile(r"(?:[a-z0-9.-]+(?::\d+)?/)*[a-z0-9._-]+/[a-z0-9._-]+:[\w.-]+")
MIRRORS = ("docker.io/", "verl-ci-cn-beijing.cr.volces.com/")  # what CI pulls Docker Hub's images through


def git(repository: Path, *arguments: str) -> str:
    """What a git command prints."""
    command = ["git", "-C", str(repository), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def named(repository: Path, tag: str) -> set[str]:
    """The images that the running workflows of a tag name."""
    found: set[str] = set()
    for path in git(repository, "ls-tree", "--name-only", tag, WORKFLOWS).split():
        if not path.endswith((".yml", ".yaml")):
            continue
        try:
            workflow = yaml.safe_load(git(repository, "show", f"{tag}:{path}"))
        except yaml.YAMLError:
            continue
        found |= {image for text in texts(workflow) for image in IMAGE.findall(text)}
    return {short(image) for image in found}


def texts(value: Any) -> Iterator[str]:
    """Every string of a workflow: what YAML calls a comment is none."""
    if isinstance(value, dict):
        for item in value.values():
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, str):
        yield from (line.partition(" #")[0] for line in value.splitlines() if not line.lstrip().startswith("#"))


def short(image: str) -> str:
    """The name on Docker Hub."""
    for mirror in MIRRORS:
        image = image.removeprefix(mirror)
    return image


def differences(images: list[dict[str, Any]], releases: dict[str, set[str]]) -> list[str]:
    """Where the catalog says something else than the workflows of `{release: images}`."""
    said = []
    for image in images:
        names = {image["ref"], *(f"{image['ref'].rpartition(':')[0]}:{tag}" for tag in image.get("ci_tags", []))}
        for kind, claimed in (("named_by.ci", image["named_by"]["ci"]), ("serves.tested", image["serves"]["tested"])):
            said += [
                f"{image['id']}: {kind} has {version}, whose running workflows do not name {' or '.join(sorted(names))}"
                for version in claimed
                if version in releases and not names & releases[version]
            ]
        said += [
            f"{image['id']}: named_by.ci lacks {version}, whose running workflows name it"
            for version, seen in releases.items()
            if names & seen and version not in image["named_by"]["ci"]
        ]
    return said


def main() -> int:
    """Print the differences."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("repository", type=Path, help="a clone of verl, with its tags")
    repository = parser.parse_args().repository
    known, tags = catalog.load(), set(git(repository, "tag").split())
    asked = [release for release in known["releases"] if release["git_tag"] in tags]
    said = differences(
        known["images"], {release["version"]: named(repository, release["git_tag"]) for release in asked}
    )
    print("\n".join(said) or f"{len(asked)} releases: the catalog says what their running workflows say")
    return bool(said)


if __name__ == "__main__":
    sys.exit(main())
