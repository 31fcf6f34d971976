"""The lab's hosts as containers: create, reach, reset."""

import contextlib
import shlex
import socket
from dataclasses import dataclass

import docker

from lab import cache, engine, hostfiles, network, settings, topology
from lab.build import rootfs
from lab.machine import LabError
from lab.topology import HOSTS, Host
from lab.waiting import until


@dataclass(frozen=True)
class Result:
    """What a command on a host answered."""

    rc: int
    out: str


def container(name: str) -> docker.models.containers.Container:
    """Give the container of a host, by the host's name."""
    try:
        return engine.client().containers.get(HOSTS[name].container)
    except docker.errors.NotFound:
        raise LabError(f"{name} isn't up. Start the lab: make lab") from None


def exec(host: str, command: str | list[str], *, user: str = "root", check: bool = True) -> Result:
    """Run a shell command on a host, from outside of SSH; a failure raises unless `check` is off."""
    line = command if isinstance(command, str) else shlex.join(command)
    status, said = container(host).exec_run(["bash", "-c", line], user=user, environment={"LC_ALL": "C.UTF-8"})
    result = Result(status, said.decode(errors="replace"))
    if check and result.rc:
        raise LabError(f"{host}: `{line}` ended with {result.rc}:\n{result.out[-3000:]}")
    return result


def host_config(volumes: dict[str, dict[str, str]], **more: object) -> dict:
    """What lets a container be a machine of its own, with systemd or a Docker Engine in it."""
    # Not --privileged: that fails on a machine whose own bounding set lacks SYS_RESOURCE (docs/lab.md).
    config = engine.client().api.create_host_config(
        cap_add=["ALL"],
        cap_drop=["SYS_RESOURCE"],
        security_opt=["seccomp=unconfined", "apparmor=unconfined"],
        device_cgroup_rules=["a *:* rwm"],
        devices=["/dev/fuse", "/dev/net/tun"],
        cgroupns="private",
        binds=volumes,
        **more,
    )
    # What `--security-opt systempaths=unconfined` stands for: Podman's and Apptainer's own /proc needs it.
    return config | {"MaskedPaths": [], "ReadonlyPaths": []}


def key(host: Host) -> str:
    """Say what a host is made from: where that changed, `up` makes it anew."""
    return cache.digest_of(rootfs.image(host.rootfs), _volumes(host), hostfiles.digest(host))


def _volumes(host: Host) -> dict[str, dict[str, str]]:
    volumes = {}
    if host.machine:
        volumes[f"{host.container}-docker"] = {"bind": "/var/lib/docker", "mode": "rw"}
    if host.no_root:
        volumes[f"{host.container}-home"] = {"bind": "/home", "mode": "rw"}  # overlays don't stack on an overlay
    if not host.machine:
        volumes[str(settings.PIP_CACHE)] = {"bind": hostfiles.PIP_CACHE, "mode": "rw"}
    return volumes


def create(host: Host) -> None:
    """Make a host's container and start it; `wait` says when it's ready."""
    settings.PIP_CACHE.mkdir(parents=True, exist_ok=True)
    volumes = _volumes(host)
    client = engine.client()
    for volume in volumes:
        if not volume.startswith("/"):
            client.volumes.create(volume, labels=settings.OURS)
    endpoint = client.api.create_endpoint_config(ipv4_address=network.address(host.address))
    made = client.containers.get(
        client.api.create_container(
            rootfs.image(host.rootfs),
            ["/lib/systemd/systemd"],
            name=host.container,
            hostname=host.name,
            labels={**settings.OURS, settings.KEY: key(host)},
            stop_signal="SIGRTMIN+3",
            host_config=host_config(
                volumes,
                tmpfs={"/run": "", "/tmp": "exec"},
                network_mode=settings.NETWORK,
                restart_policy={"Name": "always"},  # `systemctl reboot` in it ends the container
            ),
            networking_config=client.api.create_networking_config({settings.NETWORK: endpoint}),
        )["Id"]
    )
    hostfiles.put(made, host)
    made.start()
    hostfiles.install(made, host)


def answers(host: Host) -> bool:
    """Tell whether a host's SSH server greets this machine, as Ansible will meet it; an open port alone says little."""
    try:
        with socket.create_connection((network.address(host.address), 22), timeout=2) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def condition(name: str) -> str:
    """Say what a host that doesn't do as it should thinks of its SSH server and its other units."""
    asked = "systemctl --failed --no-legend --plain; systemctl status --no-pager ssh; ss -Hltn sport = :22"
    return exec(name, asked, check=False).out


def wait(host: Host) -> None:
    """Wait until a host has booted: systemd content, SSH answering."""

    def booted() -> bool:
        return exec(host.name, "systemctl is-system-running", check=False).out.strip() in {"running", "degraded"}

    until(f"{host.name} to boot", booted, 60)
    try:
        until(f"{host.name} to answer on port 22", lambda: answers(host), 30)
    except LabError as error:
        raise LabError(f"{error}\n{condition(host.name)}") from None
    failed = exec(host.name, "systemctl --failed --no-legend --plain", check=False).out.strip()
    if failed:
        raise LabError(
            f"{host.name} booted with failed units:\n{failed}\n"
            "Where many containers run, the kernel may have no inotify instance left for them: "
            "sysctl fs.inotify.max_user_instances; sudo sysctl -w fs.inotify.max_user_instances=1024"
        )
    if host.no_root:
        exec(host.name, hostfiles.ADMINISTRATOR)


def reboot(name: str) -> None:
    """Reboot a host, as somebody at its keyboard would, and wait until it's back."""
    before = container(name).attrs["State"]["StartedAt"]
    exec(name, "systemctl reboot", check=False)
    until(f"{name} to begin again", lambda: container(name).attrs["State"]["StartedAt"] != before, 60)
    wait(HOSTS[name])


def remove(host: Host) -> None:
    """Remove a host and what it stored."""
    client = engine.client()
    with contextlib.suppress(docker.errors.NotFound):
        client.containers.get(host.container).remove(force=True, v=True)
    for volume in ("docker", "home"):
        with contextlib.suppress(docker.errors.NotFound):
            client.volumes.get(f"{host.container}-{volume}").remove(force=True)


def reset(name: str) -> None:
    """Bring a single host back to what it was when the lab came up."""
    host = topology.HOSTS[name]
    with cache.locked_lab():
        remove(host)
        create(host)
        wait(host)
