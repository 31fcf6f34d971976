"""What goes wrong on the way, and that the next run ends well: network cut in clone and pip, the disk full."""

import contextlib
import os
import shutil
import socket
import subprocess
import threading
import time

import pytest

from tests.unit.container.conftest import module  # noqa: F401  (fixture)
from tests.unit.source_environment.conftest import bare_environment, begun, host, indexes  # noqa: F401  (fixtures)
from tests.unit.source_environment.source_tree import git, write_source
from tests.unit.source_environment.tiny_index import IndexServer, write_index

pytestmark = pytest.mark.e2e


class Line:
    """A network line to `port` that breaks after `limit` bytes from there; None = it holds."""

    def __init__(self, port):
        self.target = port
        self.limit = None
        self.carried = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                far = socket.create_connection(("127.0.0.1", self.target))
                threading.Thread(target=self.carry, args=(near, far, None), daemon=True).start()
                threading.Thread(target=self.carry, args=(far, near, self.limit), daemon=True).start()

    def carry(self, source, sink, limit):
        with contextlib.suppress(OSError):
            while data := source.recv(8192):
                sink.sendall(data)
                self.carried += len(data)
                if limit is not None:
                    limit -= len(data)
                    if limit <= 0:
                        break
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.fixture
def remote(tmp_path):
    """A git server behind a line that can break."""
    source = tmp_path / "served/verl"
    source.mkdir(parents=True)
    commit = write_source(source)
    (source / "big").write_bytes(os.urandom(2_000_000))
    git(source, "add", ".")
    git(source, "commit", "-qm", "big")
    git(source, "tag", "v1")
    commit = git(source, "rev-parse", "HEAD")
    port = free_port()
    daemon = subprocess.Popen(
        ["git", "daemon", "--reuseaddr", "--listen=127.0.0.1", f"--port={port}", "--export-all",
         f"--base-path={tmp_path}/served", f"{tmp_path}/served"],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            break
    line = Line(port)
    line.commit = commit
    line.url = f"git://127.0.0.1:{line.port}/verl"
    yield line
    line.listener.close()
    daemon.terminate()
    daemon.wait()


def test_a_network_cut_while_cloning_is_made_good_by_the_next_run(module, remote, tmp_path):  # noqa: F811
    args = {"repo": remote.url, "version": "v1", "path": str(tmp_path / "src"), "attempts": 1}
    remote.limit = 500_000
    cut = module("verl_git_checkout", args)
    assert cut["failed"]
    assert "v1 can't be fetched from git://127.0.0.1" in cut["msg"]
    assert remote.carried > 400_000
    remote.limit = None
    done = module("verl_git_checkout", args)
    assert (done["failed"], done["changed"], done["commit"]) == (False, True, remote.commit)
    carried = remote.carried
    assert module("verl_git_checkout", args)["changed"] is False
    assert remote.carried == carried, "nothing is fetched by the second run"


def test_a_network_cut_in_the_middle_of_pip_is_made_good_by_the_next_run(begun):  # noqa: F811
    with IndexServer(write_index(begun.home / "index", big_torch())) as server:
        line = Line(int(server.url.rpartition(":")[2]))
        line.limit = 300_000
        url = f"http://127.0.0.1:{line.port}"
        cut = begun.run(pypi_index=url, torch_index="")
        assert cut["failed"]
        assert cut["stage"] == "torch"
        assert "can't be reached" in cut["msg"] or "a download was cut off" in cut["msg"]
        assert "kept" in cut["fix"]
        line.limit = None
        assert begun.run(pypi_index=url, torch_index="")["changed"] is True
        asked = len(server.requests)
        assert begun.run(pypi_index=url, torch_index="")["changed"] is False
        assert len(server.requests) == asked, "nothing is fetched by the second run"


def big_torch():
    noise = os.urandom(1_000_000).hex()
    return [
        ("torch", "2.11.0", [], {"torch/version.py": "__version__ = '2.11.0'\ncuda = None\n", "torch/noise": noise}),
        ("verl", "0.9.1", ["torch"], {}),
    ]


def test_a_full_disk_is_told_and_made_good_by_the_next_run(host, bare_environment):  # noqa: F811
    host.prefix.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", host.prefix], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        shutil.copytree(bare_environment, host.prefix / "env", symlinks=True)
        (host.prefix / ".build").mkdir()
        (host.prefix / ".build/journal.json").write_text('{"stages": {}}')
        index = write_index(host.home / "index", big_torch()).as_uri()
        room = os.statvfs(host.prefix)
        filler = host.prefix / "filler"
        filler.write_bytes(b"\0" * (room.f_bavail * room.f_frsize - 1_000_000))
        full = host.run(pypi_index=index, torch_index="")
        assert full["failed"]
        assert "the disk is full" in full["msg"] or "No space left" in full["msg"]
        assert "space" in full["fix"]
        filler.unlink()
        assert host.run(pypi_index=index, torch_index="")["changed"] is True
        assert host.run(pypi_index=index, torch_index="")["changed"] is False
    finally:
        subprocess.run(["umount", host.prefix], check=True)
