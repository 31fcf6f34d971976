"""Plan role docker_engine: install Docker, or bring its daemon.json to what is wanted."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from verl_provision.decide.junk import mapping, text, texts
from verl_provision.facts import Host
from verl_provision.plan import apt, daemon_json, disruption, proxy
from verl_provision.plan.keys import step_key
from verl_provision.plan.steps import container_image
from verl_provision.plan.steps.step import Context, Notes, Step, applied_hash, defer, warn
from verl_provision.select.decision import Decision
from verl_provision.variables import Request

NAME = "docker_engine"
FLAG_KEYS = {  # dockerd's flags whose keys in daemon.json have another name
    "host": "hosts",
    "add-runtime": "runtimes",
    "registry-mirror": "registry-mirrors",
    "insecure-registry": "insecure-registries",
    "label": "labels",
    "exec-opt": "exec-opts",
    "storage-opt": "storage-opts",
    "log-opt": "log-opts",
    "dns-opt": "dns-opts",
}
# Its packages, and whether each has the version that is asked for.
DOCKER_PACKAGES = {"docker-ce": True, "docker-ce-cli": True, "containerd.io": False, "docker-buildx-plugin": False}
REPLACED = ("docker.io", "containerd", "runc")  # the distribution's, which give way to them
DAEMON_JSON = "/etc/docker/daemon.json"
OWN_SOURCE = "/etc/apt/sources.list.d/docker.sources"
DOCKER_APT = "https://download.docker.com/linux"


@dataclass(frozen=True, slots=True)
class Engine(Step):
    """The step, and what those after it have to know."""

    effect: str = daemon_json.NOTHING  # what makes the change take effect
    blocked: str = ""  # why nothing can be pulled in this run


def plan(host: Host, request: Request, decision: Decision, context: Context) -> Engine | None:
    """Install it where it isn't or doesn't answer; merge what is wanted into daemon.json; have it pull by the proxy."""
    if decision.backend != "docker":
        return None
    repository = context.catalog.docker_repository
    args = context.args(
        NAME,
        source="docker",
        version="",
        mirror_apt=request.mirrors.get("apt") or text(repository.get("url")) or DOCKER_APT,
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
    docker, table = host.docker, context.catalog.daemon_json
    change = daemon_json.classify(docker.daemon_json, wanted, docker.version, table)
    pulls, blocked, notes = proxy_for_pulls(host, request, decision, context)
    args["set_proxy"] = bool(pulls) and not blocked
    if docker.installed and docker.daemon_json_path != DAEMON_JSON and not docker.rootless:
        args.setdefault("daemon_json", docker.daemon_json_path)
    step = Engine(args, step_key(NAME, args), notes=notes, blocked=blocked)
    broken = unreadable(host)
    if broken and not decision.choice.install_engine:
        (error,) = broken.errors
        step = step.noting(warn("daemon_json", f"{error['found']}; dockerd will not start again with it", error["fix"]))
    elif decision.choice.install_engine:
        step = step.noting(broken + clashing(host))
    if decision.choice.install_engine and docker.installed:
        return step.because("Docker does not answer")
    if decision.choice.install_engine:
        args["existing_source"], refused = source(host, args)
        return step.because("Docker is not installed").noting(refused)
    settled = applied_hash(host, NAME) == step.config_hash
    late = _waiting(host, context, wanted, settled)
    needs = daemon_json.heaviest([change["action"], *late.values()])
    if args["set_proxy"]:
        return step.because(pulls, effect=daemon_json.RESTART_IDLE)
    if not wanted or (settled and not change["keys"]):
        return step.because("", effect=needs)
    unable = may_edit(host, NAME, ", ".join(change["keys"] or wanted))
    if unable:
        return step.noting(unable)
    reason = f"daemon.json lacks {', '.join(change['keys'])}"
    if not change["keys"]:
        reason = f"nothing says that {', '.join(wanted)} of daemon.json took effect"
    return step.because(reason, effect=needs)


def source(host: Host, args: dict[str, Any]) -> tuple[str, Notes]:
    """The apt source that Docker's packages come from, where there is one already."""
    if args["source"] != "docker":
        return "", apt.works(host)
    name, codename = host.system.repository or ("", "")
    args |= {"distribution": name, "codename": codename}
    uri = f"{str(args['mirror_apt']).rstrip('/')}/{name}"
    file, notes = apt.existing_source(host, uri, codename, args["key_fingerprint"], OWN_SOURCE)
    version = f"5:{args['version']}*" if args["version"] else ""
    packages = {package: version if own else "" for package, own in DOCKER_PACKAGES.items()}
    return file, notes + apt.installs(host, packages, REPLACED, uri)


def proxy_for_pulls(host: Host, request: Request, decision: Decision, context: Context) -> tuple[str, str, Notes]:
    """Why the daemon has to be given the proxy ('': it needs none), and why it can't be given it in this run.

    That takes a restart: not on a busy host.
    """
    image = container_image.arguments(host, request, decision, context)
    registry = proxy.registry_of(image["pull_ref"])
    there = container_image.there(host, decision, image)
    if not request.proxy or there or proxy.direct(registry, request.no_proxy):
        return "", "", Notes()
    if "proxies" in host.docker.daemon_json or proxy.daemon_has(host.docker, request.proxy):
        return "", "", Notes()  # the site's own in daemon.json comes before any other: it's used as it is
    why = f"Docker's daemon is to reach {registry} through {request.proxy}"
    fresh = decision.choice.install_engine and not host.docker.installed
    if not host.rights:
        fix = "Have an administrator do it (docs/mirrors.md), or set verl_mirror_registry."
        return "", "", warn("rights", f"{why}, which {host.user} may not set", fix)
    if context.idle or request.disrupt or fresh:
        return why, "", Notes()
    blocked = f"{why}, which takes a restart; {'; '.join(context.busy)}"
    if host.verification.get("passed_at"):
        return why, blocked, defer(NAME, disruption.RESTART, disruption.RESTART, blocked)
    error = {
        "rule": "proxy",
        "found": blocked,
        "needed": "an idle host, or a registry that is reached without the proxy",
        "where": "verl_proxy",
        "fix": "Wait until it is idle, set verl_allow_disruption, or set verl_mirror_registry and verl_no_proxy.",
    }
    return why, blocked, Notes(errors=(error,))


def _waiting(host: Host, context: Context, wanted: dict[str, Any], settled: bool) -> dict[str, str]:
    """Keys that are in the file and wait for a restart, with what each needs.

    The step's state file names them, and the dockerd that has to go. Without it (the run was interrupted) a file that
    is newer than its dockerd counts as waiting.
    """
    docker, table = host.docker, context.catalog.daemon_json
    if not settled:
        newer = docker.daemon_json_newer
        return daemon_json.waiting(docker.daemon_json, wanted, docker.version, table) if newer else {}
    state = mapping(host.stamps.get(NAME))
    if docker.started_at is None or state.get("engine_started") != docker.started_at:
        return {}
    return {key: daemon_json.effect(key, docker.version, table) for key in texts(state.get("waiting"))}


def unreadable(host: Host) -> Notes:
    """A daemon.json with which no dockerd starts; one that this user just may not read says nothing."""
    path, error = host.docker.daemon_json_path, host.docker.daemon_json_error
    if not error or not error.startswith("it "):
        return Notes()
    found = f"{path}: {error}"
    fix = f"Mend it (python3 -m json.tool {path}); it is not overwritten."
    needed = "valid JSON, with which dockerd starts"
    return Notes(errors=({"rule": "daemon_json", "found": found, "needed": needed, "where": path, "fix": fix},))


def clashing(host: Host, wanted: Iterable[str] = ()) -> Notes:
    """Keys that dockerd is given both as a flag and in daemon.json: it does not start then."""
    path = host.docker.daemon_json_path
    flags = {FLAG_KEYS.get(name, name): name for name, dummy in host.docker.flags}
    both = sorted(set(flags) & {*host.docker.daemon_json, *wanted})
    if not both:
        return Notes()
    named = ", ".join(f"{key} (--{flags[key]})" for key in both)
    error = {
        "rule": "daemon_json",
        "found": f"dockerd gets {named} as a flag of its service",
        "needed": f"each setting in one place: dockerd does not start where {path} has it too",
        "where": path,
        "fix": "Take the flag out: sudo systemctl edit --full docker.service, then: sudo systemctl daemon-reload on an "
        f"idle host; or take the key out of {path}.",
    }
    return Notes(errors=(error,))


def may_edit(host: Host, step: str, what: str) -> Notes:
    """What keeps a step from merging `what` into daemon.json: no readable JSON, or no rights. Nothing where it may."""
    path = host.docker.daemon_json_path
    if host.docker.daemon_json_error:
        error = {
            "rule": "daemon_json",
            "found": f"{path}: {host.docker.daemon_json_error}",
            "needed": "valid JSON, so that what others wrote there can be kept",
            "where": path,
            "fix": f"Mend it (python3 -m json.tool {path}; without settings it holds {{}}); it is not overwritten.",
        }
        return Notes(errors=(error,))
    if not host.rights:
        fix = f"Give {host.user} passwordless sudo, or have an administrator change it."
        return warn("rights", f"{step} would change {what} in {path}, which needs root", fix)
    return clashing(host, (key.partition(".")[0] for key in what.split(", ")))
