"""The toolkit's legacy hook gives GPUs to a container behind systemd's back: the next daemon-reload takes them away.

Packages' maintainer scripts run `systemctl daemon-reload`, so an unattended upgrade is enough.
"""

from verl_provision import versions
from verl_provision.catalog.model import Catalog
from verl_provision.decide.junk import text
from verl_provision.facts import Host
from verl_provision.select.backend import command, installable

WITHOUT = "1.18.0"  # the toolkit's runtime injects devices by CDI from here on
GPUS_BY_CDI = "29.2.0"  # Docker's --gpus asks CDI first from here on
HARM = (
    "with the cgroup driver systemd the next systemctl daemon-reload, which package upgrades run, takes the GPUs from "
    "containers of the legacy hook (Failed to initialize NVML: Unknown Error)"
)


def of_anyone(host: Host) -> bool:
    """Whether some container may hold its GPUs through the legacy hook."""
    return of_ours(host) or (
        host.docker.cgroup_driver in (None, "systemd") and versions.compare(host.docker.version or "0", GPUS_BY_CDI) < 0
    )


def of_ours(host: Host) -> bool:
    """Whether ours would, asked for by `--runtime=nvidia`. Rootless Docker leaves devices to the user's own rights."""
    if host.docker.rootless or host.docker.cgroup_driver not in (None, "systemd"):
        return False
    return host.toolkit_mode == "legacy" or versions.compare(host.toolkit_version or "0", WITHOUT) < 0


def cdi_instead(host: Host) -> bool:
    """Whether our container asks for its GPUs by CDI: where there is no runtime, where it did, or against the hook."""
    if "nvidia" not in host.docker.runtimes:
        return True
    return bool(host.container and host.container.by_cdi) or of_ours(host)


def upgrade_due(host: Host, may_disturb: bool) -> bool:
    """Whether the toolkit is upgraded before our container is made. One that is there is only warned about."""
    if (
        host.container
        or host.ray_container
        or host.docker.cdi_ready
        or not (of_ours(host) and may_disturb and host.rights)
    ):
        return False
    return host.toolkit_mode != "legacy" and installable(host.system)


def fix(host: Host, catalog: Catalog, container: str) -> str:
    """What ends it on this host."""
    version = text(catalog.toolkit.get("default_version")) or WITHOUT
    anew = f"docker restart {container} when nothing runs in it"
    if host.toolkit_mode == "legacy" and versions.compare(host.toolkit_version or "0", WITHOUT) >= 0:
        said = "sudo nvidia-ctk config --in-place --set nvidia-container-runtime.mode=auto"
    elif not host.rights:
        said = f"Have an administrator upgrade nvidia-container-toolkit to {version}"
    elif installable(host.system):
        return (
            f"Set nvidia_container_toolkit_version to {version}: the next run that finds the host idle upgrades the "
            f"toolkit and starts the container {container} anew."
        )
    else:
        said = command(host.system, "toolkit", catalog).removesuffix("; then run again.")
    return f"{said}; then {anew}"
