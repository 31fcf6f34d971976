"""Compare the catalog with a registry: is each image there, is it still the same, which platforms, how large."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from verl_provision.catalog.logins import login
from verl_provision.module_utils import preflight, registry, web

ARCH = {theirs: ours for ours, theirs in registry.ARCHITECTURES.items()}
# state -> whether it is well
STATES = {
    "same": True,  # the digest of the catalog
    "new": True,  # there; the catalog has no digest yet
    "moved": False,  # a moving tag points at something else now
    "changed": False,  # a fixed tag points at something else now
    "other_platform": False,  # there, but not for the CPU architecture that the catalog says
    "missing": False,
    "denied": False,
    "limited": False,
    "unreachable": False,
    "odd": False,
}


@dataclass(slots=True)
class Checked:
    """What became of one image."""

    id: str
    ref: str
    state: str
    catalog_digest: str | None
    digest: str | None = None
    platforms: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    compressed_gb: float | None = None
    notes: list[str] = field(default_factory=list)
    fix: str = ""

    @property
    def ok(self) -> bool:
        """Nothing for a person to do."""
        return STATES[self.state]


def check(
    images: Iterable[dict[str, Any]],
    base: str | None = None,
    thorough: bool = True,
    timeout: float = 30,
    max_wait: float = 60,
    patience: web.Patience | None = None,
) -> list[Checked]:
    """Ask for each image at `base`, or at its own registry. `thorough` reads sizes and labels of unchanged ones too."""
    clients: dict[str, registry.Registry] = {}
    waits = patience or web.Patience(max_wait)
    found = []
    for image in images:
        address = base or image["registry"]
        if address not in clients:
            clients[address] = connect(address, timeout, waits)
        found.append(one(image, clients[address], thorough))
    return found


def connect(address: str, timeout: float, patience: web.Patience) -> registry.Registry:
    """A client with this machine's login and its registries without TLS."""
    client = registry.Registry(address, None, timeout, preflight.insecure_registries(), attempts=3, patience=patience)
    client.login = login(client.name)
    return client


def one(image: dict[str, Any], client: registry.Registry, thorough: bool = True) -> Checked:
    """Check one image."""
    result = Checked(image["id"], image["ref"], "odd", image["digest"])
    name, dummy, tag = image["ref"].partition(":")
    try:
        digest = client.digest(name, tag)
        seen = None
        if thorough or digest is None or digest != image["digest"] or image["size_gb"]["compressed"] is None:
            seen = client.manifest(name, tag, _wanted(image))
    except registry.RegistryError as error:
        result.state, result.notes = error.kind, [str(error)]
        result.fix = fix(error)
        return result
    result.digest, absent = (seen["digest"] if seen else digest), False
    if seen:
        result.platforms, result.labels = seen["platforms"], seen["labels"]
        if seen["compressed_bytes"]:
            result.compressed_gb = max(round(seen["compressed_bytes"] / 1e9, 2), 0.01)
        absent, result.notes = _platforms(image, result.platforms)
    if image["digest"] is None:
        result.state = "new"
    elif image["digest"] == result.digest:
        result.state = "same"
    else:
        result.state = "moved" if "moving" in image["tags"] else "changed"
        result.fix = "Compare its versions with the catalog's entry, then run `verl-provision catalog check --update`."
    if absent:
        result.state, result.fix = "other_platform", "Correct `arch` of the entry."
    return result


def summary(found: list[Checked]) -> dict[str, Any]:
    """The whole check as plain data."""
    counts = {state: sum(1 for item in found if item.state == state) for state in STATES}
    return {
        "ok": all(item.ok for item in found),
        "counts": {state: count for state, count in counts.items() if count},
        "images": [{**asdict(item), "ok": item.ok} for item in found],
    }


def _wanted(image: dict[str, Any]) -> str:
    """The registry's name of the CPU architecture that the entry is about."""
    return next((theirs for theirs, ours in ARCH.items() if ours == image["arch"][0]), "amd64")


def _platforms(image: dict[str, Any], platforms: list[str]) -> tuple[bool, list[str]]:
    """Where the entry's `arch` and the registry differ, and whether something is absent."""
    there = {ARCH.get(platform.split("/")[1], platform) for platform in platforms if "/" in platform}
    notes, absent = [], []
    if there:
        absent, more = sorted(set(image["arch"]) - there), sorted(there - set(image["arch"]))
        if absent:
            notes.append(f"the catalog says {', '.join(absent)}, the registry has {', '.join(platforms)}")
        if more:
            notes.append(f"the registry has it for {', '.join(more)} too: the catalog doesn't say so")
    return bool(absent), notes


def fix(error: registry.RegistryError) -> str:
    """What to do about a registry's answer."""
    if error.kind == "missing":
        return "Take the entry out, or mirror the image and name the mirror with --registry."
    if error.kind == "denied":
        return "Log in with `docker login`; some registries say this of names they don't have."
    if error.kind == "limited":
        return "Run it again later, with --max-wait, or after `docker login` (higher limits)."
    if error.kind == "unreachable":
        return "One without TLS is named by its scheme: --registry http://HOST:PORT."
    return ""
