"""Whether anyone works on a host."""

from verl_provision.facts import Host
from verl_provision.select.wanted import Wishes


def idle(host: Host, wishes: Wishes) -> tuple[bool, list[str]]:
    """(idle, what speaks against it): no GPU process, no container but ours, ours holding nothing, no Ray job."""
    because = []
    if host.gpu_processes:
        because.append(f"{host.gpu_processes} compute process{'es' * (host.gpu_processes > 1)} on a GPU")
    others = foreign_containers(host, wishes)
    if others:
        because.append(f"container{'s' * (len(others) > 1)} {', '.join(others[:5])} running")
    ours = host.found_container
    if ours and ours.running and ours.processes:
        because.append(f"{len(ours.processes)} process(es) in our container: {ours.processes[0]}")
    if host.ray_busy:
        because.append("a Ray job or actor running")
    return not because, because


def foreign_containers(host: Host, wishes: Wishes) -> list[str]:
    """Names of the running containers that aren't ours."""
    ours = {identity[:12] for identity in (host.container and host.container.id, host.ray_container) if identity}
    return [name for name, short in host.docker.running if name != wishes.container and short[:12] not in ours]
