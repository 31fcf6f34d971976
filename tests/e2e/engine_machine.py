"""A fresh machine that can run a Docker Engine: the same minimal root file system, as a container with rights."""

import contextlib
import shutil
import subprocess
from pathlib import Path

import docker

from lab import cache, engine, hosts, settings
from lab.machine import need
from tests.e2e.fresh_machine import FreshMachine, client_configuration

NAME = "verl-fresh-machine"


class EngineMachine:
    """The container; `make test` in it starts a Docker Engine of its own, and a lab in that."""

    def __init__(self, scratch: Path):
        self.fresh = FreshMachine(scratch / "root", user="root")
        self.client = engine.client()

    def start(self) -> None:
        """Make the root file system, import it, start it, as far as a kernel would have come."""
        self._remove()
        need("mmdebstrap", "mmdebstrap")
        self.fresh.build()
        with subprocess.Popen(["tar", "-C", str(self.fresh.root), "-c", "."], stdout=subprocess.PIPE) as tar:
            self.client.api.import_image_from_stream(
                iter(lambda: tar.stdout.read(1 << 20), b""), repository=NAME, tag="latest"
            )
        shutil.rmtree(self.fresh.root)
        self.client.volumes.create(NAME)
        made = self.client.api.create_container(
            f"{NAME}:latest",
            ["bash", "-c", "sleep infinity & wait"],
            name=NAME,
            hostname="fresh",
            host_config=hosts.host_config({NAME: {"bind": "/var/lib/docker", "mode": "rw"}}),
        )
        self.client.containers.get(made["Id"]).start()
        booted = self.run("lab/files/host/machine-up")  # cgroups, as on the lab's hosts
        assert booted.rc == 0, booted.out

    def run(self, command: str) -> hosts.Result:
        """Run `command` in the clone as root; what it says is shown as it comes, and kept."""
        api = docker.from_env(timeout=None).api  # a cold lab says nothing for minutes
        environment = client_configuration() | {"LANG": "C.UTF-8"}
        entered = api.exec_create(NAME, ["bash", "-c", f"cd ~/verl-provision && {command}"], environment=environment)
        said = []
        for part in api.exec_start(entered["Id"], stream=True):
            said.append(part.decode(errors="replace"))
            print(said[-1], end="", flush=True)
        return hosts.Result(api.exec_inspect(entered["Id"])["ExitCode"], "".join(said))

    def remove(self) -> None:
        """Leave nothing behind: the Docker Engine, too, ends where it was started for this, and no lab uses it."""
        self._remove()
        with cache.locked():
            if not self.client.networks.list(filters={"label": settings.LABEL}):
                engine.stop_if_ours()

    def _remove(self) -> None:
        with contextlib.suppress(docker.errors.NotFound):
            self.client.containers.get(NAME).remove(force=True, v=True)
        with contextlib.suppress(docker.errors.NotFound):
            self.client.volumes.get(NAME).remove(force=True)
        with contextlib.suppress(docker.errors.NotFound):
            self.client.images.remove(f"{NAME}:latest", force=True)
