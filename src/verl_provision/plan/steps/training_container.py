"""Plan role training_container: create, start or recreate our container."""

import re
from dataclasses import replace
from typing import Any

from verl_provision import versions
from verl_provision.decide.junk import items, mapping, text, texts
from verl_provision.facts import Host
from verl_provision.plan import container_files, disruption, legacy_hook
from verl_provision.plan.keys import step_key
from verl_provision.plan.steps import container_image, nvidia_container_toolkit
from verl_provision.plan.steps.step import SECRETS, Context, Notes, Step, applied_hash, defer, in_use, warn
from verl_provision.select.decision import Decision
from verl_provision.variables import Request

NAME = "training_container"
DISABLE_REQUIRE = "NVIDIA_DISABLE_REQUIRE"
SHM_SIZE = "10g"  # the selection guide's; the role raises it to what Ray wants


def plan(host: Host, request: Request, decision: Decision, context: Context) -> Step | None:
    """Create, start or recreate our container; not while something runs in it."""
    if decision.backend in ("source", "apptainer"):
        return None
    args = arguments(host, request, decision, context)
    # What is installed inside comes from the checkout: another release, another container.
    inside = {"verl": context.before["verl_checkout"].args["version"]}
    step = Step(args, step_key(NAME, {**args, **inside}))
    container = host.container
    if args["gpu_request"] == "cdi" and container and not container.by_cdi and "nvidia" in host.docker.runtimes:
        other = {**args, "gpu_request": "gpus_all"}
        if step_key(NAME, {**other, **inside}) in (applied_hash(host, NAME), container.key):
            # Another way to its GPUs is no reason to make it anew.
            step = Step(other, step_key(NAME, {**other, **inside}))
    step = step.noting(
        remapped_users(host, decision, step.args) + image_requirement(host, decision, context, step.args)
    )
    step = step.noting(legacy_hook_warning(host, request, context, step.args["gpu_request"]))
    step = step.noting(container_files.notes(host, step.args))
    if step.notes.errors:
        return step
    reason = container_reason(host, request, step.config_hash)
    effect = context.before.get("disruption")
    if not reason and effect and effect.reason and effect.args["action"] == disruption.RESTART:
        # Started again; nothing more is disturbed than is already.
        return step.because(f"the container {request.container} ends with the restart of Docker")
    toolkit = context.before.get("nvidia_container_toolkit")
    if toolkit and toolkit.disruption == nvidia_container_toolkit.UPGRADE and container and container.running:
        reason = reason or f"the container {request.container} gets its GPUs from the toolkit that is upgraded"
        step = replace(step, args={**step.args, "restart_running": True})
    if not reason:
        return step
    if context.blocked:
        return step.noting(defer(NAME, "recreate", disruption.RESTART, context.blocked))
    if in_use(host, request):
        because = f"{reason}; {len(container.processes)} process(es) run in it: {container.processes[0]}"
        return step.noting(defer(NAME, "recreate", "recreate", because))
    return step.because(reason, "recreate" if container and container.running else "none")


def arguments(host: Host, request: Request, decision: Decision, context: Context) -> dict[str, Any]:
    """The step's arguments."""
    effect = context.before.get("disruption")
    by_cdi = "cdi" if decision.profile == "gpu" else "none"
    args = context.args(
        NAME,
        name=request.container,
        image=container_image.named(context.before["container_image"].args),
        workspace=context.before["verl_checkout"].args["path"],
        engine=decision.backend,
        gpu_request=effect.gpu_request if effect else by_cdi,
        shm_size=SHM_SIZE,
        become=context.become,
        extra_args=[],
        env={},
        volumes=[],
        home=f"{context.prefix}/home/{request.container}",
        pypi_index=request.mirrors.get("pypi") or "",
        disruption_allowed=request.disrupt,
        discard_kept=request.discard_changes,
    )
    refuses = refuses_by_requirement(host, decision, context, args["gpu_request"])
    unchecked = {DISABLE_REQUIRE: "1"} if refuses and not toolkit_is_upgraded(host, context) else {}
    args["env"] = {**container_env(request, context), **unchecked, **mapping(args["env"])}
    if host.gpus_used:
        args["gpu_ids"] = [uuid for dummy, uuid in host.gpus_used]
    if (host.docker.selinux and decision.backend == "docker") or (host.system.selinux and decision.backend == "podman"):
        # SELinux keeps a labelled container from the host's checkout and from the GPUs' device nodes.
        args["extra_args"] = ["--security-opt=label=disable", *args["extra_args"]]
    if context.token:
        args["volumes"] = [*items(args["volumes"]), f"{context.prefix}/secrets:{SECRETS}:ro"]
    if any(defect.get("id") == "entrypoint" for defect in decision.candidate.image.defects):
        # The image's ENTRYPOINT is a server: `sleep infinity` would become its argument.
        args["extra_args"] = ["--entrypoint=", *args["extra_args"]]
    return args


def remapped_users(host: Host, decision: Decision, args: dict[str, Any]) -> Notes:
    """A daemon that maps users refuses the host's network, found out only after the pull."""
    if decision.backend != "docker" or not host.docker.userns_remap or "--userns=host" in args["extra_args"]:
        return Notes()
    error = {
        "rule": "userns_remap",
        "found": "Docker maps the users of containers (userns-remap in daemon.json), and refuses --net=host with it",
        "needed": "the host's user namespace for this container",
        "where": "training_container_extra_args",
        "fix": "Set training_container_extra_args to ['--userns=host'], where root in the container may be root of the "
        "host; or another verl_backend.",
    }
    return Notes(errors=(error,))


def image_requirement(host: Host, decision: Decision, context: Context, args: dict[str, Any]) -> Notes:
    """Say where the image's own check of the driver is switched off."""
    if not refuses_by_requirement(host, decision, context, args["gpu_request"]):
        return Notes()
    way = "it is upgraded first" if toolkit_is_upgraded(host, context) else f"{DISABLE_REQUIRE} is set"
    cuda = versions.minor(decision.candidate.image.cuda)
    message = (
        f"the toolkit {host.toolkit_version} would refuse the image by its NVIDIA_REQUIRE_CUDA (CUDA {cuda}, driver "
        f"{host.driver}), which minor-version compatibility carries: {way}"
    )
    return warn("image_require", message, "Upgrade the toolkit to 1.18 or the driver for full support.")


def toolkit_is_upgraded(host: Host, context: Context) -> bool:
    """Whether this run brings a toolkit that no longer checks what images require."""
    toolkit = context.before.get("nvidia_container_toolkit")
    return bool(toolkit and toolkit.reason and toolkit.args.get("install")) and host.toolkit_mode != "legacy"


def refuses_by_requirement(host: Host, decision: Decision, context: Context, gpu_request: str) -> bool:
    """Whether the toolkit's legacy mode would refuse the image, though its driver is one that carries it."""
    cuda = decision.candidate.image.cuda
    by_hook = gpu_request in ("gpus_all", "runtime_env") and host.toolkit_version
    legacy = host.toolkit_mode == "legacy" or versions.compare(host.toolkit_version or "0", legacy_hook.WITHOUT) < 0
    if not (by_hook and legacy and cuda and host.driver and host.driver_cuda):
        return False
    if versions.compare(versions.minor(host.driver_cuda), versions.minor(cuda)) >= 0:
        return False
    about = mapping(mapping(context.catalog.cuda.get("image_require")).get("windows")).get(versions.minor(cuda))
    window = mapping(about)
    geforce = any("geforce" in gpu.model.lower() for gpu in host.gpus)
    return versions.major(host.driver) not in texts(window.get("branches")) or (geforce and not window.get("geforce"))


def legacy_hook_warning(host: Host, request: Request, context: Context, gpu_request: str) -> Notes:
    """Say it where our container gets its GPUs, or keeps them, in the way that a daemon-reload ends."""
    if gpu_request not in ("gpus_all", "runtime_env") or not legacy_hook.of_ours(host):
        return Notes()
    if context.has_work("nvidia_container_toolkit") and host.toolkit_mode != "legacy":
        return Notes()  # its upgrade comes first
    message = f"the container {request.container}: {legacy_hook.HARM}"
    return warn("legacy_hook", message, legacy_hook.fix(host, context.catalog, request.container))


def container_env(request: Request, context: Context) -> dict[str, str]:
    """What verl in the container is told of the outside."""
    endpoint = request.mirrors.get("huggingface")
    return {
        **({"HF_ENDPOINT": endpoint} if endpoint else {}),
        **({"HF_TOKEN_PATH": f"{SECRETS}/huggingface_token"} if context.token else {}),
    }


def mebibytes(size: Any) -> int | None:
    """An engine's size (`10g`, `512m`, bytes) in MiB; None where it isn't one, which the engine will say itself."""
    match = re.fullmatch(r"(\d+)([bkmgt]?)b?", str(size).strip().lower())
    return int(match[1]) * 1024 ** "bkmgt".index(match[2] or "b") // 1024**2 if match else None


def container_reason(host: Host, request: Request, config_hash: str) -> str:
    """Why the container has to be made or started, '' where it is as it should be."""
    container, name = host.container, request.container
    if container is None:
        return f"there is no container {name}"
    if config_hash not in (applied_hash(host, NAME), container.key):
        return f"the container {name} was made for other settings"
    made = text(mapping(host.stamps.get(NAME)).get("id"))
    if made and made[:12] != container.id[:12]:
        return f"the container {name} is another one than the last run left"
    if not container.running:
        return f"the container {name} is not running"
    return container_files.to_discard(host, request, name)
