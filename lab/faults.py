"""Break one part of the lab for a while: each is a context manager that mends it again."""

from collections.abc import Iterator
from contextlib import contextmanager

import yaml

from lab import engine, hosts, services, topology
from lab.build import gpu
from lab.machine import LabError


def _run(container: str, *command: str) -> None:
    status, said = engine.client().containers.get(container).exec_run(list(command))
    if status:
        raise LabError(f"{container}: {' '.join(command)} ended with {status}: {said.decode(errors='replace')}")


@contextmanager
def registry_down() -> Iterator[None]:
    """Stop the image registry."""
    container = engine.client().containers.get(topology.REGISTRY)
    container.stop(timeout=2)
    try:
        yield
    finally:
        container.start()
        services.wait()


@contextmanager
def other_apt_key() -> Iterator[None]:
    """Serve the toolkit's repository signed with another key, and that key."""

    def serve(tree: str) -> None:
        # A copy, whose files are new: apt asks for what changed since it looked last.
        place = "/srv/www/libnvidia-container"
        _run(topology.WEB, "sh", "-c", f"rm -rf {place} && cp -r {services.TREES['toolkit']}/{tree} {place}")

    serve("rekeyed")
    try:
        yield
    finally:
        serve("repository")


@contextmanager
def tag_missing(ref: str) -> Iterator[None]:
    """Take one tag (NAME:TAG) out of the registry."""
    name, _, tag = ref.rpartition(":")
    tags = f"/var/lib/registry/docker/registry/v2/repositories/{name}/_manifests/tags"
    _run(topology.REGISTRY, "mv", f"{tags}/{tag}", f"/var/lib/registry/{tag}.away")
    try:
        yield
    finally:
        _run(topology.REGISTRY, "mv", f"/var/lib/registry/{tag}.away", f"{tags}/{tag}")


@contextmanager
def nvml(host: str, **changes: object) -> Iterator[None]:
    """Let a host's NVML say something else, such as error=18 (library and driver differ) or count=4."""
    described = gpu.describe(topology.HOSTS[host].machine) | changes
    hosts.exec(host, f"cat > /opt/lab/nvml.yaml <<'END'\n{yaml.safe_dump(described, width=200)}END")
    try:
        yield
    finally:
        hosts.exec(host, "rm -f /opt/lab/nvml.yaml")
