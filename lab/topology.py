"""The lab's hosts: what each one is before verl-provision meets it."""

from dataclasses import dataclass

from lab import settings


@dataclass(frozen=True)
class Host:
    """One simulated machine."""

    name: str
    address: int  # last part of its address in the lab's network
    suite: str  # Debian release
    user: str  # login user
    sudo: bool
    docker: bool  # Docker Engine installed
    machine: str | None  # files/nvml/MACHINE.yaml, what GPUs and driver it has
    default: bool = True  # `python -m lab up` starts it; others start where they are named
    no_root: bool = False  # an administrator set up engines that need no root, and is gone

    @property
    def container(self) -> str:
        """Name of its container."""
        return f"{settings.NETWORK}-{self.name}"

    @property
    def rootfs(self) -> str:
        """Which root file system it starts from."""
        if self.no_root:
            return f"{self.suite}-no-root"
        return f"{self.suite}-docker" if self.docker else self.suite


HOSTS = {
    host.name: host
    for host in (
        Host("gpu-550", 21, "bookworm", "ops", True, True, "h100-550"),
        Host("gpu-580", 22, "trixie", "ops", True, True, "h100-580"),
        Host("cpu", 23, "bookworm", "alice", False, False, None),
        Host("spare", 24, "trixie", "ops", True, False, "h100-580-spare"),
        Host("noroot", 25, "trixie", "alice", False, True, "h100-580", default=False, no_root=True),
    )
}

REGISTRY = f"{settings.NETWORK}-registry"
WEB = f"{settings.NETWORK}-web"
REGISTRY_ADDRESS, WEB_ADDRESS = 10, 11

_TOOLS = [
    "systemd",
    "systemd-sysv",
    "dbus",
    "python3",
    "python3-apt",
    "python3-venv",
    "openssh-server",
    "sudo",
    "iproute2",
    "ca-certificates",
    "procps",
    "git",
    "gnupg",
    "curl",
    "kmod",
    "pciutils",
]
ROOTFS = {  # name: (Debian release, packages)
    "bookworm": ("bookworm", _TOOLS),
    "trixie": ("trixie", _TOOLS),
    "bookworm-docker": ("bookworm", [*_TOOLS, "docker.io"]),
    "trixie-docker": ("trixie", [*_TOOLS, "docker.io", "docker-cli"]),
    "trixie-no-root": (
        "trixie",
        [
            *_TOOLS,
            "crun",
            "dbus-user-session",
            "docker-cli",
            "docker.io",
            "fuse-overlayfs",
            "libpam-systemd",
            "passt",
            "podman",
            "python3-pip",
            "rootlesskit",
            "slirp4netns",
            "uidmap",
        ],
    ),
    "services": ("bookworm", ["ca-certificates", "docker-registry", "git", "lighttpd"]),
    "image": (
        "bookworm",
        ["ca-certificates", "python3", "python3-pip", "python3-venv", "python-is-python3", "git", "procps", "iproute2"],
    ),
    "builder": (
        "bookworm",
        [
            "ca-certificates",
            "gcc",
            "libc6-dev",
            "binutils",
            "debhelper",
            "dpkg-dev",
            "apt-utils",
            "gnupg",
            "git",
            "python3",
            "python3-pip",
            "python3-wheel",
            "python3-setuptools",
        ],
    ),
}
FROM_SID = {"trixie-no-root": ["apptainer"]}  # beside the packages above
