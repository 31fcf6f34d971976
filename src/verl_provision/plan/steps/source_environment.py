"""Plan role source_environment: build it where it isn't, isn't whole, or isn't what is wanted."""

from typing import Any

from verl_provision import versions
from verl_provision.catalog.model import Release
from verl_provision.facts import Host
from verl_provision.plan.keys import step_key
from verl_provision.plan.steps.step import Context, Notes, Step, applied_hash, defer
from verl_provision.select import releases
from verl_provision.select.decision import Decision
from verl_provision.variables import Request

NAME = "source_environment"
TORCH_INDEX = "https://download.pytorch.org/whl"


def plan(host: Host, request: Request, decision: Decision, context: Context) -> Step | None:
    """Build it where it isn't, isn't whole, or isn't what is wanted; not under a job's feet."""
    if decision.backend != "source":
        return None
    release = decision.candidate.release
    gpu = decision.profile == "gpu"
    python, dummy = releases.choose_python(host, release)
    how, why = method(request, decision, context)
    engine = decision.engine if gpu else "none"
    pins = [f"{name}=={version}" for name, version in decision.candidate.image.engines.items() if name == engine]
    args = context.args(
        NAME,
        prefix=context.prefix,
        verl_version=release.version,
        method=how,
        profile=decision.profile,
        python=python.executable if python else "",
        python_requires=release.python,
        torch=release.torch or "",
        torch_index=torch_index(request, decision),
        pypi_index=request.mirrors.get("pypi") or "",
        engine=engine,
        trainer=decision.trainer,
        extra_packages=[*pins, *release.extra_packages],
        constraints=list(release.constraints),
    )
    manager, download = releases.manager_of(host, release, request, context.catalog) or ("auto", {})
    if how == "script":
        args["extra_packages"] = [name for name in args["extra_packages"] if name not in pins]  # the script's own
    # Another interpreter of the same release range makes no other environment; another commit does.
    content = {name: value for name, value in args.items() if name != "python"}
    args = {
        "python_version": release.python_recommended or "",
        "manager": manager,
        "manager_download": download,
        "downloads_mirror": request.mirrors.get("downloads") or "",
        "conda_channel": request.mirrors.get("conda") or "",
        "gates": gates(host, context, release, gpu),
        **args,
    }
    if how != "pypi":
        source = context.before["verl_checkout"].args
        args["checkout"] = source["path"]
        content |= {"checkout": source["path"], "commit": source["version"]}
    step = Step(args, step_key(NAME, content), notes=Notes(warnings=(why,) if why else ()))
    reason = source_reason(host, context, None if how != "pypi" else release.version, step.config_hash)
    if not reason and context.has_work("verl_checkout"):
        reason = f"verl at {args['checkout']} is to be another one"
    if not reason:
        return step
    if manager != "venv" and not host.source:
        fetched = f", fetched into {context.prefix}," if download else ""
        asked = request.source_manager == manager
        because = f"verl_source_manager {manager}" if asked else "no Python of the host fits"
        reason += f"; {manager}{fetched} brings Python {args['python_version']}: {because}"
    working = host.source and host.source.get("python_ok") is True and (host.gpu_processes or host.ray_busy)
    if working and (gpu or host.ray_busy) and not request.disrupt:
        return step.noting(defer(NAME, "rebuild", "code_in_use", f"{reason}; {'; '.join(context.busy)}"))
    return step.because(reason, "code_in_use" if gpu and working else "none")


def method(request: Request, decision: Decision, context: Context) -> tuple[str, dict[str, Any] | None]:
    """How verl is installed, and a warning where that isn't as asked for. The role's own variable comes first."""
    how, why = releases.source_method(request, decision.candidate.release)
    return context.settings.get(NAME, {}).get("method", how), why


def gates(host: Host, context: Context, release: Release, gpu: bool) -> dict[str, Any]:
    """What has to fit together in a source environment of `release`."""
    floors = {str(major): str(floor) for major, floor in context.catalog.driver_floor.items()}
    runtime = f">={release.tensordict_runtime}" if release.tensordict_runtime else ""
    return {
        "driver": host.driver or "" if gpu else "",
        "driver_floor": floors if gpu else {},
        "vllm_floor": release.vllm_floor or "",
        "vllm_also": list(release.vllm_also),
        "tensordict": ",".join(part for part in (release.tensordict, runtime) if part),
        "numpy": release.numpy or "",
        "transfer_queue": any(name.startswith("TransferQueue") for name in release.extra_packages),
    }


def source_reason(host: Host, context: Context, version: str | None, config_hash: str) -> str:
    """Why the environment has to be built; `version` is None where verl is whatever the checkout holds."""
    found = host.source
    where = f"{context.prefix}/env"
    if not found:
        return f"there is no environment at {where}"
    if found.get("building") is True:
        return f"another run is building the environment at {where}"
    if found.get("python_ok") is not True:
        return f"the Python of the environment at {where} does not work"
    if found.get("verl_version") != version and (version or not found.get("verl_version")):
        wanted = version or "any"
        return f"the environment at {where} has verl {found.get('verl_version') or 'not at all'}, wanted is {wanted}"
    if applied_hash(host, NAME) != config_hash:
        return f"the environment at {where} was left unfinished, or built for other settings"
    return ""


def torch_index(request: Request, decision: Decision) -> str:
    """Where torch comes from: PyTorch's CPU index; for GPUs the default index, or the mirror's for its CUDA."""
    mirror = request.mirrors.get("torch")
    if decision.profile != "gpu":
        return f"{(mirror or TORCH_INDEX).rstrip('/')}/cpu"
    cuda = decision.candidate.image.cuda
    if not mirror or not cuda:
        return ""
    return f"{mirror.rstrip('/')}/cu{versions.minor(cuda).replace('.', '')}"
