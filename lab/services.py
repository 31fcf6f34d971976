"""The lab's services: the image registry, and a web server with the apt repository, torch wheels and verl's git."""

import contextlib
import io
import tarfile
from pathlib import Path

import docker
import requests

from lab import cache, engine, network, settings, topology
from lab.build import dockerapt, images, rootfs, toolkit, torchwheel, verlgit
from lab.waiting import until

TREES = {"docker": "/srv/docker", "toolkit": "/srv/toolkit", "torch": "/srv/whl", "git": "/srv/git"}


def _files(**texts: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, text in texts.items():
            entry = tarfile.TarInfo(name.replace("__", "/"))
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text))
    return packed.getvalue()


def _links(**targets: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, target in targets.items():
            entry = tarfile.TarInfo(f"srv/www/{name.replace('_', '-')}")
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
    return packed.getvalue()


def _key(*parts: object) -> str:
    """Say what a service was started from: where that changed, `up` starts it anew."""
    return cache.digest_of(settings.FILES / "services", *parts)


def registry_key() -> str:
    """What the registry is made from."""
    return _key(rootfs.image("services"), str(images.make()))  # the path, since two caches hold two builds


def web_key() -> str:
    """What the web server is made from."""
    return _key(rootfs.image("services"), *(str(path) for path in _trees()))


def _trees() -> dict[Path, str]:
    makers = {"docker": dockerapt.make, "toolkit": toolkit.make, "torch": torchwheel.make, "git": verlgit.make}
    return {makers[name](): place for name, place in TREES.items()}


def start_registry() -> None:
    """Start the registry with the stand-in images in it."""
    client = engine.client()
    volume = client.volumes.create(topology.REGISTRY, labels=settings.OURS)
    container = client.containers.create(
        rootfs.image("services"),
        ["docker-registry", "serve", "/registry.yml"],
        name=topology.REGISTRY,
        hostname="registry",
        labels={**settings.OURS, settings.KEY: registry_key()},
        volumes={volume.name: {"bind": "/var/lib/registry"}},
        **network.attach(topology.REGISTRY_ADDRESS),
    )
    config = (settings.FILES / "services/registry.yml").read_bytes()
    client.api.put_archive(container.id, "/", _files(**{"registry.yml": config}))
    with (images.make() / "registry.tar").open("rb") as storage:
        client.api.put_archive(container.id, "/var/lib", storage)
    container.start()


def start_web() -> None:
    """Start the web server."""
    client = engine.client()
    container = client.containers.create(
        rootfs.image("services"),
        ["lighttpd", "-D", "-f", "/lighttpd.conf"],
        name=topology.WEB,
        hostname="web",
        labels={**settings.OURS, settings.KEY: web_key()},
        volumes={str(path): {"bind": place, "mode": "ro"} for path, place in _trees().items()},
        **network.attach(topology.WEB_ADDRESS),
    )
    config = (settings.FILES / "services/lighttpd.conf").read_bytes()
    # The repository belongs to whoever built it, the server is root: git must be told that this is meant.
    client.api.put_archive(
        container.id, "/", _files(**{"lighttpd.conf": config, "etc__gitconfig": b"[safe]\n\tdirectory = *\n"})
    )
    client.api.put_archive(
        container.id,
        "/",
        _links(docker=TREES["docker"], libnvidia_container=f"{TREES['toolkit']}/repository", whl=TREES["torch"]),
    )
    container.start()


def wait() -> None:
    """Wait until both answer."""

    def answers(url: str) -> bool:
        try:
            return requests.get(url, timeout=2).ok
        except requests.RequestException:
            return False

    until("the registry to answer", lambda: answers(f"http://{network.registry()}/v2/"), 30)
    until("the web server to answer", lambda: answers(f"http://{network.web_address()}/libnvidia-container/gpgkey"), 30)


def remove(name: str) -> None:
    """Remove a service and what it stored."""
    client = engine.client()
    with contextlib.suppress(docker.errors.NotFound):
        client.containers.get(name).remove(force=True, v=True)
    with contextlib.suppress(docker.errors.NotFound):
        client.volumes.get(name).remove(force=True)
