"""Somebody else's container outlives all that is done around it, and keeps its GPUs."""

import pytest

from lab import hosts
from tests.lab.fleet import play, report

pytestmark = pytest.mark.lab

HOST = "gpu-580"
# An image of the host's own files, given the GPUs by hand: the toolkit isn't there yet.
IMAGE = (
    "files='/bin/sleep /usr/bin/nvidia-smi /lib/x86_64-linux-gnu/libnvidia-ml.so.1'; "
    "tar -ch $files $(ldd $files | grep -o '/lib[^ ]*' | grep -v : | sort -u) | docker import - theirs"
)
RUN = (
    "docker run --detach --name theirs $(printf -- '--device %s ' /dev/nvidia[0-7] /dev/nvidiactl) "
    "-v /opt/lab:/opt/lab:ro theirs /bin/sleep infinity"
)


@pytest.fixture(scope="module")
def theirs():
    """A fresh host where somebody's container runs already; what it was when it began."""
    hosts.reset(HOST)
    hosts.exec(HOST, IMAGE)
    hosts.exec(HOST, RUN)
    yield identity()
    hosts.reset(HOST)


def identity() -> tuple[str, int]:
    """Its process, its start time, and how many GPUs it sees."""
    began = hosts.exec(HOST, "docker inspect --format '{{.State.Pid}} {{.State.StartedAt}}' theirs").out.strip()
    return began, hosts.exec(HOST, "docker exec theirs /usr/bin/nvidia-smi -L").out.count("H100")


def test_it_outlives_the_installation_of_the_toolkit(theirs):
    assert theirs[1] == 8
    run = play("site.yml", "--limit", HOST)
    assert run.returncode == 0, run.stdout
    assert report()["hosts"][HOST]["state"] == "verified"
    assert hosts.exec(HOST, "docker exec verl nvidia-smi -L").out.count("H100") == 8
    assert identity() == theirs


def test_it_outlives_a_second_run_that_changes_nothing(theirs):
    run = play("site.yml", "--limit", HOST)
    assert run.returncode == 0, run.stdout
    assert "changed=0" in run.stdout
    assert identity() == theirs
