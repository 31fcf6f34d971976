"""Who makes the environment and brings its Python: venv, uv, or a conda of some kind.

What the host has is used. Where there's nothing that fits, a manager comes into the prefix by a pinned download.
"""

from __future__ import annotations

import configparser
import hashlib
import os
import platform
import shutil
import subprocess
import tarfile
import urllib.error
import zipfile

from ansible.module_utils.urls import open_url
from ansible.module_utils.verl_source import interpreter
from ansible.module_utils.verl_source.failure import BuildFailure
from ansible.module_utils.verl_state import files

ON_HOST = ("uv", "micromamba", "mamba", "conda")  # in the order in which `auto` takes them
PLACES = ("~/.local/bin", "~/miniforge3/bin", "~/miniconda3/bin", "/opt/conda/bin")
PREFERRED = ("3.12", "3.11", "3.10", "3.13", "3.9")
CHANNEL = "conda-forge"
CHUNK = 1 << 20


class Manager:
    """What makes the environment: `name`, its `program`, and the `python` it's given (a path or a version)."""

    def __init__(self, name, program, python, because):
        self.name = name
        self.program = program
        self.python = python
        self.because = because


def on_host(name):
    """The path of a manager that the host has, None where it hasn't."""
    places = os.environ.get("PATH", os.defpath).split(os.pathsep) + [os.path.expanduser(place) for place in PLACES]
    return shutil.which(name, path=os.pathsep.join(places))


def own_path(options, name):
    """Where a downloaded manager lies."""
    version = options["manager_download"].get("version", "")
    return os.path.join(options["prefix"], ".manager", "%s-%s" % (name, version), name)


def minor(options):
    """The Python to ask a manager for, as 3.12."""
    wanted = options["python_version"]
    if wanted:
        return wanted
    for version in PREFERRED:
        if interpreter.satisfies(version, options["python_requires"]):
            return version
    raise BuildFailure(
        "no Python that managers offer is %s" % options["python_requires"],
        "set source_environment_python_version",
    )


def choose(options):
    """The manager, without fetching anything: its `program` may not be there yet (see `install`)."""
    wanted = options["manager"]
    if wanted == "venv" or (wanted == "auto" and options["python"]):
        return _venv(options)
    if wanted == "auto":
        try:
            return _venv(options)
        except BuildFailure as none:
            for name in ON_HOST:
                if on_host(name):
                    return Manager(name, on_host(name), minor(options), none.message)
            name = options["manager_download"].get("name")
            if not name:
                raise
            return Manager(name, own_path(options, name), minor(options), none.message)
    program = on_host(wanted)
    if program is None and options["manager_download"].get("name") == wanted:
        program = own_path(options, wanted)
    if program is None:
        raise BuildFailure(
            "%s is not on this host (looked on PATH and in %s)" % (wanted, ", ".join(PLACES)),
            "install it, or let source_environment_manager be auto",
        )
    # A Python of the host's own counts for uv, which makes a venv with it; conda brings its own in any case.
    python = options["python"] if wanted == "uv" and options["python"] else minor(options)
    return Manager(wanted, program, python, "it was asked for")


def _venv(options):
    found = interpreter.choose(options["python"], options["python_requires"], options["own_python"])
    return Manager("venv", found["path"], found["path"], "Python %s can make environments" % found["version"])


def commands(manager, options, path):
    """([words], environment) that make the environment at `path`, with pip in it."""
    prefix = options["prefix"]
    if manager.name == "venv":
        return [[manager.program, "-m", "venv", path]], {}
    if manager.name == "uv":
        env = {
            "UV_CACHE_DIR": os.path.join(prefix, ".cache", "uv"),
            "UV_PYTHON_INSTALL_DIR": os.path.join(prefix, ".python"),
            "UV_PYTHON_INSTALL_BIN": "0",
            "UV_NO_PROGRESS": "1",
        }
        index = options["pypi_index"] or pip_index()
        if index:
            env["UV_DEFAULT_INDEX"] = index
        if options["downloads_mirror"]:
            env["UV_PYTHON_INSTALL_MIRROR"] = (
                options["downloads_mirror"].rstrip("/") + "/astral-sh/python-build-standalone/releases/download"
            )
        # Not --seed: for Pythons before 3.12 it wants setuptools and wheel as well.
        python = os.path.join(path, "bin", "python")
        return [
            [manager.program, "venv", "--no-config", "--python", manager.python, path],
            [manager.program, "pip", "install", "--no-config", "--python", python, "pip"],
        ], env
    words = [manager.program, "create", "--yes", "--quiet", "--prefix", path]
    env = {"CONDA_PKGS_DIRS": os.path.join(prefix, ".cache", "conda"), "CONDA_REGISTER_ENVS": "false"}
    if manager.name == "micromamba":
        words += ["--no-rc", "--root-prefix", os.path.join(prefix, ".manager", "root")]
    channel = options["conda_channel"] or CHANNEL
    return [words + ["--override-channels", "--channel", channel, "python=%s" % manager.python, "pip"]], env


def pip_index(paths=("/etc/pip.conf", "~/.pip/pip.conf", "~/.config/pip/pip.conf")):
    """The package index of the user's own pip configuration, which uv doesn't read."""
    found = os.environ.get("PIP_INDEX_URL", "")
    for path in () if found else paths:
        parser = configparser.RawConfigParser()
        try:
            parser.read(os.path.expanduser(path))
            found = parser.get("global", "index-url", fallback=found)
        except configparser.Error:
            continue
    return found


def mirrored(url, mirror):
    """The same path at the user's mirror."""
    if not mirror:
        return url
    return mirror.rstrip("/") + "/" + url.split("://", 1)[-1].partition("/")[2]


def sha256(path):
    total = hashlib.sha256()
    with open(path, "rb") as handle:
        for block in iter(lambda: handle.read(CHUNK), b""):
            total.update(block)
    return total.hexdigest()


def check_hash(path, wanted, where):
    """Refuse a download that isn't what was pinned; nothing of it stays."""
    found = sha256(path)
    if found != wanted:
        os.unlink(path)
        raise BuildFailure(
            "what %s serves is not what is pinned: found SHA-256 %s, needed %s" % (where, found, wanted),
            "check that address (verl_mirror_downloads, a proxy that answers in its place?); it was not used",
        )


def fetch(url, target, timeout=60):
    """Download `url`, through the environment's proxy."""
    try:
        with open_url(url, timeout=timeout) as answer, open(target, "wb") as out:
            shutil.copyfileobj(answer, out, CHUNK)
            wanted = answer.headers.get("Content-Length")
        if wanted and os.path.getsize(target) != int(wanted):
            raise BuildFailure("%s was cut off" % url, "run again")
    except (urllib.error.URLError, ValueError) as error:
        raise BuildFailure(
            "%s can't be fetched: %s" % (url, getattr(error, "reason", error)),
            "check the network, the proxy and verl_mirror_downloads, then run again",
        ) from error


def unpack(archive, member, target):
    """Put the program where it belongs, all at once."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    scratch = "%s.new" % target  # of one name: the lock lets one build run, and what a killed one left is used again
    try:
        if not member:
            shutil.copyfile(archive, scratch)
        elif zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as whole, whole.open(member) as inside, open(scratch, "wb") as out:
                shutil.copyfileobj(inside, out, CHUNK)
        else:
            with tarfile.open(archive) as whole:
                inside = whole.extractfile(member)
                with open(scratch, "wb") as out:
                    shutil.copyfileobj(inside, out, CHUNK)
    except (KeyError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise BuildFailure("%s holds no %s: %s" % (os.path.basename(archive), member, error), "report it") from error
    os.chmod(scratch, 0o755)
    files.put(scratch, target)


def install(manager, options, scratch, call):
    """Bring a manager that the host lacks; `call(words, environment)` runs a command into the build's log.

    From the package index where this host's Python has pip (companies mirror that one), else from its own address.
    """
    if os.path.exists(manager.program) or manager.program != own_path(options, manager.name):
        return
    download = options["manager_download"]
    package = download.get("package")
    if package and has_pip(options["own_python"]):
        wheel = _wheel(package, options, scratch, call)
        if wheel:
            check_hash(wheel, package["sha256"], "the package index")
            unpack(wheel, package["member"], manager.program)
            os.unlink(wheel)
            return
    if not download.get("url"):
        raise BuildFailure(
            "%s %s has no download for %s" % (manager.name, download.get("version"), platform.machine()),
            "install %s yourself" % manager.name,
        )
    url = mirrored(download["url"], options["downloads_mirror"])
    archive = os.path.join(scratch, "manager")
    fetch(url, archive)
    check_hash(archive, download["sha256"], url)
    unpack(archive, download.get("member"), manager.program)
    os.unlink(archive)


def has_pip(python):
    try:
        done = subprocess.run(
            [python, "-m", "pip", "--version"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _wheel(package, options, scratch, call):
    """The manager's wheel from the package index, None where that has none."""
    words = ["-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--dest", scratch, package["requirement"]]
    if call([options["own_python"]] + words):
        return None
    stem = package["requirement"].replace("==", "-") + "-"
    found = [name for name in os.listdir(scratch) if name.startswith(stem) and name.endswith(".whl")]
    return os.path.join(scratch, found[0]) if found else None
