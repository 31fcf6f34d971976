"""verl_container killed after any command that changes something: the next run ends well, and nothing is lost."""

import contextlib
import io
import json
import os
import tarfile
import time
from pathlib import Path

import pytest
from ansible.module_utils.verl_container import cli, layer

OLD, NEW = "1" * 64, "2" * 64
DATA, NOTES = "/root/data/x", "/root/notes.txt"
CHANGES = ("stop", "cp", "rename", "create", "start", "rm", "update")


class Killed(BaseException):
    """The end of the module's process, whatever it would have caught."""


class Docker:
    """An engine with containers that have files."""

    def __init__(self, files):
        self.containers = {OLD: self.container("verl", "old", files)}
        self.made, self.left = 0, None

    @staticmethod
    def container(name, image, files=(), **more):
        """One container, running."""
        return {"name": name, "image": image, "running": True, "files": dict(files), "mounts": [], "home": "", **more}

    def find(self, name):
        """The id of a container by name or id."""
        return next((key for key, one in self.containers.items() if name in (key, one["name"])), None)

    def run(self, argv, **_more):
        """A command, and after it the kill where one is due."""
        answer = self.command(*argv[1:])
        if argv[1] in CHANGES and self.left is not None:
            self.left -= 1
            if self.left == 0:
                raise Killed
        return answer

    def command(self, word, *argv):
        """What the command does, and its (rc, stdout, stderr)."""
        if word == "ps":
            return 0, "".join(f"{key}\t{one['name']}\n" for key, one in self.containers.items()), ""
        if word == "image":
            return 0, json.dumps([{"Id": "sha256:new", "RepoDigests": [], "Config": {}}]), ""
        if word == "create":
            self.made += 1
            mounts = [argv[at + 1].split(":") for at, part in enumerate(argv) if part == "-v"]
            key = str(1 + self.made) * 64
            home = next(part.partition("=")[2] for part in argv if part.startswith("verl-provision.home="))
            self.containers[key] = self.container("verl", "new", mounts=mounts, home=home, running=False)
            return 0, key, ""
        named = {"rename": argv[0], "top": argv[0], "cp": argv[0].partition(":")[0]}.get(word, argv[-1])
        key = self.find(named)
        if key is None:
            return 1, "", "Error: No such container"
        one = self.containers[key]
        if word == "container":
            return 0, json.dumps([self.inspect(key, one)]), ""
        if word == "diff":
            return 0, "".join(f"A {path}\n" for path in one["files"]), ""
        if word == "top":
            return 0, "PID STAT COMMAND\n1 Ss sleep infinity\n", ""
        if word in ("stop", "start"):
            one["running"] = word == "start"
        if word == "rename":
            one["name"] = argv[-1]
        if word == "rm":
            del self.containers[key]
        if word == "cp":
            place = argv[0].partition(":")[2].removesuffix("/.")
            for path, content in one["files"].items():
                if path.startswith(place + "/"):
                    target = Path(argv[1], os.path.relpath(path, place))
                    target.write_text(content)
                    os.utime(target, (1, 1))
        return 0, "", ""

    @staticmethod
    def inspect(key, one):
        """What the engine says of a container."""
        mounts = [{"Type": "bind", "Source": place[0], "Destination": place[1], "RW": True} for place in one["mounts"]]
        return {
            "Id": key, "Name": "/" + one["name"], "Image": f"sha256:{one['image']}", "Mounts": mounts, "SizeRw": 9,
            "State": {"Running": one["running"], "Pid": 1},
            "Config": {"Labels": {"verl-provision.home": one["home"]}, "Cmd": ["sleep", "infinity"]},
            "HostConfig": {
                "Runtime": "nvidia", "NetworkMode": "host", "ShmSize": 10 * 1024**3, "CapAdd": ["SYS_ADMIN"],
                "DeviceRequests": [{"Count": -1, "Capabilities": [["gpu"]]}],
            },
        }  # fmt: skip

    def archive(self, found, path):
        """The entries of a path's archive."""
        files = self.containers[found.id]["files"]
        within = {name: content for name, content in files.items() if name.startswith(path + "/") or name == path}
        if within and path not in files:
            top = tarfile.TarInfo(os.path.basename(path))
            top.type = tarfile.DIRTYPE
            yield top
        for name, content in within.items():
            entry = tarfile.TarInfo(os.path.relpath(name, os.path.dirname(path)))
            entry.size, entry.mtime = len(io.BytesIO(content.encode()).read()), 1
            yield entry

    def everywhere(self):
        """All contents that are left in containers."""
        return [content for one in self.containers.values() for content in one["files"].values()]


@pytest.mark.parametrize("files", [{}, {DATA: "rows"}, {NOTES: "notes"}, {DATA: "rows", NOTES: "notes"}], ids=len)
@pytest.mark.parametrize("after", range(1, 8))
def test_it(module, tmp_path, monkeypatch, files, after):
    docker = Docker(files)
    monkeypatch.setattr(cli, "run", docker.run)
    monkeypatch.setattr(layer.Layer, "archive", lambda one, path: docker.archive(one, path))
    args = {"image": "new", "home": f"{tmp_path}/home", "home_mounts": {"root-data": "/root/data"}}
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    docker.left = after
    with contextlib.suppress(Killed):
        module("verl_container", args)
    docker.left = None
    answer = module("verl_container", args)
    assert not answer["failed"], answer
    (ours,) = [one for one in docker.containers.values() if one["name"] == "verl"]
    assert (ours["image"], ours["running"]) == ("new", True)
    data = tmp_path / "home/root-data/x"
    assert DATA not in files or data.read_text() == "rows"
    kept = [one for one in docker.containers.values() if one["name"] != "verl"]
    assert [one["name"] for one in kept] == [f"verl-before-{OLD[:12]}"] * (NOTES in files)
    assert not any(one["running"] for one in kept)
    assert NOTES not in files or "notes" in docker.everywhere()
    assert [path.name for path in tmp_path.glob("home/*")] == ["root-data"]
    again = module("verl_container", {**args, "kept": answer["kept"] or {}})
    assert (again["changed"], again["kept"]) == (False, answer["kept"])
