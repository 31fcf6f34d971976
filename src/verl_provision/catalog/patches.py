"""Patch releases inherit: what served 0.9.0 serves 0.9.1, unless an image says something about 0.9.1 itself."""

from typing import Any

KINDS = ("tested", "documented", "floor_only")


def inherit(catalog: dict[str, Any]) -> None:
    """Give each image `serves.inherited`: {patch release that no image lists: the listed release it follows}."""
    listed = {version for image in catalog["images"] for kind in KINDS for version in image["serves"][kind]}
    versions = sorted((release["version"] for release in catalog["releases"]), key=order)
    follows: dict[str, str] = {}
    for version in versions:
        if version in listed:
            continue
        before = [other for other in versions if other in listed and minor(other) == minor(version)]
        before = [other for other in before if order(other) < order(version)]
        if before:
            follows[version] = before[-1]
    for image in catalog["images"]:
        own = {version for kind in KINDS for version in image["serves"][kind]}
        image["serves"]["inherited"] = {new: old for new, old in follows.items() if old in own}


def minor(version: str) -> tuple[int, ...]:
    """0.9.1 -> (0, 9)."""
    return order(version)[0][:2]


def order(version: str) -> tuple[tuple[int, ...], int]:
    """A sort key for verl's versions: 0.2 < 0.2.0.post1 < 0.2.0.post2 < 0.3.0.post0."""
    plain, _, post = version.partition(".post")
    numbers = [int(part) if part.isascii() and part.isdigit() else 0 for part in plain.split(".")]
    return tuple([*numbers, 0, 0, 0][:3]), int(post) + 1 if post.isascii() and post.isdigit() else 0
