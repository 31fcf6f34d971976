"""Rules about the machine: CPU architecture, disk."""

from verl_provision.catalog.model import Catalog
from verl_provision.facts import Store
from verl_provision.select import vendors
from verl_provision.select.candidates import Candidate
from verl_provision.select.findings import Finding, Rejection, Warning
from verl_provision.select.inputs import Preferences, SelectionFacts

ROOM_GB = 5.0  # to work in, beside what is fetched


def become_password(
    candidate: None, facts: SelectionFacts, preferences: Preferences, catalog: Catalog
) -> Finding | None:
    """A password that Ansible has for sudo is one that sudo takes."""
    if not facts.password_refused:
        return None
    return Rejection(
        f"sudo refuses the password that Ansible has for {facts.user}",
        f"the password of {facts.user} on this host, or none",
        "Give it again (-K asks for it), or correct ansible_become_password; without one no step uses sudo.",
        hard=True,
    )


def cpu_architecture(
    candidate: Candidate, facts: SelectionFacts, preferences: Preferences, catalog: Catalog
) -> Finding | None:
    """An image runs on the CPU architecture it was built for only."""
    image = candidate.image
    if not image.arch or facts.arch is None or facts.arch in image.arch:
        return None
    fix = f"Use a host with one of: {', '.join(image.arch)}."
    if facts.arch == "aarch64":
        fix = vendors.aarch64_fix(catalog)
    return Rejection(facts.arch, " or ".join(image.arch), fix, hard=True)


def disk(candidate: Candidate, facts: SelectionFacts, preferences: Preferences, catalog: Catalog) -> Finding | None:
    """The image, or the environment, and a margin must fit on the disk it goes to."""
    needed = needed_gb(candidate, facts)
    if needed is None:
        return None
    store = store_of(candidate, facts)
    if store.free_gb is None:
        return Warning(f"free space of {store.path} is not known; {needed:.0f} GB are needed")
    if store.free_gb >= needed:
        return None
    size = candidate.image.size_gb
    return Rejection(
        f"{store.free_gb:.1f} GB free in {store.path}",
        f"{needed:.0f} GB ({size:.0f} GB for {candidate.name} and a margin)",
        store.fix,
    )


def store_of(candidate: Candidate, facts: SelectionFacts) -> Store:
    """Where it goes: the store of the backend that was chosen."""
    return facts.store("source" if candidate.source else facts.engine)


def needed_gb(candidate: Candidate, facts: SelectionFacts) -> float | None:
    """What the disk must have free; None where nothing is fetched or no size is known."""
    image = candidate.image
    if image.size_gb is None or present(candidate, facts):
        return None
    return image.size_gb * store_of(candidate, facts).factor + ROOM_GB


def present(candidate: Candidate, facts: SelectionFacts) -> bool:
    """Whether it's on the host already."""
    if candidate.source:
        return facts.source_version == candidate.release.version
    if facts.engine == "apptainer":
        return any(path.endswith(f"/images/{candidate.image.id}.sif") for path in facts.sif_images)
    local = dict(facts.local).get(facts.engine)
    return local is not None and candidate.image.local(local.refs, local.digests)
