"""What could be chosen: every image with every release it serves, and the source environment of every release."""

from dataclasses import dataclass, replace

from verl_provision import versions
from verl_provision.catalog import references
from verl_provision.catalog.model import TESTED, Catalog, Image, Release, served
from verl_provision.decide.junk import mapping, text, texts
from verl_provision.select.inputs import Preferences, SelectionFacts

# What a source environment takes on disk with everything that is unpacked on the way: estimates, on the safe side.
SOURCE_GB = {"cpu": 4.0, "gpu": 16.0}


@dataclass(frozen=True, slots=True)
class Candidate:
    """An image, or the stack of a source environment, with a release of verl."""

    image: Image
    release: Release
    evidence: str  # how well the pair is known; "" = the image doesn't serve the release
    basis: str = ""  # the release that the evidence is about

    @property
    def source(self) -> bool:
        """Whether this is a source environment."""
        return self.image.source

    @property
    def name(self) -> str:
        """How rejections call it."""
        return f"source ({self.release.version})" if self.image.source else self.image.id


def of_image(image: Image, wanted: tuple[Release, ...], catalog: Catalog) -> list[Candidate]:
    """`image` with each of the wanted releases that it serves; with the newest where it serves none."""
    pairs = catalog.served.get(image.id) if image.known else served(image, wanted)
    every = wanted is catalog.releases
    found = [
        Candidate(image, release, evidence, basis)
        for release, evidence, basis in pairs or ()
        if every or any(release is other for other in wanted)
    ]
    if not found and wanted:
        found = [Candidate(image, wanted[0], "")]
    return found


def of_source(wanted: tuple[Release, ...], facts: SelectionFacts, catalog: Catalog, profile: str) -> list[Candidate]:
    """The source environment of each wanted release."""
    return [Candidate(source_stack(release, facts, catalog, profile), release, TESTED) for release in wanted]


def source_stack(release: Release, facts: SelectionFacts, catalog: Catalog, profile: str) -> Image:
    """What a source environment of `release` would hold, in the shape of an image, so that the same rules judge it."""
    gpu = profile == "gpu"
    cuda = torch_cuda(release.torch, catalog) if gpu else None
    codes = wheel_codes(release.torch, cuda, facts.arch, catalog) if gpu else ((), None)
    flash = text(release.engine_pins.get("flash_attn")) if gpu else None
    least = mapping(mapping(catalog.cuda.get("library_minimum")).get("flash_attn_2"))
    engines = {
        name: str(release.engine_pins[name])
        for name in ("vllm", "sglang")
        if gpu and text(release.engine_pins.get(name))
    }
    return Image(
        id="source",
        ref="",
        registry="",
        digest=None,
        vendor="nvidia",
        arch=("x86_64",) if gpu else (),
        python=None,
        toolkit_cuda=None,
        cuda=cuda,
        torch=release.torch,
        engines=engines,
        flashinfer=None,
        deepep=(),
        trainers=("fsdp",),
        megatron_core=None,
        flash_attn=None,
        tensordict=None,
        transformers=None,
        transfer_queue=None,
        verl_inside=True,
        sass=codes[0],
        ptx=codes[1],
        minimum=text(least.get("compute_capability")) if flash else None,
        minimum_because="flash-attn 2 has no code below it",
        tested=(release.version,),
        documented=(),
        floor_only=(),
        inherited={},
        families=(),
        tags=(),
        scenarios=(),
        official=True,
        role="app",
        size_gb=SOURCE_GB["gpu" if gpu else "cpu"],
        defects=(),
        source=True,
    )


def torch_cuda(torch: str | None, catalog: Catalog) -> str | None:
    """The CUDA version of torch's plain wheel."""
    about = mapping(mapping(catalog.cuda.get("torch_cuda")).get(versions.minor(torch or "")))
    named = text(about.get("pypi"))
    indexes = [tag for tag in texts(about.get("indexes")) if tag.startswith("cu") and tag[2:].isdigit()]
    return named or (f"{indexes[-1][2:-1]}.{indexes[-1][-1]}" if indexes else None)


def wheel_codes(
    torch: str | None, cuda: str | None, arch: str | None, catalog: Catalog
) -> tuple[tuple[str, ...], str | None]:
    """The SASS targets and the PTX in torch's wheel for this CUDA."""
    tag = "cu" + versions.minor(cuda or "").replace(".", "")
    about = mapping(mapping(catalog.cuda.get("wheel_arches")).get(tag))
    special = mapping(mapping(about.get("by_torch")).get(versions.minor(torch or "")))
    return texts(special.get(arch or "") or about.get(arch or "")), text(about.get("ptx"))


def wanted_image(preferences: Preferences, catalog: Catalog) -> Image | None:
    """The catalog's image that `verl_image` names: by id, by reference, or by tag; with the digest that it gives."""
    if preferences.image is None:
        return None
    wanted, _at, digest = preferences.image.partition("@")
    for image in catalog.images:
        if wanted in (image.id, references.tag(image.ref)) or references.plain(wanted) == references.plain(image.ref):
            return replace(image, digest=digest) if digest else image
    return None


def unknown_image(ref: str) -> Image:
    """A forced image that the catalog doesn't have: nothing is known of it."""
    name, dummy, digest = ref.partition("@")
    return Image(
        id=ref,
        ref=name,
        registry=references.registry(name),
        digest=digest or None,
        vendor="nvidia",
        arch=(),
        python=None,
        toolkit_cuda=None,
        cuda=None,
        torch=None,
        engines={},
        flashinfer=None,
        deepep=(),
        trainers=(),
        megatron_core=None,
        flash_attn=None,
        tensordict=None,
        transformers=None,
        transfer_queue=None,
        verl_inside=False,
        sass=(),
        ptx=None,
        minimum=None,
        minimum_because="",
        tested=(),
        documented=(),
        floor_only=(),
        inherited={},
        families=(),
        tags=(),
        scenarios=(),
        official=False,
        role="app",
        size_gb=None,
        defects=(),
        known=False,
    )
