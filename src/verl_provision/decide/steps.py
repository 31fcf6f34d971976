"""The steps that have work to do on a host, in order, with their arguments; what has to wait for an idle host."""

import re
from dataclasses import dataclass, field
from typing import Any

from verl_provision import versions
from verl_provision.catalog.model import Release, World
from verl_provision.decide import daemon_json, disruption, idle, proxy, verification
from verl_provision.decide.junk import items, mapping, text, texts
from verl_provision.decide.keys import step_key
from verl_provision.facts import Host
from verl_provision.select import backend, releases
from verl_provision.select.decision import Decision
from verl_provision.select.wanted import Wishes

REPOSITORY = "https://github.com/verl-project/verl.git"
TORCH_INDEX = "https://download.pytorch.org/whl"
DOCKER_APT = "https://download.docker.com/linux"
TOOLKIT_REPOSITORY = "https://nvidia.github.io/libnvidia-container"
TOKEN = "verl_huggingface_token"
SECRETS = "/run/verl-secrets"  # in the container
DAEMON_JSON = "/etc/docker/daemon.json"
SHELL = ".local/bin/verl-shell"  # in the login user's home
SHM_SIZE = "10g"  # the write-up's; the role raises it to what Ray wants


@dataclass(slots=True)
class Steps:
    """What a plan says about steps."""

    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    deferred: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[dict[str, Any]] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    verification: dict[str, Any] | None = None
    shell: str | None = None  # the command that opens the environment
    content: dict[str, str] = field(default_factory=dict)  # keys of the steps that make up the environment
    container: dict[str, Any] | None = None  # how the training container is made, whether or not it has a step
    verl: str | None = None  # the tag or commit of the checkout


class Planner:
    """Plans the steps of one host; lives as long as one call of `plan`."""

    def __init__(
        self,
        host: Host,
        wishes: Wishes,
        decision: Decision,
        world: World,
        settings: dict[str, Any],
        secrets: dict[str, Any],
        head: bool = False,
    ):
        self.host, self.wishes, self.decision, self.world = host, wishes, decision, world
        self.head = head  # of a Ray cluster
        self.settings, self.secrets = settings, secrets
        self.prefix = expand(wishes.prefix, host)
        self.state_dir = expand(wishes.state_dir, host)
        self.become = decision.choice.become
        self.idle, self.busy = idle.idle(host, wishes)
        self.token = bool(secrets.get(TOKEN)) or host.huggingface_token
        self.blocked: str | None = None  # why no image can be pulled now
        self.shm_mb: int | None = None  # what the container's /dev/shm must have; MiB
        self.out = Steps()

    def args(self, step: str, **args: Any) -> dict[str, Any]:
        """A step's arguments: the plan's, then what the user set himself."""
        own = self.settings.get(step, {})
        return {**args, **own, "state_dir": self.state_dir}

    def add(self, step: str, reason: str, args: dict[str, Any], disturbs: str = "none") -> None:
        """Enter a step that has work to do; it needs those entered before it."""
        needs = [other for other in self.out.steps if other in NEEDS[step]]
        self.out.steps[step] = {
            "needs": needs,
            "reason": reason,
            "disruption": disturbs,
            "key": step_key(step, args),
            "args": args,
        }

    def defer(self, step: str, action: str, disturbs: str, because: str) -> None:
        """List what only an idle host may see."""
        self.out.deferred.append(
            {
                "step": step,
                "action": action,
                "disruption": disturbs,
                "because": because,
                "fix": "It is done by the next run that finds the host idle; or set verl_allow_disruption.",
            }
        )

    def stamp(self, step: str) -> str | None:
        """The key that the step's last success left."""
        return text(mapping(self.host.stamps.get(step)).get("key"))


NEEDS: dict[str, tuple[str, ...]] = {
    "docker_engine": (),
    "nvidia_container_toolkit": ("docker_engine",),
    "disruption": ("docker_engine", "nvidia_container_toolkit"),
    "container_image": ("docker_engine",),
    "verl_checkout": (),
    "training_container": (
        "docker_engine", "nvidia_container_toolkit", "disruption", "container_image", "verl_checkout",
        "huggingface_token",
    ),
    "huggingface_token": (),
    "source_environment": ("verl_checkout",),
    "verl_shell": (),
    "ray_cluster": (
        "docker_engine", "nvidia_container_toolkit", "disruption", "container_image", "verl_checkout",
        "source_environment",
    ),
}  # fmt: skip


def plan(
    host: Host,
    wishes: Wishes,
    decision: Decision,
    world: World,
    settings: dict[str, Any],
    secrets: dict[str, Any],
    head: bool = False,
) -> Planner:
    """The steps (`out`) of a host whose decision is made; `head`: Ray's head runs there."""
    planner = Planner(host, wishes, decision, world, plain_settings(settings), secrets, head)
    if decision.backend == "source":
        huggingface_token(planner)
        source_environment(planner)
    else:
        container_path(planner)
    if not planner.out.errors:
        planner.out.verification = verification.plan(
            host, wishes, decision, planner.out.steps, planner.out.content, planner.prefix, planner.become,
            planner.settings.get("verification", {}), {item["step"] for item in planner.out.deferred}, ray(planner),
        )  # fmt: skip
        if planner.shm_mb:
            planner.out.verification["expected"]["shm_mb"] = planner.shm_mb
        verl_shell(planner)  # after it: a command for people changes nothing that is verified
    return planner


def ray(planner: Planner) -> dict[str, Any] | None:
    """The Ray cluster of which this host is the head."""
    if not planner.head:
        return None
    port = planner.settings.get("ray_cluster", {}).get("dashboard_port", 8265)
    return {
        "nodes": planner.wishes.nnodes,
        "dashboard": f"http://127.0.0.1:{port}",
        "token": f"{planner.state_dir}/ray/token",
    }


def plain_settings(settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """`{role: {role_variable: value}}` as `{role: {variable: value}}`."""
    return {
        str(role): {str(name).removeprefix(f"{role}_"): value for name, value in mapping(values).items()}
        for role, values in mapping(settings).items()
    }


def expand(path: str, host: Host) -> str:
    """`~` is the login user's home."""
    if path == "~" or path.startswith("~/"):
        return host.home.rstrip("/") + path[1:] if host.home != "~" else path
    return path


# ---- the source environment


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


# ---- containers


def container_path(planner: Planner) -> None:
    """Engine, toolkit, what makes them take effect, image, checkout, container."""
    docker = planner.decision.backend == "docker"
    request = "none"
    if docker:
        engine_needs = docker_engine(planner)
        request = toolkit_and_effect(planner, engine_needs)
    elif planner.decision.profile == "gpu":
        request = "cdi"
    image_args = container_image(planner)
    checkout = verl_checkout(planner)
    huggingface_token(planner)
    if planner.decision.backend == "apptainer":
        # No container stays: every command starts in the image, through verl-shell, with the checkout mounted.
        planner.out.content["image"] = f"{image_args['pull_ref']}@{image_args['digest']}"
        return
    training_container(planner, image_args, checkout, request)


def docker_engine(planner: Planner) -> str:
    """Install it, or bring its daemon.json to what is wanted. Returns what makes the change take effect."""
    host, wishes, choice = planner.host, planner.wishes, planner.decision.choice
    repository = planner.world.docker_repository
    args = planner.args(
        "docker_engine",
        source="docker",
        version="",
        mirror_apt=wishes.mirrors.get("apt") or text(repository.get("url")) or DOCKER_APT,
        key_fingerprint=text(repository.get("key_fingerprint")) or "",
        become=not host.root,
        manage_daemon_json={},
        registry_mirrors=[],
        insecure_registries=[],
        set_proxy=False,
    )
    wanted = {**mapping(args["manage_daemon_json"])}
    for name, key in (("registry_mirrors", "registry-mirrors"), ("insecure_registries", "insecure-registries")):
        if isinstance(args[name], list) and args[name]:
            wanted[key] = args[name]
    docker, table = host.docker, planner.world.daemon_json
    change = daemon_json.classify(docker.daemon_json, wanted, docker.version, table)
    pulls = proxy_for_pulls(planner)
    args["set_proxy"] = bool(pulls) and planner.blocked is None
    if choice.install_engine:
        reason = "Docker is not installed" if not docker.installed else "Docker does not answer"
        planner.add("docker_engine", reason, args)
        return daemon_json.NOTHING
    settled = planner.stamp("docker_engine") == step_key("docker_engine", args)
    late = _waiting(planner, wanted, settled)
    needs = daemon_json.heaviest([change["action"], *late.values()])
    if args["set_proxy"]:
        planner.add("docker_engine", pulls, args)
        return daemon_json.RESTART_IDLE
    if not wanted or (settled and not change["keys"]):
        return needs
    reason = f"daemon.json lacks {', '.join(change['keys'])}"
    if not change["keys"]:
        reason = f"nothing says that {', '.join(wanted)} of daemon.json took effect"
    if not _may_edit(planner, "docker_engine", ", ".join(change["keys"] or wanted)):
        return daemon_json.NOTHING
    planner.add("docker_engine", reason, args)
    return needs


def proxy_for_pulls(planner: Planner) -> str:
    """Why the daemon has to be given the proxy, '' where it needs none. That takes a restart: not on a busy host."""
    host, wishes = planner.host, planner.wishes
    args, there = wanted_image(planner)
    registry = proxy.registry_of(args["pull_ref"])
    if not wishes.proxy or there or proxy.direct(registry, wishes.no_proxy):
        return ""
    if "proxies" in host.docker.daemon_json or proxy.daemon_has(host.docker, wishes.proxy):
        return ""  # the site's own in daemon.json comes before any other: it's used as it is
    why = f"Docker's daemon is to reach {registry} through {wishes.proxy}"
    fresh = planner.decision.choice.install_engine and not host.docker.installed
    if not host.rights:
        planner.out.warnings.append(
            {
                "rule": "rights",
                "message": f"{why}, which {host.user} may not set",
                "fix": "Have an administrator do it (docs/mirrors.md), or set verl_mirror_registry.",
            }
        )
        return ""
    if planner.idle or wishes.disrupt or fresh:
        return why
    planner.blocked = f"{why}, which takes a restart; {'; '.join(planner.busy)}"
    if host.verification.get("passed_at"):
        planner.defer("docker_engine", disruption.RESTART, disruption.RESTART, planner.blocked)
        return why
    planner.out.errors.append(
        {
            "rule": "proxy",
            "found": planner.blocked,
            "needed": "an idle host, or a registry that is reached without the proxy",
            "where": "verl_proxy",
            "fix": "Wait until it is idle, set verl_allow_disruption, or set verl_mirror_registry and verl_no_proxy.",
        }
    )
    return why


def _waiting(planner: Planner, wanted: dict[str, Any], settled: bool) -> dict[str, str]:
    """Keys that are in the file and wait for a restart, with what each needs.

    The step's stamp names them, and the dockerd that has to go. Without it (the run was interrupted) a file that is
    newer than its dockerd counts as waiting.
    """
    docker, table = planner.host.docker, planner.world.daemon_json
    if not settled:
        newer = docker.daemon_json_newer
        return daemon_json.waiting(docker.daemon_json, wanted, docker.version, table) if newer else {}
    stamp = mapping(planner.host.stamps.get("docker_engine"))
    if docker.started_at is None or stamp.get("engine_started") != docker.started_at:
        return {}
    return {key: daemon_json.effect(key, docker.version, table) for key in texts(stamp.get("waiting"))}


def _may_edit(planner: Planner, step: str, what: str) -> bool:
    """Whether daemon.json can be merged: readable JSON, and the rights to write it."""
    host = planner.host
    if host.docker.daemon_json_error:
        planner.out.errors.append(
            {
                "rule": "daemon_json",
                "found": f"{host.docker.daemon_json_path}: {host.docker.daemon_json_error}",
                "needed": "valid JSON, so that what others wrote there can be kept",
                "where": host.docker.daemon_json_path,
                "fix": f"Mend it (python3 -m json.tool {host.docker.daemon_json_path}); it is not overwritten.",
            }
        )
        return False
    if not host.rights:
        planner.out.warnings.append(
            {
                "rule": "rights",
                "message": f"{step} would change {what} in {host.docker.daemon_json_path}, which needs root",
                "fix": f"Give {host.user} passwordless sudo, or have an administrator change it.",
            }
        )
        return False
    return True


def toolkit_and_effect(planner: Planner, engine_needs: str) -> str:
    """The toolkit, then the rung of the ladder that makes all of it take effect. Returns how GPUs are asked for."""
    host, choice = planner.host, planner.decision.choice
    fresh = choice.install_engine and not host.docker.installed
    needs, flag_missing = engine_needs, False
    if planner.decision.profile == "gpu":
        changed = nvidia_container_toolkit(planner)
        if changed and choice.configure_runtime and needs == daemon_json.NOTHING:
            needs = daemon_json.RELOAD
        arrives = changed and host.toolkit_version is None
        flag_missing = arrives or host.docker.gpus_flag is False
    if planner.out.errors:
        return "none"
    rung = disruption.climb(host, planner.wishes, planner.idle, needs, flag_missing and host.rights, fresh)
    request = rung.gpu_request
    if flag_missing and not host.rights:
        request = "runtime_env"
    if planner.decision.profile == "cpu":
        request = "none"
    elif "nvidia" not in host.docker.runtimes and not choice.configure_runtime and host.docker.cdi_ready:
        request = "cdi"
    if rung.action == disruption.DEFER:
        planner.defer(
            "disruption", disruption.RESTART, disruption.RESTART, f"{rung.because}; {'; '.join(planner.busy)}"
        )
    elif rung.action != disruption.NONE:
        args = planner.args(
            "disruption",
            action=rung.action,
            allowed=planner.wishes.disrupt or fresh,  # an idle host is looked at again right before
            because=rung.because,
            become=not host.root,
        )
        # An engine that this very run installs disturbs nobody.
        planner.add("disruption", rung.because, args, disruption.NONE if fresh else rung.action)
    return request


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
    if upgrade and legacy_hook(host):
        disturbs = "toolkit_upgrade"
        if not (planner.idle or planner.wishes.disrupt):
            because = (
                "its installation runs systemctl daemon-reload, which takes the GPUs from running containers that "
                f"use the legacy hook with the systemd cgroup driver; {'; '.join(planner.busy)}"
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


def legacy_hook(host: Host) -> bool:
    """Whether containers may hold GPUs through the legacy hook, so that a daemon-reload takes them away."""
    if host.docker.cgroup_driver not in (None, "systemd"):
        return False
    if host.toolkit_mode == "legacy" or versions.compare(host.toolkit_version or "0", "1.18.0") < 0:
        return True
    return versions.compare(host.docker.version or "0", "29.2.0") < 0


def pull_reference(image: Any, wishes: Wishes, engine: str | None = "docker") -> str:
    """What is pulled: the image's own registry, or the user's mirror of it. Only Docker knows where short names are."""
    mirror = wishes.mirrors.get("registry")
    name = image.ref
    for prefix in ("docker.io/", f"{image.registry}/"):
        name = name.removeprefix(prefix)
    if mirror:
        return f"{mirror.removeprefix('https://').removeprefix('http://').rstrip('/')}/{name}"
    return name if image.registry == "docker.io" and engine == "docker" else f"{image.registry}/{name}"


def wanted_image(planner: Planner) -> tuple[dict[str, Any], bool]:
    """The step's arguments, and whether the image is on the host."""
    host, decision = planner.host, planner.decision
    image = decision.candidate.image
    pull_ref = pull_reference(image, planner.wishes, decision.backend)
    args = planner.args(
        "container_image",
        ref=image.ref,
        pull_ref=pull_ref,
        digest=image.digest or "",
        become=planner.become,
        size_gb=image.size_gb or 0,
        engine=decision.backend,
    )
    there = image.local(host.image_refs, host.image_digests) or (not image.digest and pull_ref in host.image_refs)
    if decision.backend == "apptainer":
        args["file"] = f"{planner.prefix}/images/{image.id}.sif"
        there = args["file"] in host.sif_images
    if decision.backend != "docker":
        there = there and planner.stamp("container_image") == step_key("container_image", args)
    return args, bool(there)


def container_image(planner: Planner) -> dict[str, Any]:
    """Pull what isn't there."""
    args, there = wanted_image(planner)
    if there:
        return args
    wanted = f"{args['pull_ref']}@{args['digest']}" if args["digest"] else args["pull_ref"]
    if planner.blocked:
        planner.defer("container_image", f"pull {wanted}", disruption.RESTART, planner.blocked)
    else:
        planner.add("container_image", f"{wanted} is not on the host", args)
    return args


def works_inside(planner: Planner) -> bool:
    """Whether something runs in our container."""
    container = planner.host.container
    return bool(container and container.running and container.processes)


def in_use(planner: Planner) -> bool:
    """Whether something runs in our container that may not be disturbed."""
    return works_inside(planner) and not planner.wishes.disrupt


def verl_checkout(planner: Planner) -> dict[str, Any]:
    """Clone or move the checkout that is mounted into the container."""
    wishes, release, found = planner.wishes, planner.decision.candidate.release, planner.host.checkout
    wanted = wishes.commit or release.git_tag or f"v{release.version}"
    args = planner.args(
        "verl_checkout",
        repo=wishes.mirrors.get("git") or REPOSITORY,
        version=wanted,
        path=f"{planner.prefix}/src",
        become=False,
    )
    planner.out.content["verl_checkout"] = step_key("verl_checkout", args)
    wanted = planner.out.verl = str(args["version"])
    if found is None:
        planner.add("verl_checkout", f"there is no checkout at {args['path']}", args)
        return args
    commit, tag = text(found.get("commit")) or "", text(found.get("tag"))
    if tag == wanted or (commit and commit.startswith(wanted) and len(wanted) >= 7):
        return args
    left = text(mapping(planner.host.stamps.get("verl_checkout")).get("commit")) or commit
    if planner.stamp("verl_checkout") == step_key("verl_checkout", args) and not tag and left == commit:
        return args  # a tag that a shallow clone doesn't show
    if in_use(planner):
        container = planner.host.container
        because = f"{args['path']} is mounted into our container, in which {container.processes[0]} runs"
        planner.defer("verl_checkout", f"check out {wanted}", "code_in_use", because)
        return args
    if planner.host.ray_busy and not wishes.disrupt:
        because = f"a Ray job or actor runs here, and may use {args['path']}"
        planner.defer("verl_checkout", f"check out {wanted}", "code_in_use", because)
        return args
    if found.get("dirty") is True:
        planner.defer(
            "verl_checkout",
            f"check out {wanted}",
            "local_changes",
            f"{args['path']} has changes that are not committed ({tag or commit[:12]})",
        )
        planner.out.deferred[-1]["fix"] = f"git -C {args['path']} stash, or commit, then run again."
        return args
    disturbs = "code_in_use" if works_inside(planner) else "none"
    reason = f"{args['path']} is at {tag or commit[:12] or 'no commit'}, wanted is {wanted}"
    planner.add("verl_checkout", reason, args, disturbs)
    return args


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


# ---- the token


def token_path(planner: Planner) -> str:
    """Where the host keeps it."""
    return f"{planner.prefix}/secrets/huggingface_token"


def huggingface_token(planner: Planner) -> None:
    """Keep a token that is given; one that isn't given any more stays where it is."""
    state = planner.secrets.get(TOKEN)
    if state is None or (state == "kept" and planner.host.huggingface_token):
        return
    path = token_path(planner)
    reason = f"{path} holds another token" if planner.host.huggingface_token else f"there is no token at {path}"
    planner.add("huggingface_token", reason, planner.args("huggingface_token", path=path))


# ---- the command that opens the environment


def verl_shell(planner: Planner) -> None:
    """One command for people, whatever carries the environment: written where it isn't, or says something else."""
    host, wishes, backend_name = planner.host, planner.wishes, planner.decision.backend
    apptainer = backend_name == "apptainer"
    args = planner.args(
        "verl_shell",
        path=f"{host.home.rstrip('/')}/{SHELL}",
        backend=backend_name,
        become=planner.become,
        container=wishes.container,
        workdir="/workspace/verl",
        prefix=planner.prefix,
        image=f"{planner.prefix}/images/{planner.decision.candidate.image.id}.sif" if apptainer else "",
        binds=[f"{planner.prefix}/src:/workspace/verl"] if apptainer else [],
        gpu=planner.decision.profile == "gpu",
        env={},
    )
    if planner.head:
        args["ray"] = wishes.ray_container
        if backend_name == "source":  # Ray's own container has it already
            args["ray_token"] = f"{planner.state_dir}/ray/token"
    if backend_name in ("source", "apptainer"):  # a container has it already
        args["env"] = {**container_env(planner), **({"HF_TOKEN_PATH": token_path(planner)} if planner.token else {})}
    if apptainer and planner.token:
        args["binds"] = [*args["binds"], f"{planner.prefix}/secrets"]
    planner.out.shell = str(args["path"])
    key = step_key("verl_shell", args)
    usual = args["path"] == f"{host.home.rstrip('/')}/{SHELL}"
    found = host.shell_key if usual else planner.stamp("verl_shell")
    if found != key:
        there = "is for another environment" if found else "is not there"
        planner.add("verl_shell", f"{args['path']} {there}", args)
