"""Plan role nvidia_container_toolkit: install it, or register its runtime."""

from typing import Any

from verl_provision import versions
from verl_provision.decide.junk import mapping, text
from verl_provision.plan import legacy_hook
from verl_provision.plan.steps.docker_engine import _may_edit
from verl_provision.plan.steps.planner import Planner
from verl_provision.select import backend

TOOLKIT_REPOSITORY = "https://nvidia.github.io/libnvidia-container"
DAEMON_JSON = "/etc/docker/daemon.json"


def nvidia_container_toolkit(planner: Planner) -> bool:
    """Install it, lift it over the security floor, register its runtime. Returns whether it has work to do."""
    host, choice, world = planner.host, planner.decision.choice, planner.world
    own = planner.settings.get("nvidia_container_toolkit", {})
    repository = mapping(world.toolkit.get("repository"))
    args = planner.args(
        "nvidia_container_toolkit",
        version=text(world.toolkit.get("default_version")) or "1.20.0",
        mirror=planner.wishes.mirrors.get("toolkit") or text(repository.get("url")) or TOOLKIT_REPOSITORY,
        key_fingerprint=text(repository.get("key_fingerprint")) or "",
        runtime="docker",
        cdi=True,
        become=not host.root,
    )
    floor = backend.toolkit_floor(world)
    found = host.toolkit_version
    reasons = []
    upgrade = False
    if found is None:
        reasons.append("the NVIDIA container toolkit is not installed")
    elif versions.compare(found, floor) < 0:
        reasons.append(f"the NVIDIA container toolkit {found} is older than {floor} (known holes)")
        upgrade = True
    elif "version" in own and versions.compare(found, str(own["version"])) != 0:
        reasons.append(f"the NVIDIA container toolkit is {found}, wanted is {own['version']}")
        upgrade = True
    elif legacy_hook.upgrade_due(host, planner.idle or planner.wishes.disrupt):
        reasons.append(f"the NVIDIA container toolkit {found} is older than {legacy_hook.WITHOUT}: {legacy_hook.HARM}")
        upgrade = True
    lost = entry_lost(planner, args)
    if choice.configure_runtime:
        reasons.append("Docker has no nvidia runtime yet")
    elif lost:
        reasons.append(lost)
    if not reasons:
        return False
    if not host.rights:
        planner.out.warnings.append(
            {
                "rule": "rights",
                "message": f"{reasons[0]}, which {host.user} may not change",
                "fix": f"Have an administrator install nvidia-container-toolkit >= {floor}.",
            }
        )
        return False
    edits = lost or (choice.configure_runtime and not choice.install_engine)
    if edits and not _may_edit(planner, "nvidia_container_toolkit", "runtimes"):
        return False
    disturbs = "none"
    if upgrade and legacy_hook.of_anyone(host):
        disturbs = "toolkit_upgrade"
        ray = ["Ray's container is running"] if host.ray_container and host.ray_up else []
        if (ray or not planner.idle) and not planner.wishes.disrupt:
            because = (
                "its installation runs systemctl daemon-reload, which takes the GPUs from running containers that "
                f"use the legacy hook with the systemd cgroup driver; {'; '.join([*planner.busy, *ray])}"
            )
            planner.defer("nvidia_container_toolkit", "upgrade", disturbs, because)
            return False
    planner.add("nvidia_container_toolkit", "; ".join(reasons), args, disturbs)
    return True


def entry_lost(planner: Planner, args: dict[str, Any]) -> str:
    """Whether somebody took the runtime that the step registered out of daemon.json, in words; '' where not.

    The running dockerd keeps it until it starts again, reload or not, so `docker info` doesn't tell.
    """
    docker = planner.host.docker
    here = args.get("daemon_json", DAEMON_JSON) == docker.daemon_json_path and not docker.rootless
    ours = args["runtime"] == "docker" and here and planner.stamp("nvidia_container_toolkit")
    if not ours or docker.cdi_ready or docker.daemon_json_error:
        return ""
    if "nvidia" in mapping(docker.daemon_json.get("runtimes")):
        return ""
    return f"{docker.daemon_json_path} lacks runtimes.nvidia, which an earlier run put there"
