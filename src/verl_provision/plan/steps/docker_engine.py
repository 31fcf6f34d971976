"""Plan role docker_engine: install Docker, or bring its daemon.json to what is wanted."""

from typing import Any

from verl_provision.decide.junk import mapping, text, texts
from verl_provision.plan import daemon_json, disruption, proxy
from verl_provision.plan.keys import step_key
from verl_provision.plan.steps.container_image import wanted_image
from verl_provision.plan.steps.planner import Planner

DOCKER_APT = "https://download.docker.com/linux"


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
