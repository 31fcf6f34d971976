"""Bring the whole lab up and take it down again."""

import contextlib
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import docker

from lab import cache, engine, hosts, inventory, keys, network, services, settings, topology
from lab.build import dockerapt, gpu, images, rootfs, toolkit, verlgit

log = logging.getLogger("lab")


def _all(pool: ThreadPoolExecutor, *jobs) -> None:
    """Run jobs side by side and raise what the first failing one raised."""
    for future in [pool.submit(*job) if isinstance(job, tuple) else pool.submit(job) for job in jobs]:
        future.result()


def _chosen(names: list[str]) -> list[topology.Host]:
    return [host for host in topology.HOSTS.values() if (host.name in names if names else host.default)]


def build(pool: ThreadPoolExecutor, chosen: list[topology.Host]) -> None:
    """Make whatever the cache lacks of what these hosts need."""
    keys.private_key()
    systems = {"builder", "image", "services"} | {host.rootfs for host in chosen}
    # The images take longest, so they start first; what others need too is waited for in cache.step.
    parts = (images.make, toolkit.make, gpu.make, verlgit.make, dockerapt.make)
    _all(pool, *parts, *((rootfs.make, name) for name in sorted(systems)))


def up(names: list[str]) -> None:
    """Start the lab: build what's missing, start services and hosts, write the inventory."""
    started = time.monotonic()
    chosen = _chosen(names)
    with ThreadPoolExecutor(8) as pool:
        with cache.locked():
            if engine.ensure():
                _clear(pool, settings.LABEL)  # Docker starts again what was killed with it: used hosts, nobody's now
            with ThreadPoolExecutor(3) as builders:  # a build keeps a core busy, or waits for a download
                build(builders, chosen)
            built = time.monotonic()
            _all(pool, *((rootfs.image, name) for name in {"services"} | {host.rootfs for host in chosen}))
            network.create()
            if not others():  # whose services may still serve what this one no longer wants
                cache.prune()
        with cache.locked_lab():
            _start(pool, chosen)
    log.info(
        "The lab is up: %.0f s to build, %.0f s to start. Try: ansible -i %s all -m ping",
        built - started,
        time.monotonic() - built,
        settings.INVENTORY.relative_to(settings.CHECKOUT),
    )


def _start(pool: ThreadPoolExecutor, chosen: list[topology.Host]) -> None:
    running = _running()
    _all(
        pool,
        *((_fresh, host) for host in chosen if host not in running),
        (_serve, topology.REGISTRY, services.registry_key, services.start_registry),
        (_serve, topology.WEB, services.web_key, services.start_web),
    )
    services.wait()
    _all(pool, *((hosts.wait, host) for host in chosen))
    inventory.write([host for host in topology.HOSTS.values() if host in chosen or host in running])


def _running() -> set[topology.Host]:
    """Find the hosts that run and are what they would be today: after a lab of another cache, the SSH key isn't."""
    return {host for host in topology.HOSTS.values() if engine.current(host.container, partial(hosts.key, host))}


def forget(name: str) -> None:
    """Take one host out of the lab that is up, and out of its inventory."""
    with cache.locked_lab():
        hosts.remove(topology.HOSTS[name])
        running = _running()
        inventory.write([host for host in topology.HOSTS.values() if host in running])


def others() -> bool:
    """Tell whether a lab of another name is up on this machine."""
    found = engine.client().networks.list(filters={"label": settings.LABEL})
    return any(network.name != settings.NETWORK for network in found)


def _serve(name: str, key: Callable[[], str], start: Callable[[], None]) -> None:
    if not engine.current(name, key):
        services.remove(name)
        start()


def _fresh(host: topology.Host) -> None:
    hosts.remove(host)
    hosts.create(host)


def down() -> None:
    """Remove everything but the cache."""
    with cache.locked(), cache.locked_lab():
        inventory.remove()
        if not engine.running():
            log.info("No Docker Engine runs here, so nothing of the lab does.")
            return
        client = engine.client()
        with ThreadPoolExecutor(8) as pool:
            _clear(pool, f"{settings.LABEL}={settings.NETWORK}")
        if not others():  # what all labs of this machine share
            for builder in client.containers.list(all=True, filters={"label": settings.LABEL}):
                _remove(builder)  # of a build that was killed
            for image in client.images.list(filters={"label": settings.LABEL}):
                client.images.remove(image.id, force=True)
            engine.stop_if_ours()
    log.info("The lab is gone; its cache stays at %s", settings.CACHE)


def _clear(pool: ThreadPoolExecutor, label: str) -> None:
    """Remove the containers, volumes and networks with this label."""
    client, found = engine.client(), {"label": label}
    _all(pool, *((_remove, container) for container in client.containers.list(all=True, filters=found)))
    for volume in client.volumes.list(filters=found):
        volume.remove(force=True)
    for left in client.networks.list(filters=found):
        left.remove()


def _remove(container) -> None:
    with contextlib.suppress(docker.errors.NotFound):
        container.remove(force=True, v=True)


def status(names: list[str]) -> bool:
    """Say what's up; true where the services and these hosts are."""
    if not engine.running():
        log.info("The lab is down: no Docker Engine runs.")
        return False
    found = engine.client().containers.list(all=True, filters={"label": f"{settings.LABEL}={settings.NETWORK}"})
    containers = {container.name: container.status for container in found}
    names = [topology.REGISTRY, topology.WEB, *(host.container for host in _chosen(names))]
    for name in names:
        log.info("%-20s %s", name, containers.get(name, "-"))
    return all(containers.get(name) == "running" for name in names)
