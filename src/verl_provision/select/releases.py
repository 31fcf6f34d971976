"""Releases of verl: which one is wanted, which an image serves, which Python it runs on."""

import difflib
from typing import Any

from verl_provision import versions
from verl_provision.catalog.model import Catalog, Release
from verl_provision.facts import Python
from verl_provision.select.findings import Warning
from verl_provision.select.inputs import Preferences, SelectionFacts


def wanted(preferences: Preferences, catalog: Catalog) -> tuple[tuple[Release, ...], dict[str, str | None] | None]:
    """The releases to choose among, newest first, and an error where the requested one isn't known."""
    if preferences.version in ("auto", "latest"):
        return catalog.releases, None
    release = catalog.release(preferences.version)
    if release is not None:
        return (release,), None
    known = [other.version for other in catalog.releases]
    near = difflib.get_close_matches(preferences.version, known, n=1, cutoff=0.4)
    newest = f"Did you mean {near[0]}? " if near else ""
    return (), {
        "rule": "release",
        "found": f"verl_version {preferences.version}",
        "needed": "auto, latest, or one of " + ", ".join(known) if known else "a catalog with releases",
        "where": "verl_version",
        "fix": f"{newest}Newer releases can be added with verl_catalog_extra.",
    }


def choose_python(facts: SelectionFacts, release: Release) -> tuple[Python | None, Python | None]:
    """The Python that a source environment of `release` is made with, and one that only lacks venv.

    The recommended minor first, then the newest that the release runs on. With uv no venv module is needed.
    """
    fitting = [python for python in facts.pythons if versions.satisfies(python.version, release.python)]
    recommended = [python for python in fitting if versions.minor(python.version) == (release.python_recommended or "")]
    newest = sorted(fitting, key=lambda python: versions.key_or_zero(python.version), reverse=True)
    ordered = [*recommended, *newest]
    able = [python for python in ordered if python.venv]
    return (able[0] if able else None), (ordered[0] if ordered else None)


def source_method(preferences: Preferences, release: Release) -> tuple[str, dict[str, Any] | None]:
    """How a source environment gets verl (pypi, git, script), and a warning where that isn't what was asked for."""
    asked = preferences.source_method
    if asked == "script":
        broken = release.source.get("script_broken")
        if not broken:
            return "script", None
        said = f"verl_source_method script: not used for verl {release.version}, because {str(broken).strip()}"
        route = f"What works: {str(release.source.get('route') or 'a checkout with the pins of the release').strip()}"
        return "git", Warning(f"{said}. A checkout with the release's pins is used instead", route).row("source_script")
    if asked == "git" or (asked == "auto" and (preferences.commit is not None or not release.pypi)):
        return "git", None
    return "pypi", None


MANAGERS = ("uv", "micromamba", "mamba", "conda")  # that bring a Python of their own; as `auto` takes them


def manager_of(
    facts: SelectionFacts, release: Release, preferences: Preferences, catalog: Catalog
) -> tuple[str, dict[str, Any]] | None:
    """Who makes the source environment, and its download where the host lacks it; None where nobody can."""
    asked = preferences.source_manager
    python, dummy = choose_python(facts, release)
    if asked in ("auto", "venv") and python is not None:
        return "venv", {}
    for name in MANAGERS if asked == "auto" else (asked,):
        if name in facts.managers:
            return name, {}
    for name in ("uv",) if asked == "auto" else (asked,):
        download = catalog.manager(name, facts.arch)
        if download:
            return name, download
    return None
