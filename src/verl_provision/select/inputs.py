"""What a decision may read: a host's `SelectionFacts`, the user's `Preferences`, and the catalog. Nothing else.

Both are frozen and hashable: together they are the key under which hosts share one decision, so a rule that needs
one more fact needs one more field here, and cannot forget it in the key.
"""

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

from verl_provision.catalog.model import Catalog
from verl_provision.decide.junk import text
from verl_provision.facts import NVIDIA, Accelerator, Host, Python, Store, System

ROOMY = float("inf")  # free space in which every image fits: how much it is exactly says nothing more


@dataclass(frozen=True, slots=True)
class Docker:
    """What the choice of a backend asks about Docker."""

    installed: bool
    version: str | None
    reachable: bool
    with_sudo: bool
    rootless: bool
    reason: str | None
    nvidia_runtime: bool
    cdi_ready: bool
    snap: bool
    elsewhere: str | None


@dataclass(frozen=True, slots=True)
class Local:
    """What of the catalog an engine has already; it matters where a disk is short."""

    refs: frozenset[str] = frozenset()
    digests: frozenset[str] = frozenset()


@dataclass(frozen=True)
class SelectionFacts:
    """Everything of a host that a rule or the ranking may read."""

    arch: str | None
    os_family: str | None
    os_pretty: str
    system: System
    user: str
    root: bool
    sudo: str
    password_refused: bool
    accelerators: tuple[Accelerator, ...]
    nvidia_state: str
    nvidia_reason: str | None
    nvidia_fix: str | None
    driver: str | None
    driver_cuda: str | None
    driver_known: bool
    kernel_modules: str | None
    reboot_pending: bool
    nvswitch: bool
    fabric_installed: bool | None
    fabric_active: bool | None
    fabric_version: str | None
    fabric_state: str | None
    gpus_on_bus: int
    gpus_listed: int
    gpus_aside: tuple[str, ...]
    gpus_unmatched: tuple[str, ...]
    gpus_lost: tuple[str, ...]
    needs_modules: tuple[str, str]
    docker: Docker
    podman_version: str | None
    podman_lacks: str
    apptainer_version: str | None
    toolkit_version: str | None
    toolkit_mode: str | None
    no_cgroups: bool
    pythons: tuple[Python, ...]
    managers: frozenset[str]
    stores: tuple[Store, ...]
    local: tuple[tuple[str, Local], ...]  # by engine; empty where there is room for everything
    sif_images: frozenset[str]
    source_version: str | None  # of the source environment that is there
    engine: str = "docker"  # whose store and images count; set once the backend is chosen

    @classmethod
    def of(cls, host: Host, catalog: Catalog) -> "SelectionFacts":
        """Read them off a host."""
        roomy = all((store.free_gb or 0) >= catalog.roomy_gb for store in host.stores.values())
        same = {name: getattr(host, name) for name in _SAME}
        docker = host.docker
        return cls(
            **same,
            docker=Docker(
                docker.installed, docker.version, docker.reachable, docker.with_sudo, docker.rootless, docker.reason,
                "nvidia" in docker.runtimes, docker.cdi_ready, docker.snap, docker.elsewhere,
            ),
            stores=tuple(_measured(store, catalog) for store in host.stores.values()),
            local=() if roomy else tuple(
                (engine, Local(refs & catalog.refs, digests))
                for engine, (refs, digests) in sorted(host.images_by_engine.items())
            ),
            sif_images=frozenset() if roomy else host.sif_images,
            source_version=text(host.source.get("verl_version")) if host.source and not roomy else None,
        )  # fmt: skip

    def served_by(self, backend: str | None) -> "SelectionFacts":
        """The same with another engine's store and images."""
        return replace(self, engine=backend) if backend in ("podman", "apptainer") else self

    def store(self, backend: str) -> Store:
        """Where a backend keeps what it fetches."""
        return next(store for store in self.stores if store.backend == backend)

    @cached_property
    def gpus(self) -> tuple[Accelerator, ...]:
        """NVIDIA's."""
        return tuple(gpu for gpu in self.accelerators if gpu.vendor == NVIDIA)

    @cached_property
    def others(self) -> tuple[Accelerator, ...]:
        """Other vendors'."""
        return tuple(other for other in self.accelerators if other.vendor != NVIDIA)

    @cached_property
    def kinds(self) -> tuple[Accelerator, ...]:
        """One NVIDIA GPU of each product."""
        return tuple({(gpu.model, gpu.arch): gpu for gpu in self.gpus}.values())

    @property
    def rights(self) -> bool:
        """Whether steps that need root can be done without asking anyone."""
        return self.root or self.sudo == "free"


_OWN = {"docker", "stores", "local", "sif_images", "source_version", "engine"}
_SAME = tuple(about.name for about in fields(SelectionFacts) if about.name not in _OWN)


def _measured(store: Store, catalog: Catalog) -> Store:
    if store.free_gb is None or store.free_gb < catalog.roomy_gb:
        return store
    return Store(store.backend, store.path, ROOMY, store.factor, store.fix)  # `replace` takes ten times as long


@dataclass(frozen=True, slots=True)
class Preferences:
    """What the user asked for, as far as the choice of an environment goes."""

    version: str
    engine: str
    trainer: str
    scenario: str
    params_b: float | None
    family: str | None
    algorithm: str
    nnodes: int
    backend: str
    policy: str
    image: str | None
    force: bool
    source_method: str
    source_manager: str
    commit: str | None

    @classmethod
    def of(cls, request: Any) -> "Preferences":
        """Read them off a request."""
        return cls(*(getattr(request, about.name) for about in fields(cls)))
