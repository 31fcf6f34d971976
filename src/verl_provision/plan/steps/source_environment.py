"""Plan role source_environment: build it where it isn't, isn't whole, or isn't what is wanted."""

from typing import Any

from verl_provision import versions
from verl_provision.catalog.model import Release
from verl_provision.plan.keys import step_key
from verl_provision.plan.steps.planner import Planner
from verl_provision.plan.steps.verl_checkout import verl_checkout
from verl_provision.select import releases

TORCH_INDEX = "https://download.pytorch.org/whl"


def source_environment(planner: Planner) -> None:
    """One step: build it where it isn't, isn't whole, or isn't what is wanted."""
    host, wishes, decision = planner.host, planner.wishes, planner.decision
    release = decision.candidate.release
    gpu = decision.profile == "gpu"
    python, _ = releases.choose_python(host, release)
    method, why = releases.source_method(wishes, release)
    engine = decision.engine if gpu else "none"
    pins = [f"{name}=={version}" for name, version in decision.candidate.image.engines.items() if name == engine]
    args = planner.args(
        "source_environment",
        prefix=planner.prefix,
        verl_version=release.version,
        method=method,
        profile=decision.profile,
        python=python.executable if python else "",
        python_requires=release.python,
        torch=release.torch or "",
        torch_index=torch_index(planner, gpu),
        pypi_index=wishes.mirrors.get("pypi") or "",
        engine=engine,
        trainer=decision.trainer,
        extra_packages=[*pins, *release.extra_packages],
        constraints=list(release.constraints),
    )
    planner.out.warnings += [why] if why else []
    manager, download = releases.manager_of(host, release, wishes, planner.world) or ("auto", {})
    how = {
        "python_version": release.python_recommended or "",
        "manager": manager,
        "manager_download": download,
        "downloads_mirror": wishes.mirrors.get("downloads") or "",
        "conda_channel": wishes.mirrors.get("conda") or "",
        "gates": gates(planner, release, gpu),
    }
    if args["method"] == "script":
        args["extra_packages"] = [name for name in args["extra_packages"] if name not in pins]  # the script's own
    # Another interpreter of the same release range makes no other environment; another commit does.
    content = {name: value for name, value in args.items() if name != "python"}
    args = {**how, **args}
    if args["method"] != "pypi":
        source = verl_checkout(planner)
        args["checkout"] = source["path"]
        content |= {"checkout": source["path"], "commit": source["version"]}
    key = step_key("source_environment", content)
    planner.out.content["source_environment"] = key
    reason = _source_reason(planner, None if args["method"] != "pypi" else release.version, key)
    if not reason and "verl_checkout" in planner.out.steps:
        reason = f"verl at {args['checkout']} is to be another one"
    if not reason:
        return
    if manager != "venv" and not host.source:
        fetched = f", fetched into {planner.prefix}," if download else ""
        because = f"verl_source_manager {manager}" if wishes.source_manager == manager else "no Python of the host fits"
        reason += f"; {manager}{fetched} brings Python {args['python_version']}: {because}"
    working = host.source and host.source.get("python_ok") is True and (host.gpu_processes or host.ray_busy)
    if working and (gpu or host.ray_busy) and not wishes.disrupt:
        planner.defer("source_environment", "rebuild", "code_in_use", f"{reason}; {'; '.join(planner.busy)}")
    else:
        planner.add("source_environment", reason, args, "code_in_use" if gpu and working else "none")
        planner.out.steps["source_environment"]["key"] = key


def gates(planner: Planner, release: Release, gpu: bool) -> dict[str, Any]:
    """What has to fit together in a source environment of `release`."""
    floors = {str(major): str(floor) for major, floor in planner.world.driver_floor.items()}
    runtime = f">={release.tensordict_runtime}" if release.tensordict_runtime else ""
    return {
        "driver": planner.host.driver or "" if gpu else "",
        "driver_floor": floors if gpu else {},
        "vllm_floor": release.vllm_floor or "",
        "vllm_also": list(release.vllm_also),
        "tensordict": ",".join(part for part in (release.tensordict, runtime) if part),
        "numpy": release.numpy or "",
        "transfer_queue": any(name.startswith("TransferQueue") for name in release.extra_packages),
    }


def _source_reason(planner: Planner, version: str | None, key: str) -> str:
    """Why the environment has to be built; `version` is None where verl is whatever the checkout holds."""
    found = planner.host.source
    where = f"{planner.prefix}/env"
    if not found:
        return f"there is no environment at {where}"
    if found.get("building") is True:
        return f"another run is building the environment at {where}"
    if found.get("python_ok") is not True:
        return f"the Python of the environment at {where} does not work"
    if found.get("verl_version") != version and (version or not found.get("verl_version")):
        wanted = version or "any"
        return f"the environment at {where} has verl {found.get('verl_version') or 'not at all'}, wanted is {wanted}"
    if planner.stamp("source_environment") != key:
        return f"the environment at {where} was left unfinished, or built for other wishes"
    return ""


def torch_index(planner: Planner, gpu: bool) -> str:
    """Where torch comes from: PyTorch's CPU index; for GPUs the default index, or the mirror's for its CUDA."""
    mirror = planner.wishes.mirrors.get("torch")
    if not gpu:
        return f"{(mirror or TORCH_INDEX).rstrip('/')}/cpu"
    cuda = planner.decision.candidate.image.cuda
    if not mirror or not cuda:
        return ""
    return f"{mirror.rstrip('/')}/cu{versions.minor(cuda).replace('.', '')}"
