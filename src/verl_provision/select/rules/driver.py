"""Rules about the NVIDIA driver: its state, its branch, and the CUDA that it carries."""

from verl_provision import versions
from verl_provision.catalog import gpus
from verl_provision.catalog.model import Catalog
from verl_provision.decide.junk import mapping, text
from verl_provision.select.candidates import Candidate
from verl_provision.select.findings import Finding, Rejection, Warning
from verl_provision.select.inputs import Preferences, SelectionFacts

STATES = {
    "not_installed": ("no driver is installed", "Install NVIDIA's driver, then run again."),
    "not_loaded": ("the driver is installed but its kernel module is not loaded", "modprobe nvidia; dmesg | grep NVRM"),
    "mismatch": ("the kernel module and the libraries have different versions", "Reboot, or reload the module."),
    "nouveau": ("nouveau drives the GPUs", "Blacklist nouveau, install NVIDIA's driver, reboot."),
    "no_devices": ("the driver is loaded but sees no GPU", "dmesg | grep -e NVRM -e Xid"),
    "timeout": ("nvidia-smi does not answer", "dmesg | grep -e NVRM -e Xid; a reboot may be needed"),
    "error": ("the driver answers with an error", "nvidia-smi; dmesg | grep -e NVRM -e Xid"),
}


def driver_state(candidate: None, facts: SelectionFacts, preferences: Preferences, catalog: Catalog) -> Finding | None:
    """A GPU without a working driver is refused, never quietly treated as a CPU host."""
    if facts.nvidia_state in ("ok", "none"):
        if facts.reboot_pending and facts.gpus:
            return Warning("a driver update waits for a reboot", "Reboot when nothing is running.")
        return None
    reason, fix = STATES.get(facts.nvidia_state, STATES["error"])
    product, kind = facts.needs_modules
    if facts.nvidia_state == "no_devices" and kind and facts.kernel_modules and facts.kernel_modules != kind:
        return _other_modules(
            f"{facts.nvidia_reason or reason}: {facts.kernel_modules} kernel modules with {product}", kind, facts
        )
    return Rejection(
        facts.nvidia_reason or reason, "a loaded NVIDIA driver that lists its GPUs", facts.nvidia_fix or fix, hard=True
    )


def _other_modules(found: str, kind: str, facts: SelectionFacts) -> Rejection:
    """Refuse kernel modules of the wrong kind."""
    branch = versions.major(facts.driver) if facts.driver else "the driver"
    fix = f"Install the proprietary driver {branch}, then reboot."
    if kind == "open":
        fix = f"Install nvidia-driver-{branch}-open (or nvidia-open), then reboot."
    return Rejection(found, f"the {kind} kernel modules", fix, hard=True)


def gpus_missing(candidate: None, facts: SelectionFacts, preferences: Preferences, catalog: Catalog) -> Finding | None:
    """Fewer GPUs that answer than there are on the PCI bus: one is lost, or was never started."""
    listed = facts.gpus_listed
    if not listed or (listed >= facts.gpus_on_bus and not facts.gpus_lost):
        return None
    if facts.system.container and not facts.gpus_lost:
        return None  # a container gets a part of them, and sees the whole bus
    lost = f"; it could not reach {', '.join(facts.gpus_lost)}" if facts.gpus_lost else ""
    return Warning(
        f"nvidia-smi lists {listed} GPU{'s' * (listed > 1)}, {facts.gpus_on_bus} NVIDIA GPUs are on the PCI bus{lost}: "
        f"this host is planned and verified with {listed}",
        "sudo dmesg | grep -E 'NVRM|Xid'; a lost GPU often comes back with a reboot",
    )


def driver_branch(candidate: None, facts: SelectionFacts, preferences: Preferences, catalog: Catalog) -> Finding | None:
    """A driver branch that the catalog doesn't know is taken for the nearest lower one that it knows."""
    if not facts.gpus or facts.driver is None or facts.driver_known or facts.driver_cuda is None:
        return None
    return Warning(
        f"driver branch {versions.major(facts.driver)} is not in the catalog: taken to carry CUDA "
        f"{facts.driver_cuda}, as the nearest lower branch does",
        "Add the branch to catalog/cuda.yml.",
    )


def first_driver(candidate: None, facts: SelectionFacts, preferences: Preferences, catalog: Catalog) -> Finding | None:
    """A driver branch from before a GPU existed doesn't drive it."""
    for gpu in facts.kinds:
        first = gpu.first_driver_branch
        if first and facts.driver and versions.compare(versions.major(facts.driver), first) < 0:
            return Rejection(
                f"{gpu.model} with driver {facts.driver}",
                f"driver >= {first}, the first branch that drives {gpu.model} ({gpu.arch})",
                f"Install driver >= {first}.",
                hard=True,
            )
    return None


def end_of_life_driver(
    candidate: None, facts: SelectionFacts, preferences: Preferences, catalog: Catalog
) -> Finding | None:
    """A driver branch after the last one that supports a GPU doesn't drive it."""
    for gpu in facts.kinds:
        last = gpu.last_driver_branch
        if last and facts.driver and versions.compare(versions.major(facts.driver), last) > 0:
            return Rejection(
                f"{gpu.model} with driver {facts.driver}",
                f"driver {last}, the last branch that supports {gpu.family}",
                f"Install the newest driver {last}.",
                hard=True,
            )
    return None


def open_kernel_modules(
    candidate: None, facts: SelectionFacts, preferences: Preferences, catalog: Catalog
) -> Finding | None:
    """Blackwell and newer run with the open kernel modules only, GPUs before Turing with the proprietary ones only."""
    branch = versions.major(facts.driver) if facts.driver else "the driver"
    for gpu in facts.kinds:
        if gpu.open_modules == "required":
            if facts.kernel_modules == "proprietary":
                return Rejection(
                    f"proprietary kernel modules with {gpu.model}",
                    "the open kernel modules",
                    f"Install nvidia-driver-{branch}-open (or nvidia-open), then reboot.",
                    hard=True,
                )
            if facts.kernel_modules is None:
                return Warning(
                    f"{gpu.model} needs the open kernel modules; which are loaded is not known",
                    "modinfo -F license nvidia should say: Dual MIT/GPL",
                )
        if gpu.open_modules == "no" and facts.kernel_modules == "open":
            return Rejection(
                f"open kernel modules with {gpu.model}",
                "the proprietary kernel modules",
                f"Install the proprietary driver {branch}, then reboot.",
                hard=True,
            )
    return None


def fabric_manager(
    candidate: None, facts: SelectionFacts, preferences: Preferences, catalog: Catalog
) -> Finding | None:
    """On an NVSwitch board CUDA answers 802 until Fabric Manager of the driver's own version runs."""
    hidden = sum(gpu.nvlsm for gpu in facts.gpus) > 1 and facts.fabric_state != "none"
    if not (facts.nvswitch or hidden) or not facts.gpus or (hidden and facts.fabric_state == "completed"):
        return None
    if hidden and facts.fabric_active is not True:
        installed = "installed but not active" if facts.fabric_installed else "not installed"
        return Rejection(
            f"an NVSwitch board ({facts.gpus[0].model}) on which Fabric Manager is {installed}",
            f"nvidia-fabricmanager {facts.driver} and nvlsm running (until then CUDA answers 802)",
            f"Install nvidia-fabricmanager {facts.driver} and nvlsm, then: sudo systemctl enable --now "
            "nvidia-fabricmanager",
            hard=True,
        )
    needed = f"nvidia-fabricmanager {facts.driver} running (until then CUDA answers 802)"
    if facts.fabric_active is False:
        if facts.fabric_installed is False:
            return Rejection(
                "NVSwitch without Fabric Manager",
                needed,
                f"Install nvidia-fabricmanager {facts.driver} and start it.",
                hard=True,
            )
        return Rejection(
            "Fabric Manager is installed but not active",
            needed,
            "systemctl enable --now nvidia-fabricmanager; journalctl -u nvidia-fabricmanager",
            hard=True,
        )
    if facts.fabric_version and facts.driver and versions.compare(facts.fabric_version, facts.driver) != 0:
        return Rejection(
            f"Fabric Manager {facts.fabric_version} with driver {facts.driver}",
            needed,
            f"Install nvidia-fabricmanager {facts.driver}, exactly the driver's version.",
            hard=True,
        )
    if facts.fabric_active is None:
        if facts.fabric_installed is False:
            return Rejection(
                "NVSwitch without Fabric Manager",
                needed,
                f"Install nvidia-fabricmanager {facts.driver} and start it.",
                hard=True,
            )
        return Warning("whether Fabric Manager runs is not known", "systemctl status nvidia-fabricmanager")
    return None


def end_of_life_cuda(
    candidate: Candidate, facts: SelectionFacts, preferences: Preferences, catalog: Catalog
) -> Finding | None:
    """A CUDA major without code for a GPU's architecture doesn't serve it, whatever the driver reports."""
    image = candidate.image
    if not image.cuda:
        return None
    for gpu in facts.kinds:
        last = gpu.last_cuda_major
        if last and versions.compare(versions.major(image.cuda), last) > 0:
            return Rejection(
                f"{gpu.model} ({gpu.family}): CUDA {last} is the last with code for it",
                f"a GPU that CUDA {versions.major(image.cuda)} has code for (Turing or newer)",
                f"Choose an image with CUDA {last}; a newer driver does not help.",
                hard=True,
            )
    return None


def floor(cuda: str, catalog: Catalog) -> str | None:
    """The oldest driver on which programs built with this CUDA run."""
    return text(catalog.driver_floor.get(versions.major(cuda))) or gpus.native_branch(cuda, catalog)


def below_floor(candidate: Candidate, facts: SelectionFacts, catalog: Catalog) -> bool:
    """Whether the driver is too old for the image's CUDA even by minor-version compatibility."""
    cuda = candidate.image.cuda
    if not cuda or not facts.gpus:
        return False
    oldest = floor(cuda, catalog)
    return facts.driver is None or (oldest is not None and versions.compare(facts.driver, oldest) < 0)


def driver_floor(
    candidate: Candidate, facts: SelectionFacts, preferences: Preferences, catalog: Catalog
) -> Finding | None:
    """The driver must be at least the floor of the image's CUDA major (minor-version compatibility)."""
    if not below_floor(candidate, facts, catalog):
        return None
    compat, dummy = compat_allowed(candidate, facts, catalog)
    if compat and preferences.policy == "compat":
        return None
    cuda = candidate.image.cuda
    oldest = floor(cuda, catalog)
    fix = f"Install driver >= {oldest}."
    if compat:
        fix += (
            " Or set verl_driver_policy to compat: this GPU and branch may use NVIDIA's forward-compatibility package."
        )
    return Rejection(f"driver {facts.driver or 'unknown'}", f"driver >= {oldest} for CUDA {versions.minor(cuda)}", fix)


def native_driver(
    candidate: Candidate, facts: SelectionFacts, preferences: Preferences, catalog: Catalog
) -> Finding | None:
    """The driver's branch should carry the CUDA minor of the image's torch; less is minor-version compatibility."""
    cuda = candidate.image.cuda
    if not cuda or not facts.gpus or below_floor(candidate, facts, catalog) or is_native(cuda, facts):
        return None
    carried = f"driver {facts.driver} carries CUDA {facts.driver_cuda or 'unknown'}"
    branch = gpus.native_branch(cuda, catalog)
    if preferences.policy == "native":
        return Rejection(
            carried,
            f"CUDA {versions.minor(cuda)} carried natively (verl_driver_policy native)",
            f"Install driver >= {branch}." if branch else "Choose an image with an older CUDA.",
        )
    return Warning(
        f"{candidate.image.id} has torch for CUDA {versions.minor(cuda)}, but {carried}: it runs by "
        "minor-version compatibility, and code compiled at run time (Triton, torch.compile, PTX) may fail",
        f"Install driver >= {branch} for full support." if branch else "",
    )


def is_native(cuda: str, facts: SelectionFacts) -> bool:
    """Whether the host's driver branch carries this CUDA's minor."""
    carried = facts.driver_cuda
    return carried is not None and versions.compare(versions.minor(carried), versions.minor(cuda)) >= 0


def forward_compat(
    candidate: Candidate, facts: SelectionFacts, preferences: Preferences, catalog: Catalog
) -> Finding | None:
    """Forward compatibility: data-centre GPUs on supported branches only, and only with verl_driver_policy compat."""
    if preferences.policy != "compat" or not below_floor(candidate, facts, catalog):
        return None
    allowed, why_not = compat_allowed(candidate, facts, catalog)
    cuda = versions.minor(candidate.image.cuda)
    if not allowed:
        return Rejection(
            why_not,
            f"a data-centre GPU on a driver branch that cuda-compat {cuda} supports",
            f"Install driver >= {floor(candidate.image.cuda, catalog)}.",
        )
    return Warning(
        f"{candidate.image.id} needs NVIDIA's forward-compatibility libraries (cuda-compat {cuda}) on driver "
        f"{facts.driver}",
        f"Install driver >= {floor(candidate.image.cuda, catalog)} to do without them.",
    )


def compat_allowed(candidate: Candidate, facts: SelectionFacts, catalog: Catalog) -> tuple[bool, str]:
    """Whether cuda-compat may carry the image on this host, and what speaks against it."""
    for gpu in facts.kinds:
        if not gpu.forward_compat:
            return False, f"{gpu.model}: not a data-centre GPU, where forward compatibility fails with error 804"
    branch = versions.major(facts.driver) if facts.driver else "unknown"
    packages = mapping(mapping(catalog.cuda.get("forward_compat")).get("packages"))
    package = mapping(packages.get(versions.minor(candidate.image.cuda or "")))
    if package.get(branch) != "compat":
        return False, f"driver branch {branch}: not a base that the forward-compatibility package supports"
    return True, ""
