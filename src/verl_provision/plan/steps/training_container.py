"""Plan role training_container: create, start or recreate our container."""

import re
from typing import Any

from verl_provision.decide.junk import items, mapping, text
from verl_provision.plan import disruption, legacy_hook
from verl_provision.plan.keys import step_key
from verl_provision.plan.steps.planner import SECRETS, Planner, in_use

SHM_SIZE = "10g"  # the write-up's; the role raises it to what Ray wants


def training_container(planner: Planner, image: dict[str, Any], checkout: dict[str, Any], request: str) -> None:
    """Create, start or recreate our container; not while something runs in it."""
    host, wishes, decision = planner.host, planner.wishes, planner.decision
    container = host.container
    reference = f"{image['pull_ref']}@{image['digest']}" if image["digest"] else image["pull_ref"]
    args = planner.args(
        "training_container",
        name=wishes.container,
        image=reference,
        workspace=checkout["path"],
        engine=decision.backend,
        gpu_request=request,
        shm_size=SHM_SIZE,
        become=planner.become,
        extra_args=[],
        env={},
        volumes=[],
        pypi_index=wishes.mirrors.get("pypi") or "",
        disruption_allowed=planner.wishes.disrupt,
    )
    args["env"] = {**container_env(planner), **mapping(args["env"])}
    if planner.token:
        args["volumes"] = [*items(args["volumes"]), f"{planner.prefix}/secrets:{SECRETS}:ro"]
    if any(defect.get("id") == "entrypoint" for defect in decision.candidate.image.defects):
        # The image's ENTRYPOINT is a server: `sleep infinity` would become its argument.
        args["extra_args"] = ["--entrypoint=", *args["extra_args"]]
    planner.shm_mb = mebibytes(args["shm_size"])
    # What is installed inside comes from the checkout: another release, another container.
    key = step_key("training_container", {**args, "verl": checkout["version"]})
    if request == "cdi" and container and not container.by_cdi and "nvidia" in host.docker.runtimes:
        other = step_key("training_container", {**args, "gpu_request": "gpus_all", "verl": checkout["version"]})
        if other in (planner.stamp("training_container"), container.key):
            key, args["gpu_request"] = other, "gpus_all"  # another way to its GPUs is no reason to make it anew
    warn_of_legacy_hook(planner, args["gpu_request"])
    planner.out.content["training_container"] = key
    planner.out.container = args
    planner.out.content["image"] = reference
    reason = _container_reason(planner, key)
    effect = planner.out.steps.get("disruption")
    if not reason and effect and effect["args"]["action"] == disruption.RESTART:
        reason = f"the container {wishes.container} ends with the restart of Docker"
        planner.add("training_container", reason, args)  # started again; nothing more is disturbed than is already
        planner.out.steps["training_container"]["key"] = key
        return
    toolkit = planner.out.steps.get("nvidia_container_toolkit")
    if toolkit and toolkit["disruption"] == "toolkit_upgrade" and container and container.running:
        reason = reason or f"the container {wishes.container} gets its GPUs from the toolkit that is upgraded"
        args["restart_running"] = True
    if not reason:
        return
    if planner.blocked:
        planner.defer("training_container", "recreate", disruption.RESTART, planner.blocked)
        return
    if in_use(planner):
        planner.defer(
            "training_container",
            "recreate",
            "recreate",
            f"{reason}; {len(container.processes)} process(es) run in it: {container.processes[0]}",
        )
        return
    disturbs = "recreate" if container and container.running else "none"
    planner.add("training_container", reason, args, disturbs)
    planner.out.steps["training_container"]["key"] = key


def warn_of_legacy_hook(planner: Planner, request: str) -> None:
    """Say it where our container gets its GPUs, or keeps them, in the way that a daemon-reload ends."""
    host = planner.host
    if request not in ("gpus_all", "runtime_env") or not legacy_hook.of_ours(host):
        return
    if "nvidia_container_toolkit" in planner.out.steps and host.toolkit_mode != "legacy":
        return  # its upgrade comes first
    planner.out.warnings.append(
        {
            "rule": "legacy_hook",
            "message": f"the container {planner.wishes.container}: {legacy_hook.HARM}",
            "fix": legacy_hook.fix(host, planner.world, planner.wishes.container),
        }
    )


def container_env(planner: Planner) -> dict[str, str]:
    """What verl in the container is told of the outside."""
    endpoint = planner.wishes.mirrors.get("huggingface")
    return {
        **({"HF_ENDPOINT": endpoint} if endpoint else {}),
        **({"HF_TOKEN_PATH": f"{SECRETS}/huggingface_token"} if planner.token else {}),
    }


def mebibytes(size: Any) -> int | None:
    """An engine's size (`10g`, `512m`, bytes) in MiB; None where it isn't one, which the engine will say itself."""
    match = re.fullmatch(r"(\d+)([bkmgt]?)b?", str(size).strip().lower())
    return int(match[1]) * 1024 ** "bkmgt".index(match[2] or "b") // 1024**2 if match else None


def _container_reason(planner: Planner, key: str) -> str:
    container = planner.host.container
    name = planner.wishes.container
    if container is None:
        return f"there is no container {name}"
    if key not in (planner.stamp("training_container"), container.key):
        return f"the container {name} was made for other wishes"
    made = text(mapping(planner.host.stamps.get("training_container")).get("id"))
    if made and made[:12] != container.id[:12]:
        return f"the container {name} is another one than the last run left"
    if not container.running:
        return f"the container {name} is not running"
    return ""
