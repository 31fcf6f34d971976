"""Which backend is used, and why each one before it was skipped."""

from dataclasses import dataclass, field
from typing import Any

from verl_provision import versions
from verl_provision.catalog.model import Catalog
from verl_provision.facts import NO_NAMESPACES, System
from verl_provision.select.findings import Rejection
from verl_provision.select.inputs import Preferences, SelectionFacts

INSTALLABLE = ("debian",)  # distribution families that docker_engine installs on
SYSTEM_CONTAINERS = ("lxc", "lxc-libvirt")  # they have systemd, and an engine inside needs nesting
ELSEWHERE = "Run verl-provision on the machine itself for a container engine; here a source environment is what fits."
ORDER = ("docker", "podman", "apptainer", "source")


@dataclass(slots=True)
class Choice:
    """The backend, and those that were skipped before it."""

    name: str | None = None
    how: str = ""
    become: bool = False
    install_engine: bool = False
    install_toolkit: bool = False
    configure_runtime: bool = False
    passed: list[tuple[str, Rejection, str]] = field(default_factory=list)  # backend, why not, rule
    errors: list[dict[str, Any]] = field(default_factory=list)


def choose(facts: SelectionFacts, preferences: Preferences, catalog: Catalog) -> Choice:
    """The first usable backend: what is there and able comes before what would have to be installed."""
    gpu = bool(facts.gpus)
    if not gpu and preferences.backend == "auto":
        there = f"; Docker {facts.docker.version or ''} is there, but not needed".replace("  ", " ")
        return Choice(
            "source",
            "there is no GPU: a development environment, called cpu" + (there if facts.docker.installed else ""),
        )
    choice = Choice()
    for name, attempt in _attempts(facts, preferences, catalog, gpu):
        usable = attempt(choice)
        if usable is None:
            choice.name = name
            return choice
        rejection, rule = usable
        choice.passed.append((name, rejection, rule))
    seen = {}
    for name, rejection, rule in choice.passed:
        seen[name] = rejection.error(rule, f"verl_backend {preferences.backend}")
    choice.errors = list(seen.values())
    return choice


def _attempts(facts: SelectionFacts, preferences: Preferences, catalog: Catalog, gpu: bool) -> list[tuple[str, Any]]:
    """Backends in the order in which they are tried."""

    def docker_present(choice: Choice) -> tuple[Rejection, str] | None:
        return _docker_present(choice, facts, catalog, gpu)

    def docker_install(choice: Choice) -> tuple[Rejection, str] | None:
        return _docker_install(choice, facts, catalog, gpu, preferences.backend == "docker")

    def podman(choice: Choice) -> tuple[Rejection, str] | None:
        return _podman(choice, facts, gpu)

    def apptainer(choice: Choice) -> tuple[Rejection, str] | None:
        return _apptainer(choice, facts)

    def source(choice: Choice) -> tuple[Rejection, str] | None:
        choice.how = "no container engine can be used, and an environment in the user's own directory needs no rights"
        choice.become = False
        if preferences.backend == "source":
            choice.how = "verl_backend source"
        return None

    every = [
        ("docker", docker_present),
        ("podman", podman),
        ("apptainer", apptainer),
        ("docker", docker_install),
        ("source", source),
    ]
    if preferences.backend == "auto":
        return every
    return [(name, attempt) for name, attempt in every if name == preferences.backend]


def installable(system: System) -> bool:
    """Whether packages of Docker's and NVIDIA's own apt repositories fit this system."""
    return system.family in INSTALLABLE and system.repository is not None


def command(system: System, what: str, catalog: Catalog) -> str:
    """The command by which this system's family gets `docker` or the `toolkit`."""
    for entry in catalog.distributions:
        if entry.get("family") == system.family and (not entry.get("ids") or system.id in entry["ids"]):
            return f"{entry[what]}; then run again."
    name = "Docker Engine" if what == "docker" else "nvidia-container-toolkit"
    return f"Install {name} as its documentation says, then run again."


def _wrong_cgroups(rootless: bool) -> Rejection:
    """The legacy hook may not write device rules for a rootless engine, and has to for any other."""
    if rootless:
        return Rejection(
            "rootless Docker with the toolkit's legacy hook, which is to write cgroup rules that it may not write",
            "no-cgroups = true in /etc/nvidia-container-runtime/config.toml, or CDI",
            "sudo nvidia-ctk config --in-place --set nvidia-container-cli.no-cgroups=true (for all engines of this "
            "host; better: sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml)",
        )
    return Rejection(
        "no-cgroups = true is set in /etc/nvidia-container-runtime/config.toml, so the legacy hook gives containers of "
        "this Docker no access to the GPUs",
        "no-cgroups = false, or CDI",
        "sudo nvidia-ctk config --in-place --set nvidia-container-cli.no-cgroups=false",
    )


def _sudo(facts: SelectionFacts) -> str:
    """How this user's rights get to steps."""
    if facts.sudo == "password":
        return "run again with -K, which asks for sudo's password (or set ansible_become_password)"
    return f"give {facts.user} passwordless sudo"


def toolkit_floor(catalog: Catalog) -> str:
    """The oldest container toolkit without known holes."""
    about = catalog.toolkit.get("security_floor")
    version = about.get("version") if isinstance(about, dict) else about
    return version if isinstance(version, str) and version else "1.17.8"


def _docker_present(choice: Choice, facts: SelectionFacts, catalog: Catalog, gpu: bool) -> tuple[Rejection, str] | None:
    docker = facts.docker
    if not docker.installed:
        return Rejection("Docker is not installed", "a working Docker", "Install Docker, or run with sudo rights."), (
            "backend"
        )
    if docker.elsewhere and (docker.reachable or docker.with_sudo):
        return (
            Rejection(
                f"the Docker that answers here runs on another machine ({docker.elsewhere})",
                "an engine of this machine's own",
                f"Run verl-provision on {docker.elsewhere}, or switch back: docker context use default; "
                "unset DOCKER_HOST",
            ),
            "backend",
        )
    if not docker.reachable and not docker.with_sudo and not facts.rights:
        asks = f"; sudo asks for a password ({facts.user})" if facts.sudo == "password" else ""
        reason = docker.reason or "it cannot be reached"
        return (
            Rejection(
                f"Docker cannot be used by {facts.user}: {reason}{asks}",
                "access to Docker: the docker group, passwordless sudo, or rootless Docker",
                f"sudo usermod -aG docker {facts.user}, then log in again; or {_sudo(facts)}",
            ),
            "rights",
        )
    if not docker.reachable and not docker.with_sudo:
        if not facts.system.systemd:
            reason = docker.reason or "Docker does not answer"
            return Rejection(f"{reason}; {_no_place(facts)}", "a Docker that answers", ELSEWHERE), "backend"
        choice.install_engine = True  # it's there and we are root, but it doesn't answer: the role starts it
    choice.become = not docker.reachable and not facts.root
    kind = "rootless Docker" if docker.rootless else "Docker"
    version = f" {docker.version}" if docker.version else ""
    choice.how = f"{kind}{version} is there and usable" + (" through sudo" if choice.become else "")
    if not gpu:
        return None
    return _gpu_access(choice, facts, catalog)


def _gpu_access(choice: Choice, facts: SelectionFacts, catalog: Catalog) -> tuple[Rejection, str] | None:
    """The toolkit and its runtime: there, or to be had with the rights at hand."""
    docker = facts.docker
    floor = toolkit_floor(catalog)
    missing = facts.toolkit_version is None
    old = not missing and versions.compare(facts.toolkit_version or "", floor) < 0
    unregistered = not docker.nvidia_runtime and not docker.cdi_ready
    if docker.snap and unregistered:
        return (
            Rejection(
                "Docker is a snap, whose daemon neither finds the host's nvidia-container-runtime nor reads "
                "/etc/docker/daemon.json, and it has no nvidia runtime of its own",
                "Docker from its own packages, or a snap with the nvidia runtime",
                "Replace it with Docker's own packages (sudo snap remove docker, with all its containers and images; "
                "then run again), or set the snap's NVIDIA support up as its page says",
            ),
            "backend",
        )
    missing = missing and not docker.snap  # a snap has its own
    if docker.rootless and unregistered:
        return (
            Rejection(
                "rootless Docker has neither an nvidia runtime nor a CDI device of nvidia.com/gpu",
                "one of the two in the user's own daemon.json",
                "nvidia-ctk runtime configure --runtime=docker --config=$HOME/.config/docker/daemon.json, then "
                "systemctl --user restart docker; CDI needs nothing else",
            ),
            "backend",
        )
    legacy = facts.toolkit_mode == "legacy" or versions.compare(facts.toolkit_version or "0", "1.18.0") < 0
    if legacy and not missing and not docker.cdi_ready and docker.rootless != facts.no_cgroups:
        return _wrong_cgroups(docker.rootless), "backend"
    if missing and not installable(facts.system):
        return (
            Rejection(
                f"the NVIDIA container toolkit is not installed on {facts.os_pretty}",
                "the NVIDIA container toolkit, or Debian or Ubuntu to install it on",
                command(facts.system, "toolkit", catalog),
            ),
            "backend",
        )
    choice.install_toolkit, choice.configure_runtime = missing or (old and facts.rights), unregistered
    if not (missing or unregistered) or facts.rights:
        return None
    found = "the NVIDIA container toolkit is not installed" if missing else "Docker has no nvidia runtime"
    return (
        Rejection(f"{found}, and {facts.user} may not change that (sudo: {facts.sudo})",
                  "the NVIDIA container toolkit, registered with Docker",
                  f"Have an administrator install nvidia-container-toolkit >= {floor} and run: "
                  "nvidia-ctk runtime configure --runtime=docker; systemctl reload docker"),
        "rights",
    )  # fmt: skip


def _no_place(facts: SelectionFacts) -> str:
    """Why an engine can't be started as a service of this machine; "" where it can."""
    kind = f"this is a container ({facts.system.container})" if facts.system.container else "this machine"
    if facts.system.systemd:
        return ""
    return f"{kind}{' and' if facts.system.container else ''} has no systemd to run it"


def _docker_install(
    choice: Choice, facts: SelectionFacts, catalog: Catalog, gpu: bool, asked: bool
) -> tuple[Rejection, str] | None:
    if facts.docker.installed:
        return choice.passed[0][1], choice.passed[0][2]
    place = _no_place(facts)
    if facts.system.container in SYSTEM_CONTAINERS and not asked:
        place = f"this is a container ({facts.system.container}), where an engine needs rights that its host gives"
    if place:
        return Rejection(f"Docker is not installed, and {place}", "a machine that can run Docker", ELSEWHERE), "backend"
    if not facts.rights:
        asks = "sudo asks for a password" if facts.sudo == "password" else "no root and no sudo"
        return (
            Rejection(f"Docker is not installed, and {facts.user} may not install it ({asks})",
                      "Docker, or the right to install it",
                      f"Install Docker as root, or {_sudo(facts)}"),
            "rights",
        )  # fmt: skip
    if not installable(facts.system):
        return (
            Rejection(f"Docker is not installed on {facts.os_pretty}", "Docker, or Debian or Ubuntu to install it on",
                      command(facts.system, "docker", catalog)),
            "backend",
        )  # fmt: skip
    choice.install_engine = True
    choice.become = not facts.root
    choice.install_toolkit = gpu and facts.toolkit_version is None
    choice.configure_runtime = gpu
    choice.how = "Docker will be installed: no engine is there, and the rights to install one are"
    return None


def _podman(choice: Choice, facts: SelectionFacts, gpu: bool) -> tuple[Rejection, str] | None:
    if facts.podman_version is None or (gpu and facts.podman_lacks):
        found = f"Podman: {facts.podman_lacks}"
        fix = (
            "sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml" if facts.podman_version else "Install Podman."
        )
        return Rejection(found, "Podman with subordinate ids and a CDI specification", fix), "backend"
    choice.how, choice.become = f"Podman {facts.podman_version} is there, with CDI", False
    choice.install_engine = choice.install_toolkit = choice.configure_runtime = False
    return None


def _apptainer(choice: Choice, facts: SelectionFacts) -> tuple[Rejection, str] | None:
    if not facts.system.namespaces and not facts.root:
        return Rejection(
            f"Apptainer: {NO_NAMESPACES}", "user namespaces", "sudo sysctl user.max_user_namespaces=15000"
        ), "backend"
    if facts.apptainer_version is None:
        return Rejection("Apptainer is not installed", "Apptainer", "Have an administrator install it."), "backend"
    choice.how, choice.become = f"Apptainer {facts.apptainer_version} is there and needs no rights", False
    choice.install_engine = choice.install_toolkit = choice.configure_runtime = False
    return None
