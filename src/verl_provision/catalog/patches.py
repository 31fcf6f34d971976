"""Patch releases inherit: what served 0.9.0 serves 0.9.1, unless an image says something about 0.9.1 itself."""

from typing import Any

KINDS = ("tested", "documented", "floor_only")


def listed(images: list[dict[str, Any]]) -> set[str]:
    """Every release that an image says something about."""
    return {version for image in images for kind in KINDS for version in image["serves"][kind]}


def inherit(catalog: dict[str, Any], known: set[str]) -> None:
    """Give each image `serves.inherited`: {patch release: the listed release it follows}.

    `known` is what the catalog's own images list. An overlay's image that lists a patch release speaks for itself and
    takes nothing from the others.
    """
    versions = sorted((release["version"] for release in catalog["releases"]), key=order)
    follows: dict[str, str] = {}
    for version in versions:
        if version in known:
            continue
        before = [other for other in versions if other in known and minor(other) == minor(version)]
        before = [other for other in before if order(other) < order(version)]
        if before:
            follows[version] = before[-1]
    for image in catalog["images"]:
        own = listed([image])
        image["serves"]["inherited"] = {new: old for new, old in follows.items() if old in own and new not in own}


def minor(version: str) -> tuple[int, ...]:
    """0.9.1 -> (0, 9)."""
    return order(version)[0][:2]


def order(version: str) -> tuple[tuple[int, ...], int]:
    """A sort key for verl's versions: 0.2 < 0.2.0.post1 < 0.2.0.post2 < 0.3.0.post0."""
    plain, dummy, post = version.partition(".post")
    numbers = [int(part) if part.isascii() and part.isdigit() else 0 for part in plain.split(".")]
    return tuple([*numbers, 0, 0, 0][:3]), int(post) + 1 if post.isascii() and post.isdigit() else 0
