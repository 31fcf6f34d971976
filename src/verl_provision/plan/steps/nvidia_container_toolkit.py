"""Plan role nvidia_container_toolkit: install it, or register its runtime."""

from typing import Any

from verl_provision import versions
from verl_provision.decide.junk import mapping, text, texts
from verl_provision.facts import Host
from verl_provision.plan import apt, legacy_hook
from verl_provision.plan.keys import step_key
from verl_provision.plan.steps.docker_engine import DAEMON_JSON, may_edit
from verl_provision.plan.steps.step import Context, Notes, Step, applied_hash, defer, warn
from verl_provision.select import backend
from verl_provision.select.decision import Decision
from verl_provision.variables import Request

NAME = "nvidia_container_toolkit"
TOOLKIT_REPOSITORY = "https://nvidia.github.io/libnvidia-container"
PACKAGES = (
    "nvidia-container-toolkit",
    "nvidia-container-toolkit-base",
    "libnvidia-container-tools",
    "libnvidia-container1",
)
OWN_SOURCE = "/etc/apt/sources.list.d/nvidia-container-toolkit.list"
UPGRADE = "toolkit_upgrade"


def plan(host: Host, request: Request, decision: Decision, context: Context) -> Step | None:
    """Install it, lift it over the security floor, register its runtime."""
    if decision.backend != "docker" or decision.profile != "gpu":
        return None
    choice, toolkit = decision.choice, context.catalog.toolkit
    repository = mapping(toolkit.get("repository"))
    args = context.args(
        NAME,
        version=text(toolkit.get("default_version")) or "1.20.0",
        mirror=request.mirrors.get("toolkit") or text(repository.get("url")) or TOOLKIT_REPOSITORY,
        key_fingerprint=text(repository.get("key_fingerprint")) or "",
        runtime="docker",
        cdi=True,
        become=not host.root,
    )
    if host.docker.installed and host.docker.daemon_json_path != DAEMON_JSON and not host.docker.rootless:
        args.setdefault("daemon_json", host.docker.daemon_json_path)
    step = Step(args, step_key(NAME, args))
    reasons, upgrade = package_reasons(host, request, context)
    lost = entry_lost(host, args)
    if choice.configure_runtime:
        reasons.append("Docker has no nvidia runtime yet")
    elif lost:
        reasons.append(lost)
    if not reasons:
        return step
    if not host.rights:
        floor = backend.toolkit_floor(context.catalog)
        fix = f"Have an administrator install nvidia-container-toolkit >= {floor}."
        return step.noting(warn("rights", f"{reasons[0]}, which {host.user} may not change", fix))
    if (upgrade or host.toolkit_version is None) and not backend.installable(host.system):
        return step.noting(warn("toolkit_floor", reasons[0], backend.command(host.system, "toolkit", context.catalog)))
    held = [name for name in host.apt.held if name in PACKAGES]
    if upgrade and held:
        fix = f"sudo apt-mark unhold {' '.join(held)}, if nothing speaks against it; then run again."
        step, upgrade = (
            step.noting(warn("toolkit_floor", f"{reasons.pop(0)}, and {', '.join(held)} is on hold", fix)),
            False,
        )
        if not reasons:
            return step
    if lost or (choice.configure_runtime and not choice.install_engine):
        unable = may_edit(host, NAME, "runtimes")
        if unable:
            return step.noting(unable)
    args["install"] = upgrade or host.toolkit_version is None
    if args["install"]:
        args["existing_source"], refused = source(host, args, repository)
        step = step.noting(refused)
    if not (upgrade and legacy_hook.of_anyone(host)):
        return step.because("; ".join(reasons))
    ray = ["Ray's container is running"] if host.ray_container and host.ray_up else []
    if (ray or not context.idle) and not request.disrupt:
        because = (
            "its installation runs systemctl daemon-reload, which takes the GPUs from running containers that "
            f"use the legacy hook with the systemd cgroup driver; {'; '.join([*context.busy, *ray])}"
        )
        return step.noting(defer(NAME, "upgrade", UPGRADE, because))
    return step.because("; ".join(reasons), UPGRADE)


def package_reasons(host: Host, request: Request, context: Context) -> tuple[list[str], bool]:
    """Why the packages have to be installed, and whether that replaces some that are there."""
    own = context.settings.get(NAME, {})
    floor, found = backend.toolkit_floor(context.catalog), host.toolkit_version
    if found is None:
        return ["the NVIDIA container toolkit is not installed"], False
    if versions.compare(found, floor) < 0:
        return [f"the NVIDIA container toolkit {found} is older than {floor} (known holes)"], True
    if "version" in own and versions.compare(found, str(own["version"])) != 0:
        return [f"the NVIDIA container toolkit is {found}, wanted is {own['version']}"], True
    if legacy_hook.upgrade_due(host, context.idle or request.disrupt):
        return [f"the NVIDIA container toolkit {found} is older than {legacy_hook.WITHOUT}: {legacy_hook.HARM}"], True
    return [], False


def source(host: Host, args: dict[str, Any], repository: dict[str, Any]) -> tuple[str, Notes]:
    """The apt source that the packages come from, where there is one already."""
    uri = f"{str(args['mirror']).rstrip('/')}/stable/deb/{apt.DEBIAN_ARCH.get(host.arch or '', host.arch)}"
    file, refused = apt.existing_source(host, uri, "/", args["key_fingerprint"], OWN_SOURCE)
    refused += apt.installs(host, dict.fromkeys(PACKAGES, f"{args['version']}-1"), (), uri)
    return file, refused + apt.retired(host, texts(mapping(repository.get("apt")).get("conflicting_lists")))


def entry_lost(host: Host, args: dict[str, Any]) -> str:
    """Whether somebody took the runtime that the step registered out of daemon.json, in words; '' where not.

    The running dockerd keeps it until it starts again, reload or not, so `docker info` doesn't tell.
    """
    docker = host.docker
    here = args.get("daemon_json", DAEMON_JSON) == docker.daemon_json_path and not docker.rootless
    ours = args["runtime"] == "docker" and here and applied_hash(host, NAME)
    if not ours or docker.cdi_ready or docker.daemon_json_error:
        return ""
    if "nvidia" in mapping(docker.daemon_json.get("runtimes")):
        return ""
    return f"{docker.daemon_json_path} lacks runtimes.nvidia, which an earlier run put there"
