"""Whether anyone works on a host."""

from verl_provision.facts import Host
from verl_provision.variables import Request


def idle(host: Host, request: Request) -> tuple[bool, list[str]]:
    """(idle, what speaks against it): no GPU process, no container but ours, ours holding nothing, no Ray job."""
    because = []
    if host.gpu_processes:
        because.append(f"{host.gpu_processes} compute process{'es' * (host.gpu_processes > 1)} on a GPU")
    others = foreign_containers(host, request)
    if others:
        because.append(f"container{'s' * (len(others) > 1)} {', '.join(others[:5])} running")
    ours = host.found_container
    if ours and ours.running and ours.processes:
        because.append(f"{len(ours.processes)} process(es) in our container: {ours.processes[0]}")
    if host.ray_busy:
        because.append("a Ray job or actor running")
    return not because, because


def foreign_containers(host: Host, request: Request) -> list[str]:
    """Names of the running containers that aren't ours."""
    ours = {identity[:12] for identity in (host.container and host.container.id, host.ray_container) if identity}
    return [name for name, short in host.docker.running if name != request.container and short[:12] not in ours]
