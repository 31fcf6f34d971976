"""Somebody else's container on a lab host, with GPUs: it must outlive whatever is done around it."""

from lab import hosts

# An image of the host's own files, given the GPUs by hand: the toolkit needn't be there.
IMAGE = (
    "files='/bin/sleep /usr/bin/nvidia-smi /lib/x86_64-linux-gnu/libnvidia-ml.so.1'; "
    "tar -ch $files $(ldd $files | grep -o '/lib[^ ]*' | grep -v : | sort -u) | docker import - theirs"
)
RUN = (
    "docker run --detach --name theirs $(printf -- '--device %s ' /dev/nvidia[0-7] /dev/nvidiactl) "
    "-v /opt/lab:/opt/lab:ro theirs /bin/sleep infinity"
)


def start(host: str) -> tuple[str, int]:
    """Start it; returns its identity."""
    hosts.exec(host, IMAGE)
    hosts.exec(host, RUN)
    return identity(host)


def identity(host: str) -> tuple[str, int]:
    """Its process and start time, and how many GPUs it sees."""
    began = hosts.exec(host, "docker inspect --format '{{.State.Pid}} {{.State.StartedAt}}' theirs").out.strip()
    return began, hosts.exec(host, "docker exec theirs /usr/bin/nvidia-smi -L").out.count("H100")


def end(host: str) -> None:
    """Its owner is done."""
    hosts.exec(host, "docker rm --force theirs")
