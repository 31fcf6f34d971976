"""Rules about an image, or the source environment, with a release of verl."""

from verl_provision import versions
from verl_provision.catalog.model import (
    DOCUMENTED,
    FLOOR_ONLY,
    INHERITED,
    TESTED,
    UNKNOWN,
    Catalog,
    listing,
    requirements,
)
from verl_provision.select import releases
from verl_provision.select.candidates import Candidate
from verl_provision.select.findings import Finding, Rejection, Warning
from verl_provision.select.inputs import Preferences, SelectionFacts


def release_wanted(
    candidate: Candidate, facts: SelectionFacts, preferences: Preferences, catalog: Catalog
) -> Finding | None:
    """The image must serve the release: tested by its CI, named by its docs, or above its version floors."""
    image, version, evidence = candidate.image, candidate.release.version, candidate.evidence
    if not evidence:
        served = sorted(listing(image), key=versions.key_or_zero, reverse=True)
        return Rejection(
            f"serves verl {', '.join(served)}" if served else "serves no release that the catalog knows",
            f"verl {version}",
            "Set verl_version to one of those, or choose another image.",
        )
    if evidence == DOCUMENTED:
        return Warning(
            f"{image.id} is named by the documentation of verl {candidate.basis}, but that release's CI "
            f"ran on another image",
            "Verify at level engine or train before relying on it.",
        )
    if evidence == FLOOR_ONLY:
        return Warning(
            f"{image.id} is above the version floors of verl {candidate.basis}, but nobody's CI is known "
            "to have run the pair",
            "Verify at level engine or train before relying on it.",
        )
    if evidence == UNKNOWN:
        return Warning(
            f"nothing is known of {image.ref}: CUDA, engine and architecture are taken on trust",
            "Describe it in a file that verl_catalog_extra names.",
        )
    return None


def release_pairing(
    candidate: Candidate, facts: SelectionFacts, preferences: Preferences, catalog: Catalog
) -> Finding | list[Finding] | None:
    """The engine must be at or above what the release imports with, and what the wheel asks for be inside."""
    if candidate.image.source:
        return None
    findings = [_vllm(candidate), _tensordict(candidate), *_requirements(candidate, catalog)]
    return [finding for finding in findings if finding] or None


def _requirements(candidate: Candidate, catalog: Catalog) -> list[Finding]:
    """What the release's wheel asks for and the image has in another version; nobody's CI ran so (catalog/model.py)."""
    image, release = candidate.image, candidate.release
    rows = catalog.lacking.get((image.id, release.version))
    if not rows or candidate.evidence == TESTED:
        return []
    basis = catalog.release(candidate.basis) if candidate.evidence == INHERITED else None
    inherited = requirements(image, basis) if basis is not None else []
    found: list[Finding] = []
    for name, inside, asked in rows:
        if (name, inside, asked) in inherited:
            continue  # the release that is followed asks for the same, and its CI ran
        source = "verl_backend to source, which installs what the wheel asks for."
        if basis is not None:
            said = (
                f"{image.id} has {name} {inside}, the wheel of verl {release.version} asks for {asked}: it is not as "
                f"well tested as {candidate.basis}, and what needs the newer one fails"
            )
            found.append(Warning(said, f"Set verl_version to {candidate.basis}, or {source}", weakens=True))
            continue
        needed = f"{name} {asked}, which the wheel of verl {release.version} asks for"
        found.append(Rejection(f"{name} {inside}", needed, f"Choose another image, or set {source}"))
    return found


def _vllm(candidate: Candidate) -> Finding | None:
    found, release = candidate.image.engines.get("vllm"), candidate.release
    if not found or not (release.vllm_floor or release.vllm_also):
        return None
    if release.vllm_floor and versions.at_least(found, release.vllm_floor):
        return None
    if any(found == also or found.startswith(f"{also}.post") for also in release.vllm_also):
        return None
    needed = f"vLLM >= {release.vllm_floor}" if release.vllm_floor else f"vLLM {' or '.join(release.vllm_also)}"
    return Rejection(
        f"vLLM {found}",
        f"{needed}: verl {release.version} refuses to import beside an older one"
        if release.vllm_floor
        else f"{needed}: verl {release.version} knows no other",
        f"Choose an image that serves verl {release.version}, or another verl_version.",
        hard=True,
    )


def _tensordict(candidate: Candidate) -> Finding | None:
    found, release = candidate.image.tensordict, candidate.release
    if not found:
        return None
    low = release.tensordict_runtime and versions.compare(found, release.tensordict_runtime) < 0
    if not low and versions.satisfies(found, release.tensordict):
        return None
    needed = f">= {release.tensordict_runtime}, asserted while training" if low else release.tensordict
    if candidate.evidence == TESTED or (candidate.evidence == INHERITED and not low):
        return Warning(
            f"{candidate.image.id} has tensordict {found}, verl {release.version} asks for {needed}; "
            "its CI ran on this image nevertheless",
            "Install verl with --no-deps, as the steps do.",
        )
    return Rejection(f"tensordict {found}", f"tensordict {needed}", "Choose an image with a newer tensordict.")


def python(candidate: Candidate, facts: SelectionFacts, preferences: Preferences, catalog: Catalog) -> Finding | None:
    """The image's Python, or one of the host's for a source environment, must be one that the release runs on."""
    release = candidate.release
    if not candidate.image.source:
        found = candidate.image.python
        if not found or versions.satisfies(found, release.python):
            return None
        return Rejection(
            f"Python {found}", f"Python {release.python} for verl {release.version}", "Choose another image."
        )
    if releases.manager_of(facts, release, preferences, catalog) is not None:
        return None
    dummy, lacks_venv = releases.choose_python(facts, release)
    if preferences.source_manager not in ("auto", "venv"):
        return Rejection(
            f"{preferences.source_manager} is neither on this host nor in the catalog for {facts.arch}",
            f"verl_source_manager {preferences.source_manager}",
            "Install it, or set verl_source_manager to auto.",
        )
    if lacks_venv is not None:
        minor = versions.minor(lacks_venv.version)
        return Rejection(
            f"Python {lacks_venv.version} ({lacks_venv.executable}) without venv",
            f"Python {release.python} with venv, for verl {release.version}",
            f"apt install python{minor}-venv",
        )
    found = ", ".join(dict.fromkeys(python.version for python in facts.pythons)) or "no Python"
    wanted = release.python_recommended or "3.12"
    return Rejection(
        f"Python {found}",
        f"Python {release.python or wanted} for verl {release.version}",
        f"apt install python{wanted}-venv, or: uv python install {wanted}, with ~/.local/bin on PATH",
    )


def source(candidate: Candidate, facts: SelectionFacts, preferences: Preferences, catalog: Catalog) -> Finding | None:
    """A source environment gets verl from PyPI or from a checkout: the release must be there."""
    if not candidate.image.source:
        return None
    release = candidate.release
    if preferences.source_method == "pypi" and not release.pypi:
        return Rejection(
            f"verl {release.version} is not on PyPI",
            "a release on PyPI (verl_source_method pypi)",
            "Set verl_source_method to git.",
        )
    if not release.pypi and not release.git_tag and not preferences.commit:
        return Rejection(
            f"verl {release.version} has neither a PyPI release nor a tag", "one of the two", "Set verl_commit."
        )
    return None
