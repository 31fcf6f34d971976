"""A host, typed: its facts, read without trusting them."""

import re
from dataclasses import dataclass, field, replace
from typing import Any

from verl_provision import versions
from verl_provision.catalog.gpus import driver_cuda
from verl_provision.catalog.model import Catalog
from verl_provision.catalog.products import find
from verl_provision.decide.junk import flag, items, mapping, mappings, number, text, texts, whole

NVIDIA = "nvidia"
PCI_NVIDIA = "10de"
PODMAN_WITH_CDI = "4.1"
NO_NAMESPACES = (
    "the kernel gives unprivileged users no namespaces (user.max_user_namespaces or "
    "kernel.unprivileged_userns_clone is 0)"
)
KINDS = 1000  # of GPUs that are remembered
MOST_DEVICES = 64  # of one host
NO_IMAGES: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One accelerator of any vendor, with what the catalog knows of its kind."""

    vendor: str  # nvidia, amd, ascend
    model: str  # as the host names it
    arch: str | None  # what code is built for: a compute capability (9.0), gfx942, 910b
    family: str = "an unknown architecture"
    last_cuda_major: str | None = None
    last_driver_branch: str | None = None
    first_driver_branch: str | None = None
    open_modules: str = "optional"
    forward_compat: bool = False
    thresholds: tuple[tuple[int, int, str, float], ...] = ()  # of collectives: GPUs, MB, algorithm, GB/s
    memory_mb: int | None = None
    mig: bool = False
    mig_devices: int = 0
    nvlsm: bool = False  # its board's NVSwitches are no PCI devices, and need NVIDIA's subnet manager


@dataclass(frozen=True, slots=True)
class Python:
    """One Python interpreter of the host."""

    version: str
    executable: str
    venv: bool


@dataclass(frozen=True, slots=True)
class Docker:
    """The Docker engine of the host, as far as the login user can see it."""

    installed: bool = False
    version: str | None = None
    reachable: bool = False
    with_sudo: bool = False
    rootless: bool = False
    reason: str | None = None
    runtimes: tuple[str, ...] = ()
    live_restore: bool = False
    gpus_flag: bool | None = None
    cgroup_driver: str | None = None
    daemon_json: dict[str, Any] = field(default_factory=dict)
    daemon_json_path: str = "/etc/docker/daemon.json"
    daemon_json_error: str | None = None
    daemon_json_newer: bool = False  # the file was written after dockerd had started
    started_at: float | None = None
    running: tuple[tuple[str, str], ...] = ()  # (name, id)
    swarm: bool = False
    proxies: tuple[str, str] = ("", "")  # that the daemon pulls through, for http and https
    userns_remap: bool = False
    selinux: bool = False
    snap: bool = False
    elsewhere: str | None = None  # the machine that it runs on, where that isn't this one
    flags: tuple[tuple[str, str], ...] = ()  # that its daemon is started with
    cdi_ready: bool = False  # it knows CDI and has a device of nvidia.com/gpu


@dataclass(frozen=True, slots=True)
class System:
    """What kind of machine this is."""

    container: str | None = None  # what runs it, where the machine is itself a container
    systemd: bool = True  # as its service manager
    wsl: bool = False
    id: str | None = None
    family: str | None = None
    repository: tuple[str, str] | None = None  # (debian or ubuntu, codename) whose packages fit; None where none do
    namespaces: bool = True  # for users without rights
    selinux: bool = False  # enforcing


@dataclass(frozen=True, slots=True)
class AptSource:
    """A repository that a file of apt's names; not the distribution's own."""

    file: str
    uri: str  # without a slash at its end
    suite: str = ""
    signed_by: str | None = None
    keys: tuple[str, ...] = ()  # fingerprints that it trusts
    arch: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AptConflict:
    """A repository that several sources name with different keys: apt reads none of them."""

    uri: str
    suite: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AptPin:
    """What apt's preferences say of a package."""

    file: str
    package: str  # a pattern
    pin: str
    priority: int


@dataclass(frozen=True, slots=True)
class Apt:
    """What apt on this host would say to a source and its packages."""

    sources: tuple[AptSource, ...] = ()
    conflicts: tuple[AptConflict, ...] = ()
    interrupted: bool = False  # dpkg
    held: tuple[str, ...] = ()  # packages on hold
    unfinished: tuple[str, ...] = ()  # packages on which dpkg could not end its work
    pins: tuple[AptPin, ...] = ()
    locked: str = ""  # by whom, at the time of the facts


@dataclass(frozen=True, slots=True)
class Container:
    """Our container."""

    id: str
    running: bool
    image_id: str | None
    image_ref: str | None
    processes: tuple[str, ...]
    key: str | None
    ours: bool  # it has the label that we give each container that we make
    mounts: tuple[str, ...]  # where in it something is mounted
    engine: str = "docker"
    by_cdi: bool = False  # how it got its GPUs


@dataclass(frozen=True, slots=True)
class Kept:
    """A container that was replaced and is kept for the files in it. What it takes is known from the step's stamp."""

    engine: str
    name: str
    id: str
    size_gb: float | None
    image_gb: float | None
    files: int | None
    path: str | None  # of one of the files


@dataclass(frozen=True, slots=True)
class Store:
    """Where a backend keeps what it fetches."""

    backend: str
    path: str
    free_gb: float | None
    factor: float  # of what an image or environment takes: what is unpacked beside it
    fix: str


@dataclass(frozen=True, slots=True)
class Host:
    """Everything the decisions read of a host's facts."""

    arch: str | None
    os_id: str | None
    os_codename: str | None
    os_family: str | None
    os_pretty: str
    system: System
    apt: Apt
    home: str
    user: str
    root: bool
    sudo: str
    password_refused: bool  # that Ansible has for sudo
    memory_mb: int | None
    accelerators: tuple[Accelerator, ...]
    nvidia_state: str
    nvidia_reason: str | None
    nvidia_fix: str | None
    driver: str | None
    driver_cuda: str | None  # what its branch implements
    driver_known: bool
    kernel_modules: str | None
    reboot_pending: bool
    nvswitch: bool
    fabric_installed: bool | None
    fabric_active: bool | None
    fabric_version: str | None
    fabric_state: str | None  # as the GPUs see it: completed, waiting, none
    gpu_places: tuple[tuple[int | None, str | None], ...]  # (number, UUID) of all that nvidia-smi lists
    cdi_uuids: bool  # the CDI specification names GPUs by UUID
    gpus_listed: int  # by nvidia-smi; some may not be used
    gpus_on_bus: int  # NVIDIA's, those reserved for virtual machines left out
    gpus_lost: tuple[str, ...]  # PCI addresses that nvidia-smi could not reach
    needs_modules: tuple[str, str]  # (product on the PCI bus, open or proprietary) where it takes one kind only
    gpu_processes: int
    docker: Docker
    podman_version: str | None
    podman_lacks: str
    apptainer_version: str | None
    toolkit_version: str | None
    toolkit_mode: str | None
    no_cgroups: bool  # the legacy hook leaves the device cgroup alone
    images_by_engine: dict[str, tuple[frozenset[str], frozenset[str]]]  # (references, digests) of its images
    local_images: tuple[dict[str, Any], ...]
    pythons: tuple[Python, ...]
    managers: frozenset[str]  # conda, mamba, micromamba, uv
    stores: dict[str, Store]  # by backend
    found_container: Container | None  # of our name, in whichever engine
    kept: tuple[Kept, ...]
    sif_images: frozenset[str]
    huggingface_token: bool  # its file is there
    shell_key: str | None  # of verl-shell; None where it isn't there
    checkout: dict[str, Any] | None
    source: dict[str, Any] | None
    stamps: dict[str, Any]
    verification: dict[str, Any]
    rdma: tuple[tuple[str, bool, int | None, str], ...]  # ports: (infiniband or roce, up, Gb/s, device)
    interface: str | None  # of the default route
    address: str | None  # on it
    ray_running: bool
    ray_busy: bool
    ray_container: str | None  # the id of the container that runs Ray
    ray_up: bool  # that container, or the unit, is running
    ray_unit: bool  # the login user's own systemd has Ray's unit
    user_service: dict[str, Any] | None  # that systemd; None where there is none
    shm_mb: int | None  # the host's own /dev/shm
    engine: str = "docker"  # whose images and container count; decided before they are
    gpus_used: tuple[tuple[int, str], ...] = ()  # (number, UUID) of those that are used; () for all
    gpus_aside: tuple[str, ...] = ()  # models that drive a monitor
    gpus_unmatched: tuple[str, ...] = ()  # names in verl_gpus that no GPU here has

    @property
    def gpus(self) -> tuple[Accelerator, ...]:
        """NVIDIA's."""
        return tuple(gpu for gpu in self.accelerators if gpu.vendor == NVIDIA)

    @property
    def image_refs(self) -> frozenset[str]:
        """References of the engine's images."""
        return self.images_by_engine.get(self.engine, NO_IMAGES)[0]

    @property
    def image_digests(self) -> frozenset[str]:
        """Digests of the engine's images."""
        return self.images_by_engine.get(self.engine, NO_IMAGES)[1]

    @property
    def container(self) -> Container | None:
        """Our container, where the engine has it."""
        found = self.found_container
        return found if found and found.engine == self.engine else None

    @property
    def rights(self) -> bool:
        """Whether steps that need root can be done without asking anyone."""
        return self.root or self.sudo == "free"


def read(facts: Any, catalog: Catalog) -> Host:
    """Read facts of any shape; what is missing or odd counts as not there."""
    facts = mapping(facts)
    os, user, nvidia = mapping(facts.get("os")), mapping(facts.get("user")), mapping(facts.get("nvidia"))
    engines = mapping(facts.get("engines"))
    podman, apptainer = mapping(engines.get("podman")), mapping(engines.get("apptainer"))
    toolkit, fabric = mapping(facts.get("toolkit")), mapping(nvidia.get("fabric_manager"))
    images = mappings(facts.get("images"))
    ray, network = mapping(facts.get("ray")), mapping(facts.get("network"))
    ray_container, service = mapping(ray.get("container")), mapping(ray.get("user_service"))
    kept = _kept(facts, images)
    driver = text(nvidia.get("driver_version"))
    cdi_lacks = _cdi_lacks(toolkit, driver)
    podman_installed = flag(podman.get("installed")) is True
    lacks = _podman_lacks(podman, cdi_lacks, user) if podman_installed else "it is not installed"
    cuda, known = driver_cuda(driver, catalog.branch_cuda)
    root = flag(user.get("root")) is True
    name = text(user.get("name")) or ("root" if root else "the login user")
    return Host(
        arch=text(facts.get("arch")),
        os_id=text(os.get("id")),
        os_codename=text(os.get("codename")),
        os_family=text(os.get("family")),
        os_pretty=text(os.get("pretty")) or text(os.get("id")) or "an unknown operating system",
        apt=_apt(mapping(facts.get("apt"))),
        system=System(
            container=text(os.get("container")),
            systemd=os.get("systemd") is not False,
            wsl=nvidia.get("wsl") is True,
            id=text(os.get("id")),
            family=text(os.get("family")),
            repository=_repository(os),
            namespaces=user.get("namespaces") is not False,
            selinux=os.get("selinux") is True,
        ),
        home=text(user.get("home")) or ("/root" if root else "~"),
        user=name,
        root=root,
        sudo=text(user.get("sudo")) or "none",
        password_refused=user.get("become_password") == "refused",
        memory_mb=whole(mapping(facts.get("memory")).get("total_mb")),
        accelerators=(*_gpus(mappings(nvidia.get("gpus")), catalog), *_others(facts)),
        nvidia_state=_nvidia_state(facts, nvidia),
        nvidia_reason=text(nvidia.get("reason")),
        nvidia_fix=text(nvidia.get("fix")),
        driver=driver,
        driver_cuda=cuda,
        driver_known=known,
        kernel_modules=text(nvidia.get("kernel_modules")),
        reboot_pending=flag(nvidia.get("reboot_pending")) is True,
        nvswitch=flag(fabric.get("nvswitch")) is True,
        fabric_installed=flag(fabric.get("installed")),
        fabric_active=flag(fabric.get("active")),
        fabric_version=text(fabric.get("version")),
        fabric_state=text(fabric.get("state")),
        gpu_places=tuple((whole(gpu.get("index")), text(gpu.get("uuid"))) for gpu in mappings(nvidia.get("gpus"))),
        cdi_uuids=any(spec.get("uuids") is True for spec in mappings(toolkit.get("gpu_cdi_specs"))),
        gpus_listed=len(mappings(nvidia.get("gpus"))),
        gpus_on_bus=len(_on_bus(facts)),
        gpus_lost=texts(nvidia.get("lost")),
        needs_modules=_needs_modules(facts, catalog) if nvidia.get("state") == "no_devices" else ("", ""),
        gpu_processes=len(items(nvidia.get("processes"))),
        docker=_docker(mapping(engines.get("docker")), toolkit, cdi_lacks),
        podman_version=(text(podman.get("version")) or "unknown") if podman_installed else None,
        podman_lacks=lacks,
        apptainer_version=(text(apptainer.get("version")) or "unknown") if apptainer.get("installed") is True else None,
        toolkit_version=(text(toolkit.get("version")) or "0") if toolkit.get("installed") is True else None,
        toolkit_mode=text(toolkit.get("mode")),
        no_cgroups=toolkit.get("no_cgroups") is True,
        images_by_engine=_images_by_engine(images),
        local_images=tuple(images),
        pythons=_pythons(facts),
        managers=frozenset(str(name) for name, found in mapping(facts.get("managers")).items() if found),
        stores=_stores(
            mapping(facts.get("disk")),
            text(user.get("home")) or "~",
            kept,
            "containerd" in str(mapping(engines.get("docker")).get("images_dir")),
        ),
        found_container=_container(facts.get("container")),
        kept=kept,
        sif_images=frozenset(texts(facts.get("sif_images"))),
        huggingface_token=facts.get("huggingface_token") is True,
        shell_key=text(mapping(facts.get("verl_shell")).get("key")),
        checkout=facts.get("verl_checkout") if isinstance(facts.get("verl_checkout"), dict) else None,
        source=facts.get("source_environment") if isinstance(facts.get("source_environment"), dict) else None,
        stamps=mapping(facts.get("stamps")),
        verification=mapping(facts.get("verification")),
        ray_running=flag(ray.get("running")) is True,
        ray_busy=flag(ray.get("busy")) is True,
        ray_container=text(ray_container.get("id")),
        ray_up=flag(ray_container.get("running")) is True or flag(service.get("running")) is True,
        ray_unit=flag(service.get("unit")) is True,
        user_service=service or None,
        shm_mb=whole(mapping(facts.get("shm")).get("size_mb")),
        rdma=tuple(
            (
                text(port.get("link")) or "",
                port.get("up") is True,
                whole(port.get("gbps")),
                text(port.get("device")) or "",
            )
            for port in mappings(network.get("rdma"))
        ),
        interface=text(network.get("default_interface")),
        address=text(network.get("address")),
    )


def _apt(apt: dict[str, Any]) -> Apt:
    return Apt(
        sources=tuple(
            AptSource(
                text(entry.get("file")) or "", text(entry.get("uri")) or "", text(entry.get("suite")) or "",
                text(entry.get("signed_by")), texts(entry.get("keys")), texts(entry.get("arch")),
            )
            for entry in mappings(apt.get("sources"))
        ),
        conflicts=tuple(
            AptConflict(text(entry.get("uri")) or "", text(entry.get("suite")) or "", texts(entry.get("files")))
            for entry in mappings(apt.get("conflicts"))
        ),
        interrupted=apt.get("interrupted") is True,
        held=texts(apt.get("held")),
        unfinished=texts(apt.get("unfinished")),
        pins=tuple(
            AptPin(
                text(entry.get("file")) or "", text(entry.get("package")) or "", text(entry.get("pin")) or "",
                int(number(entry.get("priority")) or 0),
            )
            for entry in mappings(apt.get("pins"))
        ),
        locked=text(mapping(apt.get("locked")).get("by")) or "",
    )  # fmt: skip


def _gpus(listed: list[dict[str, Any]], catalog: Catalog) -> tuple[Accelerator, ...]:
    kinds = catalog.kinds
    found = []
    for gpu in listed:
        model, reported = text(gpu.get("name")) or "unnamed GPU", text(gpu.get("compute_capability"))
        if (model, reported) not in kinds:
            if len(kinds) >= KINDS:  # names are the hosts' own
                kinds.clear()
            kinds[model, reported] = _kind(model, reported, catalog)
        found.append(
            Accelerator(
                NVIDIA,
                model,
                **kinds[model, reported],
                memory_mb=whole(gpu.get("memory_mb")),
                mig=gpu.get("mig") == "enabled",
                mig_devices=whole(gpu.get("mig_devices")) or 0,
            )
        )
    return tuple(found)


def _thresholds(product: str, catalog: Catalog) -> tuple[tuple[int, int, str, float], ...]:
    """What collectives of GPUs of this product should reach."""
    found = []
    for entry in catalog.thresholds:
        gpus, size, speed = whole(entry.get("gpus")), whole(entry.get("size_mb")), number(entry.get("busbw_gbs"))
        algorithm = text(entry.get("algorithm"))
        if product in texts(entry.get("gpus_named")) and gpus and size and speed and algorithm:
            found.append((gpus, size, algorithm, speed))
    return tuple(found)


def _kind(model: str, reported: str | None, catalog: Catalog) -> dict[str, Any]:
    """What the catalog knows: by the product's name, and by the compute capability that the driver reported."""
    product = find(model, catalog.products)
    arch = reported or (product.capability if product else None)
    family = catalog.architectures.get(arch or "")
    known: dict[str, Any] = {"arch": arch}
    if family:
        known |= {
            "family": family.name,
            "last_cuda_major": family.last_cuda_major,
            "last_driver_branch": family.last_driver_branch,
            "first_driver_branch": family.first_driver_branch,
            "open_modules": family.open_modules,
        }
    if product:
        known |= {
            "open_modules": product.open_modules,
            "forward_compat": product.forward_compat,
            "thresholds": _thresholds(product.name, catalog),
            "nvlsm": product.nvlsm,
        }
    return known


def _nvidia_state(facts: dict[str, Any], nvidia: dict[str, Any]) -> str:
    """The state the probe named; where it named none, what the PCI bus says."""
    in_slots = any(gpu.get("vendor") == PCI_NVIDIA for gpu in mappings(mapping(facts.get("pci")).get("gpus")))
    state = text(nvidia.get("state"))
    if state is None:
        state = "error" if in_slots or nvidia.get("gpus") else "none"
    if state == "ok" and not mappings(nvidia.get("gpus")):
        state = "no_devices" if in_slots else "none"
    return state


def _repository(os: dict[str, Any]) -> tuple[str, str] | None:
    """The distribution and release whose apt repositories fit this one: its own, or what it is made from."""
    base = mapping(os.get("base")) or os
    name, codename = text(base.get("id")), text(base.get("codename"))
    return (name, codename) if name in ("debian", "ubuntu") and codename else None


def _on_bus(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """NVIDIA's GPUs on the PCI bus that this system may use."""
    found = mappings(mapping(facts.get("pci")).get("gpus"))
    return [gpu for gpu in found if gpu.get("vendor") == PCI_NVIDIA and not str(gpu.get("driver")).startswith("vfio")]


def _needs_modules(facts: dict[str, Any], catalog: Catalog) -> tuple[str, str]:
    """A product on the bus that runs with one kind of kernel modules only, known by its PCI id."""
    devices = {str(gpu.get("device")) for gpu in _on_bus(facts)}
    for product in catalog.products.values() if devices else ():
        kind = {"required": "open", "no": "proprietary"}.get(product.open_modules)
        if kind and devices.intersection(product.pci_ids):
            return product.name, kind
    return "", ""


def _others(facts: dict[str, Any]) -> tuple[Accelerator, ...]:
    """AMD's and Ascend's accelerators; one where their number is not known."""
    found: list[Accelerator] = []
    for vendor, about in mapping(facts.get("other_accelerators")).items():
        about = mapping(about)
        if about.get("present") is True:
            model, devices = text(about.get("name")) or f"{vendor} accelerator", whole(about.get("devices")) or 1
            found += [Accelerator(vendor, model, None)] * min(max(devices, 1), MOST_DEVICES)
    return tuple(found)


def served_by(host: Host, backend: str | None) -> Host:
    """The host with what the chosen backend has: another engine's images and container don't count."""
    return replace(host, engine=backend) if backend in ("podman", "apptainer") else host


def _images_by_engine(images: list[dict[str, Any]]) -> dict[str, tuple[frozenset[str], frozenset[str]]]:
    found = {}
    for engine in {text(image.get("engine")) or "docker" for image in images}:
        own = [image for image in images if (text(image.get("engine")) or "docker") == engine]
        found[engine] = tuple(
            frozenset(item for image in own for item in texts(image.get(key))) for key in ("refs", "digests")
        )
    return found


def _stores(disk: dict[str, Any], home: str, kept: tuple[Kept, ...], containerd: bool) -> dict[str, Store]:
    """Docker and Podman have a store of their own; the others keep all in the user's prefix."""
    docker, podman = mapping(disk.get("engine_root")), mapping(disk.get("podman_root"))
    own = mapping(disk.get("prefix")) or mapping(disk.get("home"))
    path, free = text(own.get("path")) or home, number(own.get("free_gb"))
    larger = f"Free space in {path}, or set verl_prefix to a larger file system."
    return {
        "docker": Store(
            "docker",
            text(docker.get("path")) or "/var/lib/docker",
            number(docker.get("free_gb")),
            1.1,
            "Free space (docker system df; docker image prune), or move "
            + ("containerd's root (/etc/containerd/config.toml)" if containerd else "the engine's data-root")
            + " to a larger disk."
            + _frees("docker", kept),
        ),
        "podman": Store(
            "podman",
            text(podman.get("path")) or f"{home}/.local/share/containers/storage",
            number(podman.get("free_gb")),
            1.1,
            "Free space (podman system df; podman image prune), or move graphroot (storage.conf) to a larger disk."
            + _frees("podman", kept),
        ),
        # The layers are unpacked beside the file that is made of them.
        "apptainer": Store("apptainer", path, free, 1.5, larger),
        "source": Store("source", path, free, 1.1, larger),
    }


def _frees(engine: str, kept: tuple[Kept, ...]) -> str:
    """What the containers that are kept take on the engine's disk: their own layers, and the images below them."""
    sentences = []
    for one in kept:
        if one.engine == engine:
            sizes = [size for size in (one.size_gb, one.image_gb) if size is not None]
            takes = f"takes {sum(sizes):.1f} GB with its image" if sizes else "takes room, with its image"
            sentences.append(
                f" {one.name}, kept for the files in it, {takes}: {engine} rm {one.name} when you have them."
            )
    return "".join(sentences)


def _kept(facts: dict[str, Any], images: list[dict[str, Any]]) -> tuple[Kept, ...]:
    known = mapping(mapping(mapping(facts.get("stamps")).get("training_container")).get("kept"))
    found = []
    for item in mappings(facts.get("kept_containers")):
        about = known if known.get("id") == item.get("id") else {}
        found.append(kept_container({**about, **item}, images))
    return tuple(kept for kept in found if kept)


def kept_container(about: dict[str, Any], images: list[dict[str, Any]]) -> Kept | None:
    """A container that is kept, as the facts and the step's stamp tell of it."""
    engine, name, ident = text(about.get("engine")), text(about.get("name")), text(about.get("id"))
    if not (engine and ident and name and re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*-before-[0-9a-f]{12}", name)):
        return None
    size, path = number(about.get("size_bytes")), text(about.get("path"))
    image = next((each for each in images if each.get("id") == about.get("image_id")), {})
    return Kept(
        engine, name, ident, size / 1e9 if size is not None else None, number(image.get("size_gb")),
        whole(about.get("files")), path if path and path.startswith("/") and path.isprintable() else None,
    )  # fmt: skip


def _podman_lacks(podman: dict[str, Any], cdi_lacks: str, user: dict[str, Any]) -> str:
    if podman.get("rootless") is True and user.get("namespaces") is False:
        return NO_NAMESPACES
    if text(podman.get("version")) and versions.compare(text(podman.get("version")) or "0", PODMAN_WITH_CDI) < 0:
        return f"version {podman.get('version')} knows no CDI, which came with {PODMAN_WITH_CDI}"
    if podman.get("rootless") is True and podman.get("subids") is False:
        return "it has no subordinate ids for this user (/etc/subuid, /etc/subgid)"
    return cdi_lacks


def _cdi_lacks(toolkit: dict[str, Any], driver: str | None) -> str:
    """Why `nvidia.com/gpu=all` can't be had from the CDI specifications; "" where it can.

    A specification in /var/run/cdi comes before one in /etc/cdi; two of one directory that both describe it are a
    conflict, and then neither counts.
    """
    if "gpu_cdi_specs" not in toolkit:
        return "" if texts(toolkit.get("cdi_specs")) else "there is no CDI specification in /etc/cdi or /var/run/cdi"
    specs = [spec for spec in mappings(toolkit.get("gpu_cdi_specs")) if spec.get("all") is True]
    folders = {str(spec.get("path")).rpartition("/")[0] for spec in specs}
    first = "/var/run/cdi" if "/var/run/cdi" in folders else "/etc/cdi"
    specs = [spec for spec in specs if str(spec.get("path")).rpartition("/")[0] == first]
    if not specs:
        return "there is no CDI specification of nvidia.com/gpu=all in /etc/cdi or /var/run/cdi"
    names = " and ".join(str(spec.get("path")) for spec in specs)
    if len(specs) > 1:
        return f"the CDI specifications {names} both describe nvidia.com/gpu=all, which is a conflict"
    made = text(specs[0].get("driver"))
    if made and driver and made != driver:
        return f"the CDI specification {names} names libraries of driver {made}, loaded is {driver}"
    return ""


def _docker(docker: dict[str, Any], toolkit: dict[str, Any], cdi_lacks: str) -> Docker:
    if docker.get("installed") is not True:
        left = mapping(docker.get("daemon_json"))
        return Docker(
            reason=text(docker.get("reason")), daemon_json=mapping(left.get("parsed")),
            daemon_json_error=text(left.get("error")),
        )  # fmt: skip
    config, proxy = mapping(docker.get("daemon_json")), mapping(docker.get("proxy"))
    return Docker(
        installed=True,
        version=text(docker.get("version")),
        reachable=docker.get("reachable") is True,
        with_sudo=docker.get("with_sudo") is True,
        rootless=docker.get("rootless") is True,
        reason=text(docker.get("reason")),
        runtimes=texts(docker.get("runtimes")),
        cdi_ready=docker.get("cdi") is True and _docker_has_cdi(docker, toolkit, cdi_lacks),
        swarm=docker.get("swarm") is True,
        userns_remap=docker.get("userns_remap") is True,
        selinux=docker.get("selinux") is True,
        snap=docker.get("snap") is True,
        elsewhere=text(docker.get("elsewhere")),
        flags=tuple(sorted((str(name), str(value)) for name, value in mapping(docker.get("flags")).items())),
        proxies=(text(proxy.get("http")) or "", text(proxy.get("https")) or ""),
        live_restore=docker.get("live_restore") is True,
        gpus_flag=flag(docker.get("gpus_flag")),
        cgroup_driver=text(docker.get("cgroup_driver")),
        daemon_json=mapping(config.get("parsed")),
        daemon_json_path=text(config.get("path")) or "/etc/docker/daemon.json",
        daemon_json_error=text(config.get("error")),
        started_at=number(docker.get("started_at")),
        daemon_json_newer=config.get("newer_than_engine") is True,
        running=tuple(
            (text(item.get("name")) or "unnamed", text(item.get("id")) or "")
            for item in mappings(docker.get("running"))
        ),
    )


def _docker_has_cdi(docker: dict[str, Any], toolkit: dict[str, Any], cdi_lacks: str) -> bool:
    """Docker lists its CDI devices since 28.2; before that, and where a file is of another driver, the files say."""
    listed = any(device.startswith("nvidia.com/gpu") for device in texts(docker.get("cdi_devices")))
    if mappings(toolkit.get("gpu_cdi_specs")):
        return not cdi_lacks
    return listed


def _container(container: Any) -> Container | None:
    if not isinstance(container, dict):
        return None
    labels, spec = mapping(container.get("labels")), mapping(container.get("spec"))
    return Container(
        id=text(container.get("id")) or "",
        running=container.get("running") is True,
        image_id=text(container.get("image_id")),
        image_ref=text(container.get("image_ref")),
        processes=tuple(str(item)[:80] for item in items(container.get("processes"))),
        key=text(labels.get("verl-provision.key")),
        ours="verl-provision.home" in labels,  # as the module knows it; an image has labels of its own
        mounts=tuple(
            text(mount.get("target")) or "" for mount in mappings(mapping(container.get("spec")).get("mounts"))
        ),
        engine=text(container.get("engine")) or "docker",
        by_cdi=any(request.get("driver") == "cdi" for request in mappings(spec.get("device_requests"))),
    )


def _pythons(facts: dict[str, Any]) -> tuple[Python, ...]:
    """Every Python of the host, in the order of the facts; the one the facts were read with last."""
    listed = [*mappings(facts.get("pythons")), mapping(facts.get("python"))]
    found: dict[str, Python] = {}
    for item in listed:
        version, executable = text(item.get("version")), text(item.get("executable"))
        if version and executable and executable not in found:
            found[executable] = Python(version, executable, item.get("venv") is True)
    return tuple(found.values())
