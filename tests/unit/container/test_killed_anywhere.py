"""Every module that writes state, killed before each write and in the middle of one: a plain second run converges.

The module runs in a process of its own. An audit hook sees every call that changes a file below its place, and every
command, whoever makes it, and ends the process as a lost host or an out-of-memory kill does: no handler runs. A limit
on the size of files ends it in the middle of a write, after that many bytes.
"""

import json
import os
import re
import resource
import shutil
import signal
import sys
from pathlib import Path

import pytest
from ansible.module_utils.verl_container import idle, pull
from ansible.module_utils.verl_state import files

from . import keyrings

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CALLS = "rename remove rmdir mkdir link symlink truncate chmod chown utime"
CHANGES = {f"os.{name}" for name in CALLS.split()} | {"shutil.rmtree", "subprocess.Popen"}
BYTES = (0, 1, 7, 64, 200)
SYSTEMCTL = """#!/bin/sh
units=$HOME/.config/systemd/user unit=verl-ray.service
case "$2" in
  daemon-reload) cp "$units/$unit" "$HOME/loaded" ;;
  enable) mkdir -p "$units/default.target.wants"; ln -sf "$units/$unit" "$units/default.target.wants/$unit" ;;
  start|restart) test -e "$HOME/loaded" || cp "$units/$unit" "$HOME/loaded"; cp "$HOME/loaded" "$HOME/running" ;;
  is-active) test -e "$HOME/running" && echo active ;;
esac
"""
CTK = """#!/bin/sh
for word; do case "$word" in --output=*) echo "cdiVersion: 0.5.0" > "${word#--output=}";; esac; done
"""
APPTAINER = """#!/bin/sh
for word; do target=$last; last=$word; done
mkdir -p "${target%/*}"; echo "an image" > "$target"
"""
DOCKER = '#!/bin/sh\necho "8f14c3f9a2b1: Pull complete"\n'
COMMANDS = {"systemctl": SYSTEMCTL, "nvidia-ctk": CTK, "apptainer": APPTAINER, "docker": DOCKER}


class Place:
    """A host's home, as it was before the run."""

    def __init__(self, path, monkeypatch):
        self.path, self.before = path / "home", path / "before"
        self.before.mkdir()
        commands = path / "bin"
        commands.mkdir()
        for name, text in COMMANDS.items():
            (commands / name).write_text(text)
            (commands / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{commands}:/usr/bin:/bin")
        monkeypatch.setenv("HOME", str(self.path))
        self.reset()

    def reset(self):
        """Put everything back."""
        shutil.rmtree(self.path, ignore_errors=True)
        shutil.copytree(self.before, self.path, symlinks=True)

    def state(self):
        """Every file with its content and mode, but for what is random or a time."""
        found = {}
        for path in sorted(self.path.rglob("*")):
            name = str(path.relative_to(self.path))
            if path.is_symlink():
                found[name] = os.readlink(path)
            elif path.is_file():
                text = path.read_bytes()
                if path.suffix == ".json":
                    content = json.loads(text)
                    changing = ("salt", "mac", "passed_at", "pid", "pid_start", "started", "updated", "finished")
                    text = {key: value for key, value in content.items() if key not in changing}
                found[name] = (text, oct(path.stat().st_mode & 0o777))
        return found


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The host."""
    return Place(tmp_path, monkeypatch)


def killed(action, place, at=0, size=None):
    """Run it in a process of its own, and kill it before change number `at`, or after `size` bytes of a file."""
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            sys.dont_write_bytecode = True
            seen = [0]

            def hook(event, args):
                if event == "open":
                    path, _mode, flags = args
                    mine = isinstance(path, str) and path.startswith(str(place.path)) and flags & WRITES
                else:
                    mine = event in CHANGES and (
                        event == "subprocess.Popen" or str(args[0]).startswith(str(place.path))
                    )
                if mine:
                    count()

            def count(*_):
                seen[0] += 1
                if seen[0] == at:
                    os.kill(os.getpid(), signal.SIGKILL)

            sys.addaudithook(hook)
            os.fsync = count  # the last moment at which nothing of it may be on the disk
            if size is not None:
                signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
            action()
            os._exit(0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or status == 0, "the module itself failed"
    return os.WIFSIGNALED(status)


def daemon_json(module, place):
    (place.before / "docker").mkdir()
    (place.before / "docker/daemon.json").write_text(json.dumps({"log-driver": "local", "dns": ["10.0.0.1"]}))
    settings = {"runtimes": {"nvidia": {"path": "nvidia-container-runtime", "args": []}}}
    path = str(place.path / "docker/daemon.json")
    return lambda: module("verl_daemon_json", {"path": path, "settings": settings, "ask_daemon": False})


def first_daemon_json(module, place):
    path = str(place.path / "docker/daemon.json")
    return lambda: module("verl_daemon_json", {"path": path, "settings": {"mtu": 1400}, "ask_daemon": False})


def stamp(module, place):
    (place.before / "state").mkdir()
    (place.before / "state/x.json").write_text('{"key": "old"}')
    args = {"path": str(place.path / "state/x.json"), "key": "new", "extra": {"commit": "c" * 40}}
    return lambda: module("verl_stamp", args)


def secret(module, place):
    (place.before / "secrets").mkdir(mode=0o755)
    (place.before / "secrets/token").write_text("hf_old")
    args = {"path": str(place.path / "secrets/token"), "value": "hf_new", "key": "k"}
    return lambda: module("verl_secret_file", {**args, "stamp": str(place.path / "state/token.json")})


def signing_key(module, place):
    owner = keyrings.Owner(place.before.parent / "vendor")
    (place.before.parent / "key").write_bytes(owner.armored)
    owner.leave()
    (place.before / "keyrings").mkdir()
    (place.before / "keyrings/x.gpg").write_bytes(b"\x99\x01")
    args = {"url": f"file://{place.before.parent}/key", "fingerprint": owner.fingerprint}
    return lambda: module("verl_signing_key", {**args, "dest": str(place.path / "keyrings/x.gpg")})


def cdi_spec(module, place):
    (place.before / "cdi").mkdir()
    (place.before / "cdi/nvidia.yaml").write_text("cdiVersion: 0.3.0\n" * 50)
    return lambda: module("verl_cdi_spec", {"path": str(place.path / "cdi/nvidia.yaml"), "env_file": "/nowhere"})


def sif(module, place):
    (place.before / "images").mkdir()
    (place.before / "images/x.sif").write_text("an older one")
    (place.before / "images/x.sif.json").write_text('{"name": "docker.io/x/y:1", "digest": "sha256:1"}')
    args = {
        "file": str(place.path / "images/x.sif"),
        "name": "docker.io/x/y:2",
        "digest": "sha256:" + "a" * 64,
        "delay": 0,
    }
    return lambda: module("verl_sif", args)


def ray_unit(module, place):
    folder = place.before / "verl/env/bin"
    folder.mkdir(parents=True)
    (folder / "ray").touch()
    units = place.before / ".config/systemd/user"
    (units / "default.target.wants").mkdir(parents=True)
    (units / "verl-ray.service").write_text("[Service]\nExecStart=/bin/old\n")
    (units / "default.target.wants/verl-ray.service").symlink_to(place.path / ".config/systemd/user/verl-ray.service")
    for name in ("loaded", "running"):
        shutil.copy(units / "verl-ray.service", place.before / name)
    prefix = str(place.path / "verl")
    args = {"prefix": prefix, "workdir": prefix, "command": ["ray", "start"], "environment": {}}
    return lambda: module("verl_ray_unit", args)


def verification(module, place):
    passed = {"passed": True, "checks": [], "versions": {}, "reached": "import", "level": "import"}
    args = {
        "action": "remember",
        "state_dir": str(place.path / "state"),
        "key": "k",
        "level": "import",
        "result": passed,
    }
    return lambda: module("verl_verify", args)


def failed_verification(module, place):
    (place.before / "state").mkdir()
    (place.before / "state/verification.json").write_text('{"key": "k", "level": "import", "passed_at": "2026"}')
    args = {"action": "remember", "state_dir": str(place.path / "state"), "key": "k", "result": {"passed": False}}
    return lambda: module("verl_verify", args)


def pull_job(_module, place):
    path = str(place.path / "state/pull-1.json")

    def run():
        job = pull.pull("docker", "verlai/verl@sha256:1", path, attempts=1, sleep=lambda _seconds: None)
        return {"failed": job["state"] != "ok", "changed": False}

    return run


def written_file(_module, place):
    (place.before / "images.yml").write_text("images: []\n" * 30)

    def run():
        files.write(str(place.path / "images.yml"), "images: [1]\n" * 30, like=str(place.path / "images.yml"))
        return {"failed": False, "changed": False}

    return run


UNCHANGED = [
    daemon_json,
    first_daemon_json,
    stamp,
    secret,
    signing_key,
    cdi_spec,
    sif,
    ray_unit,
    pull_job,
    written_file,
]
ALWAYS = [verification, failed_verification]  # what is to be remembered was just found: the module always says changed
WRITE = [daemon_json, first_daemon_json, stamp, secret, signing_key, cdi_spec, verification]


@pytest.mark.parametrize("make", UNCHANGED + ALWAYS, ids=lambda make: make.__name__)
def test_killed_at_any_write_a_second_run_ends_well(make, module, place, monkeypatch):
    monkeypatch.setattr(idle, "ray_work", lambda proc="/proc": [])
    run = make(module, place)
    place.reset()
    assert not run()["failed"]
    whole = place.state()
    points = [{"size": size} for size in BYTES] + [{"at": at} for at in range(1, 200)]
    kills = 0
    for point in points:
        place.reset()
        if not killed(run, place, **point):
            if "at" in point:
                break
            continue
        kills += 1
        answer = run()
        assert not answer["failed"], (point, answer)
        assert place.state() == whole, point
        assert make in ALWAYS or not run()["changed"], point
    assert kills >= (1 if make is failed_verification else 3)
    print(f"{make.__name__}: {kills} kills, {kills} healed")


@pytest.mark.parametrize(
    "make", [daemon_json, stamp, secret, signing_key, cdi_spec, verification], ids=lambda make: make.__name__
)
def test_a_full_disk_changes_nothing_and_is_said(make, module, place, monkeypatch):
    run = make(module, place)
    place.reset()
    before = place.state()
    monkeypatch.setattr(
        files.os, "fsync", lambda _descriptor: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    answer = run()
    assert answer["failed"]
    assert "No space left on device. What was there is as it was." in answer["msg"]
    assert answer["fix"].startswith(f"df -h {place.path}")
    after = place.state()
    assert {name: after[name][0] for name in after} == {name: before[name][0] for name in before}


def test_a_file_in_place_is_on_the_disk_before_its_name_is(tmp_path, monkeypatch):
    order = []
    fsync, replace = os.fsync, os.replace
    names = lambda descriptor: os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: E731
    monkeypatch.setattr(files.os, "fsync", lambda descriptor: (order.append(names(descriptor)), fsync(descriptor)))
    monkeypatch.setattr(files.os, "replace", lambda *two: (order.append("replace"), replace(*two)))
    files.write(str(tmp_path / "x"), "x")
    assert order == [f"{tmp_path}/.x.new", "replace", str(tmp_path)]


@pytest.mark.parametrize("kind", ["link", "hard link", "fifo", "folder's link"])
def test_nothing_of_somebody_else_is_written_through_the_scratch_file(tmp_path, kind):
    theirs = tmp_path / "theirs"
    theirs.write_text("theirs")
    scratch = tmp_path / ".x.new"
    if kind == "link":
        scratch.symlink_to(theirs)
    elif kind == "hard link":
        scratch.hardlink_to(theirs)
    elif kind == "fifo":
        os.mkfifo(scratch)
    else:
        scratch.symlink_to(tmp_path)
    files.write(str(tmp_path / "x"), "ours")
    assert (theirs.read_text(), (tmp_path / "x").read_text()) == ("theirs", "ours")
    assert not scratch.exists()


BY_ITSELF = re.compile(r"atomic_move\(|os\.(rename|replace|fsync)\(|backup_local\(")
OTHERS = {
    "verl_state/files.py": "the one writer",
    "library/verl_git_checkout.py": "brings what git wrote to the disk (test_git_checkout_kills.py)",
    "verl_container/layer.py": "a folder that is copied out of a container (test_container_killed.py)",
    "verl_source/build.py": "puts yesterday's log aside",
    "action_plugins/verl_report_files.py": "the link `latest`",
}


def test_whoever_puts_a_file_in_place_does_so_by_the_one_writer():
    root = Path(__file__).resolve().parents[3]
    paths = [
        path for place in ("library", "module_utils/verl_*", "action_plugins") for path in root.glob(f"{place}/*.py")
    ]
    found = {f"{path.parent.name}/{path.name}" for path in paths if BY_ITSELF.search(path.read_text())}
    assert found == set(OTHERS)
