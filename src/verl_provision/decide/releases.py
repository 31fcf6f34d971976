"""Releases of verl: which one is wanted, which an image serves, which Python it runs on."""

import difflib

from verl_provision.decide import versions
from verl_provision.decide.host import Host, Python
from verl_provision.decide.wanted import Wishes
from verl_provision.decide.world import DOCUMENTED, FLOOR_ONLY, INHERITED, TESTED, UNKNOWN, Image, Release, World


def wanted(wishes: Wishes, world: World) -> tuple[list[Release], dict[str, str | None] | None]:
    """The releases to choose among, newest first, and an error where the wished one isn't known."""
    if wishes.version == "latest":
        return list(world.releases), None
    release = world.release(wishes.version)
    if release is not None:
        return [release], None
    known = [other.version for other in world.releases]
    near = difflib.get_close_matches(wishes.version, known, n=1, cutoff=0.4)
    newest = f"Did you mean {near[0]}? " if near else ""
    return [], {
        "rule": "release",
        "found": f"verl_version {wishes.version}",
        "needed": "latest, or one of " + ", ".join(known) if known else "a catalog with releases",
        "where": "verl_version",
        "fix": f"{newest}Newer releases can be added with verl_catalog_extra.",
    }


def listing(image: Image) -> dict[str, str]:
    """Release -> evidence, as the catalog lists it; the best where it lists one twice."""
    listed = dict.fromkeys(image.floor_only, FLOOR_ONLY)
    listed.update(dict.fromkeys(image.documented, DOCUMENTED))
    listed.update(dict.fromkeys(image.tested, TESTED))
    return listed


def serves(image: Image, version: str, listed: dict[str, str]) -> tuple[str, str]:
    """How well it's known that `image` serves verl `version`, and by which release; ("", "") where it doesn't.

    What the catalog lists counts as listed. A patch release that no image lists inherits from the newest listed
    release of the same minor before it: the catalog's loader works that out (`serves.inherited`); where it didn't,
    each image's own list decides.
    """
    if version in listed:
        return listed[version], version
    if not image.known:
        return UNKNOWN, version
    basis = image.inherited.get(version, "") if image.inherited is not None else _follows(version, listed)
    if basis not in listed:
        return "", ""
    return (INHERITED if listed[basis] == TESTED else listed[basis]), basis


def _follows(version: str, listed: dict[str, str]) -> str:
    """The newest listed release of the same minor before `version`."""
    basis = ""
    for other in listed:
        if (
            versions.minor(other) == versions.minor(version)
            and versions.compare(other, version) < 0
            and (not basis or versions.compare(other, basis) > 0)
        ):
            basis = other
    return basis


def choose_python(host: Host, release: Release) -> tuple[Python | None, Python | None]:
    """The Python that a source environment of `release` is made with, and one that only lacks venv.

    The recommended minor first, then the newest that the release runs on. With uv no venv module is needed.
    """
    fitting = [python for python in host.pythons if versions.satisfies(python.version, release.python)]
    recommended = [python for python in fitting if versions.minor(python.version) == (release.python_recommended or "")]
    newest = sorted(fitting, key=lambda python: versions.key_or_zero(python.version), reverse=True)
    ordered = [*recommended, *newest]
    able = [python for python in ordered if python.venv]
    return (able[0] if able else None), (ordered[0] if ordered else None)
