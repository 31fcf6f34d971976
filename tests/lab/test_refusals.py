"""What can't be done is refused with a clear word, and the host is left as it was."""

import contextlib

import pytest

from lab import faults, hosts
from lab.snapshot import snapshot
from tests.lab.fleet import play, report

pytestmark = pytest.mark.lab

HOST, WITHOUT_ENGINE = "gpu-580", "spare"


@pytest.fixture(scope="module", autouse=True)
def bare():
    """Hosts as they were when the lab came up."""
    for name in (HOST, WITHOUT_ENGINE):
        hosts.reset(name)


@contextlib.contextmanager
def small_disk():
    """Docker's data root on a file system of 2 GB."""
    hosts.exec(HOST, "systemctl stop docker.socket docker && mount -t tmpfs -o size=2g tmpfs /var/lib/docker")
    hosts.exec(HOST, "systemctl start docker")
    try:
        yield
    finally:
        hosts.exec(HOST, "systemctl stop docker.socket docker && umount /var/lib/docker && systemctl start docker")


@contextlib.contextmanager
def truncated_daemon_json():
    """A daemon.json that somebody's editor cut off; dockerd runs on what it read before."""
    hosts.exec(HOST, "cp -a /etc/docker/daemon.json /tmp/whole.json && truncate --size=20 /etc/docker/daemon.json")
    try:
        yield
    finally:
        hosts.exec(HOST, "mv /tmp/whole.json /etc/docker/daemon.json")


REFUSED = {
    "registry down": (faults.registry_down, [], ["preflight_registry_manifest"]),
    # With the lab's overlay the digest is known, and a tag that went away matters to nobody.
    "tag missing": (
        lambda: faults.tag_missing("verlai/verl:vllm024.latest"),
        ["-e", '{"verl_catalog_extra": []}'],
        ["preflight_registry_manifest", "vllm024.latest"],
    ),
    "key of another": (faults.other_apt_key, [], ["preflight_gpg_key"]),
    "Docker's key of another": (
        contextlib.nullcontext,
        ["-e", f"docker_engine_key_fingerprint={'0' * 40}"],
        ["preflight_gpg_key", "verl_mirror_apt", "0" * 40],
    ),
    "Docker version missing": (
        contextlib.nullcontext,
        ["-e", "docker_engine_version=99.1"],
        ["preflight_apt_package", "docker-ce 5:99.1* (it has 5:26.1.5"],
    ),
    "driver mismatch": (lambda: faults.nvml(HOST, error=18), [], ["driver_state"]),
    "disk too small": (small_disk, [], ["disk"]),
    "daemon.json cut off": (truncated_daemon_json, [], ["daemon_json", "/etc/docker/daemon.json"]),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_and_untouched(what):
    fault, arguments, words = REFUSED[what]
    name = WITHOUT_ENGINE if what.startswith("Docker") else HOST
    with fault():
        before = snapshot(name)
        run = play("site.yml", "--limit", name, *arguments)
        after = snapshot(name)
    assert run.returncode != 0, run.stdout
    host = report()["hosts"][name]
    assert host["state"] == "refused", host["reason"]
    for word in words:
        assert word in host["reason"]
    assert before.difference(after) == []
