"""Break one part of the lab for a while: each is a context manager that mends it again."""

from collections.abc import Iterator
from contextlib import contextmanager

from lab import engine, services, topology
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
    place, trees = "/srv/www/libnvidia-container", services.TREES["toolkit"]
    _run(topology.WEB, "ln", "-sfn", f"{trees}/rekeyed", place)
    try:
        yield
    finally:
        _run(topology.WEB, "ln", "-sfn", f"{trees}/repository", place)


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
    from lab import hosts
    from lab.build import gpu

    described = gpu.describe(topology.HOSTS[host].machine) | changes
    text = "".join(f'{key}: "{value}"\n' if isinstance(value, str) else f"{key}: {value}\n" for key, value in described.items())
    hosts.exec(host, f"cat > /opt/lab/nvml.yaml <<'END'\n{text}END")
    try:
        yield
    finally:
        hosts.exec(host, "rm -f /opt/lab/nvml.yaml")
