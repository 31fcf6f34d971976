"""The catalog as the decisions see it: images, releases, drivers and GPUs, read without trusting them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from functools import cmp_to_key
from typing import Any

from verl_provision import versions
from verl_provision.catalog.capability import Sass
from verl_provision.catalog.gpus import Architecture, Product, architectures, branch_for, products
from verl_provision.decide.junk import mapping, mappings, number, text, texts

TESTED, INHERITED, DOCUMENTED, FLOOR_ONLY, UNKNOWN = "tested", "inherited", "documented", "floor_only", "unknown"
Requirement = tuple[str, str, str]  # package, version in the image, what the release asks for
UNPACKED = 2.2  # unpacked size over download, of CUDA images
EVIDENCE = (TESTED, INHERITED, DOCUMENTED, FLOOR_ONLY, UNKNOWN)  # best first


@dataclass(frozen=True, slots=True)
class Image:
    """One image of the catalog."""

    id: str
    ref: str
    registry: str
    digest: str | None
    vendor: str
    arch: tuple[str, ...]
    python: str | None
    toolkit_cuda: str | None
    cuda: str | None  # of its torch: what the driver has to carry
    torch: str | None
    engines: dict[str, str]
    flashinfer: str | None
    deepep: tuple[str, ...]  # compute capabilities it was compiled for, where that is known
    trainers: tuple[str, ...]
    megatron_core: str | None
    flash_attn: str | None
    tensordict: str | None
    transformers: str | None
    transfer_queue: str | None
    verl_inside: bool
    sass: tuple[str, ...]
    ptx: str | None
    minimum: str | None
    minimum_because: str
    tested: tuple[str, ...]
    documented: tuple[str, ...]
    floor_only: tuple[str, ...]
    inherited: dict[str, str] | None  # patch release -> the release it follows; None = not worked out
    families: tuple[str, ...]
    tags: tuple[str, ...]
    scenarios: tuple[str, ...]
    official: bool
    role: str
    size_gb: float | None
    defects: tuple[dict[str, Any], ...]
    known: bool = True
    source: bool = False  # not an image: the stack that a source environment of a release would have

    def local(self, refs: frozenset[str], digests: frozenset[str]) -> bool:
        """Whether an engine that has `refs` and `digests` has this image."""
        if self.digest:
            return any(digest.endswith(self.digest) for digest in digests)
        return self.ref in refs or f"{self.registry}/{self.ref}" in refs


@dataclass(frozen=True, slots=True)
class Release:
    """One release of verl."""

    version: str
    date: date | None
    python: str
    pypi: bool
    git_tag: str | None
    git_commit: str | None  # of the tag
    code_sha256: str | None  # of its code, where the commit isn't known
    python_recommended: str | None
    vllm_floor: str | None
    vllm_also: tuple[str, ...]
    tensordict: str
    tensordict_runtime: str | None
    numpy: str | None
    transformers: str | None
    transfer_queue: str | None
    torch: str | None
    engine_pins: dict[str, Any]
    constraints: tuple[str, ...]
    extra_packages: tuple[str, ...]
    version_file: str | None
    source: dict[str, Any]
    verify: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Catalog:
    """The whole catalog."""

    images: tuple[Image, ...]
    releases: tuple[Release, ...]  # newest first
    cuda: dict[str, Any] = field(default_factory=dict)
    vendors: dict[str, Any] = field(default_factory=dict)
    products: dict[tuple[str, ...], Product] = field(default_factory=dict)
    architectures: dict[str, Architecture] = field(default_factory=dict)
    sass: Sass = field(default_factory=Sass)
    driver_floor: dict[str, Any] = field(default_factory=dict)
    branch_cuda: dict[str, Any] = field(default_factory=dict)
    toolkit: dict[str, Any] = field(default_factory=dict)
    docker_repository: dict[str, Any] = field(default_factory=dict)
    served: dict[str, tuple[tuple[Release, str, str], ...]] = field(default_factory=dict)
    lacking: dict[tuple[str, str], tuple[Requirement, ...]] = field(default_factory=dict)  # by image and release
    thresholds: tuple[dict[str, Any], ...] = ()  # bandwidth of collectives (catalog/thresholds.yml)
    native_branch: dict[str, str | None] = field(default_factory=dict)  # CUDA -> lowest branch that carries it
    refs: frozenset[str] = frozenset()  # how engines may call the images
    roomy_gb: float = 0.0  # free space with which every image fits
    managers: tuple[dict[str, Any], ...] = ()  # what a source environment may need, as pinned downloads
    distributions: tuple[dict[str, Any], ...] = ()  # commands where we install nothing
    monitor_share: dict[str, float] = field(default_factory=lambda: {"same": 0.0, "older": 0.0})
    daemon_json: tuple[dict[str, Any], ...] = ()  # what makes a change of a key of it take effect
    faults: tuple[str, ...] = ()
    pairs: dict[tuple[str, str], list[Any]] = field(default_factory=dict, compare=False)  # judged already: judging.py
    kinds: dict[tuple[str, str | None], dict[str, Any]] = field(
        default_factory=dict, compare=False
    )  # of GPUs: facts.py

    def manager(self, name: str, arch: str | None) -> dict[str, Any]:
        """The download of a manager for an architecture, {} where there's none."""
        for entry in self.managers:
            for download in mappings(entry.get("downloads")):
                if entry.get("name") == name and download.get("arch") == arch:
                    package = mapping(entry.get("package"))
                    wheel = text(mapping(package.get("sha256")).get(arch))
                    return {
                        "name": name,
                        "version": text(entry.get("version")) or "",
                        "url": text(download.get("url")) or "",
                        "sha256": text(download.get("sha256")) or "",
                        "member": text(download.get("member")) or "",
                        "package": {**package, "sha256": wheel} if wheel else None,
                    }
        return {}

    def release(self, version: str) -> Release | None:
        """The release with this version."""
        return next((release for release in self.releases if release.version == version), None)


def read(catalog: Any) -> Catalog:
    """Read a catalog of any shape; an entry that can't be used is left out and named in `faults`."""
    catalog = mapping(catalog)
    faults: list[str] = []
    images, releases = {}, {}
    for entry in mappings(catalog.get("images")):
        image = read_image(entry)
        if image is None:
            faults.append(f"an image of the catalog has no id or no ref: {str(entry)[:80]}")
        else:
            images[image.id] = image
    for entry in mappings(catalog.get("releases")):
        release = read_release(entry)
        if release is None:
            faults.append(f"a release of the catalog has no version: {str(entry)[:80]}")
        else:
            releases[release.version] = release
    cuda, gpus = mapping(catalog.get("cuda")), mapping(catalog.get("gpus"))
    newest_first = cmp_to_key(lambda left, right: versions.compare(right.version, left.version))
    ordered = tuple(sorted(releases.values(), key=newest_first))
    branches = mapping(cuda.get("branch_cuda"))
    return Catalog(
        images=tuple(images.values()),
        releases=ordered,
        cuda=cuda,
        vendors=mapping(catalog.get("vendors")),
        products=products(gpus),
        architectures=architectures(gpus, branches),
        monitor_share={kind: number(mapping(gpus.get("monitor_share")).get(kind)) or 0.0 for kind in ("same", "older")},
        sass=Sass(_tuples(cuda.get("sass_exclusions")), _tuples(cuda.get("sass_only"))),
        driver_floor=mapping(cuda.get("driver_floor")),
        branch_cuda=branches,
        toolkit=mapping(cuda.get("toolkit")),
        docker_repository=mapping(mapping(cuda.get("docker")).get("repository")),
        served={image.id: served(image, ordered) for image in images.values()},
        lacking=lacking(images.values(), ordered),
        thresholds=tuple(mappings(catalog.get("thresholds"))),
        native_branch={
            image.cuda: branch_for(image.cuda, branches) for image in images.values() if image.cuda is not None
        },
        refs=frozenset(ref for image in images.values() for ref in (image.ref, f"{image.registry}/{image.ref}")),
        roomy_gb=2 * max([image.size_gb or 0 for image in images.values()] or [0]) + 100,
        managers=tuple(mappings(catalog.get("managers"))),
        daemon_json=tuple(mappings(catalog.get("daemon_json"))),
        distributions=tuple(mappings(catalog.get("distributions"))),
        faults=tuple(faults),
    )


def _tuples(table: Any) -> dict[str, tuple[str, ...]]:
    return {str(code): texts(capabilities) for code, capabilities in mapping(table).items()}


def read_image(entry: dict[str, Any]) -> Image | None:
    """One image, or None where it has no id or no reference."""
    name, ref = text(entry.get("id")), text(entry.get("ref"))
    if not name or not ref:
        return None
    cuda, serves = mapping(entry.get("cuda")), mapping(entry.get("serves"))
    code = mapping(entry.get("compute_capabilities"))
    minimum, size = mapping(code.get("minimum")), mapping(entry.get("size_gb"))
    engines = {key: str(value) for key, value in mapping(entry.get("engines")).items() if value}
    return Image(
        id=name,
        ref=ref,
        registry=text(entry.get("registry")) or "docker.io",
        digest=text(entry.get("digest")),
        vendor=text(entry.get("vendor")) or "nvidia",
        arch=texts(entry.get("arch")),
        python=text(entry.get("python")),
        toolkit_cuda=text(cuda.get("toolkit")),
        cuda=text(cuda.get("torch")) or text(cuda.get("toolkit")),
        torch=text(entry.get("torch")),
        engines=engines,
        flashinfer=text(entry.get("flashinfer")),
        deepep=texts(mapping(entry.get("deepep")).get("compute_capabilities")),
        trainers=texts(entry.get("trainers")),
        megatron_core=text(entry.get("megatron_core")),
        flash_attn=text(entry.get("flash_attn")),
        tensordict=text(entry.get("tensordict")),
        transformers=text(entry.get("transformers")),
        transfer_queue=text(entry.get("transfer_queue")),
        verl_inside=entry.get("verl_inside") is True,
        sass=texts(code.get("sass")),
        ptx=text(code.get("ptx")),
        minimum=text(minimum.get("value")),
        minimum_because=text(minimum.get("because")) or "",
        tested=tuple(versions.without_v(item) for item in texts(serves.get("tested"))),
        documented=tuple(versions.without_v(item) for item in texts(serves.get("documented"))),
        floor_only=tuple(versions.without_v(item) for item in texts(serves.get("floor_only"))),
        inherited=_inherited(serves.get("inherited")),
        families=tuple(item.lower() for item in texts(entry.get("model_families"))),
        tags=texts(entry.get("tags")),
        scenarios=texts(entry.get("scenarios")),
        official=entry.get("official") is not False,
        role=text(entry.get("role")) or "app",
        size_gb=_size(size),
        defects=tuple(mappings(entry.get("defects"))),
    )


def _inherited(value: Any) -> dict[str, str] | None:
    if not isinstance(value, dict):
        return None
    return {str(new): str(old) for new, old in value.items() if isinstance(old, str)}


def _size(size: dict[str, Any]) -> float | None:
    """What the image takes on disk: the catalog's number or estimate, else from what is downloaded."""
    compressed = number(size.get("compressed"))
    unpacked = number(size.get("unpacked")) or number(size.get("estimate"))
    downloaded = compressed or number(size.get("compressed_estimate"))
    return unpacked or (UNPACKED * downloaded if downloaded else None)


def read_release(entry: dict[str, Any]) -> Release | None:
    """One release, or None where it has no version."""
    version = text(entry.get("version"))
    if not version or versions.key(version) is None:
        return None
    return Release(
        version=versions.without_v(version),
        date=_date(entry.get("date")),
        python=text(entry.get("python")) or "",
        pypi=entry.get("pypi") is not False,
        git_tag=text(entry.get("git_tag")),
        git_commit=text(entry.get("git_commit")),
        code_sha256=text(entry.get("code_sha256")),
        python_recommended=text(entry.get("python_recommended")),
        vllm_also=texts(entry.get("vllm_also")),
        vllm_floor=text(entry.get("vllm_floor")),
        tensordict=text(entry.get("tensordict")) or "",
        tensordict_runtime=text(entry.get("tensordict_runtime")),
        numpy=text(entry.get("numpy")),
        transformers=text(entry.get("transformers")),
        transfer_queue=text(entry.get("transfer_queue")),
        torch=text(entry.get("torch")),
        engine_pins=mapping(entry.get("engine_pins")),
        constraints=texts(entry.get("constraints")),
        extra_packages=texts(entry.get("extra_packages")),
        version_file=text(entry.get("version_file")),
        source=mapping(entry.get("source")),
        verify=mapping(entry.get("verify")),
    )


def _date(value: Any) -> date | None:
    try:
        return date.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None


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


def requirements(image: Image, release: Release) -> list[Requirement]:
    """`(package, version in the image, what the release asks for)` where both are known; tensordict has more rules."""
    both = (
        ("transformers", image.transformers, release.transformers),
        ("TransferQueue", image.transfer_queue, release.transfer_queue),
    )
    return [(name, inside, asked) for name, inside, asked in both if inside and asked]


def lacking(images: Iterable[Image], releases: tuple[Release, ...]) -> dict[tuple[str, str], tuple[Requirement, ...]]:
    """By image and release: what the release's wheel asks for, the image has not, and CI of the release ran without.

    A release's own CI is the better witness: what it ran with, in whichever image, is no reason to refuse one.
    """
    known = list(images)
    found = {}
    for release in releases:
        ran = {row for image in known if release.version in image.tested for row in requirements(image, release)}
        for image in known:
            rows = [row for row in requirements(image, release) if row not in ran]
            rows = [row for row in rows if not versions.satisfies(row[1], row[2])]
            if rows:
                found[image.id, release.version] = tuple(rows)
    return found


def served(image: Image, releases: tuple[Release, ...]) -> tuple[tuple[Release, str, str], ...]:
    """Every release that `image` serves, with its evidence and what that rests on; newest first."""
    listed = listing(image)
    found = []
    for release in releases:
        evidence, basis = serves(image, release.version, listed)
        if evidence:
            found.append((release, evidence, basis))
    return tuple(found)
