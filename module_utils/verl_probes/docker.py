# Copyright the verl-provision authors
# SPDX-License-Identifier: Apache-2.0
"""Docker: what it is, who can reach it, what its configuration says, what runs on it.

Few calls: `docker info` and `docker ps -a` here; images and our container follow in images.py and container.py, only
where there are any.
"""

from __future__ import annotations

import json
import os
import re

from . import container, text

DAEMON_JSON = "/etc/docker/daemon.json"
PID_FILES = ("/var/run/docker.pid", "/run/snap.docker/docker.pid")
HOOK, CDI_HOOK = "nvidia-container-runtime-hook", "nvidia-cdi-hook"
CDI_SINCE = (29, 2)  # `--gpus` asks CDI first from here on
MOST = 64
SNAP_ROOT = "/var/snap/docker/common/var-lib-docker"
UNITS = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
FLAG = re.compile(r"(?<!\S)--?([a-zA-Z][a-zA-Z-]*)(?:[= ]([^\s-]\S*))?")
CONTAINERD = "/var/lib/containerd"
CONTAINERD_STORE = (29,)  # the store of a new engine from here on
SNAP_DAEMON_JSON = "/var/snap/docker/current/config/daemon.json"


def empty():
    return {
        "installed": False,
        "version": None,
        "reachable": False,
        "reason": None,
        "with_sudo": False,
        "rootless": False,
        "host": None,
        "root_dir": None,
        "storage_driver": None,
        "cgroup_driver": None,
        "runtimes": [],
        "default_runtime": None,
        "live_restore": None,
        "swarm": None,
        "gpus_flag": None,
        "cdi": None,
        "cdi_devices": [],
        "daemon_json": {"path": None, "parsed": None, "error": None, "newer_than_engine": None},
        "running": [],
        "started_at": None,
    }


class Client:
    """The docker command in the way that reached the daemon: as the login user, on a named socket, or through sudo."""

    def __init__(self, host, program, socket=None, root=False):
        self.host = host
        self.program = program
        self.socket = socket
        self.root = root

    def run(self, *arguments):
        argv = [self.program] + (["-H", self.socket] if self.socket else []) + list(arguments)
        return self.host.run_as_root(argv) if self.root else self.host.run(argv)

    def rows(self, *arguments):
        """(rows, result) of a listing with one JSON object a line."""
        result = self.run(*arguments, "--format", "{{json .}}")
        rows = []
        for line in result.stdout.splitlines() if result.ok else []:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                rows.append(row)
        return rows, result


def info(client):
    """(info, reason): what the daemon says of itself, or why it does not."""
    result = client.run("info", "--format", "{{json .}}")
    if result.timed_out:
        return None, "docker info gave %s" % result.error
    data = None
    if result.rc in (0, 1):  # an older client answers 0 and a newer one 1 where only the client could be asked
        try:
            data = json.loads(result.stdout)
        except ValueError:
            data = None
    data = data if isinstance(data, dict) else {}
    said = [str(item) for item in data.get("ServerErrors") or []]
    if result.ok and data.get("ServerVersion") and not said:
        return data, None
    return None, _reason("\n".join(said) or result.stderr or result.message())


def _reason(said):
    """The sentence that tells, from an error of the docker client."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith("errors pretty")]
    telling = [line for line in lines if "permission denied" in line or "Cannot connect" in line]
    line = (telling or lines or ["no answer"])[0]
    for prefix in ("ERROR: ", "error during connect: ", "Got "):
        if line.startswith(prefix):
            line = line[len(prefix) :]
    return line.split(": Get ")[0].split(': Head "')[0][:300]


def _is_podman(host, program):
    """Podman's stand-in for the docker command, a small shell script or a link."""
    if os.path.basename(os.path.realpath(program)).startswith("podman"):
        return True
    start = host.read(program, 1024) or ""
    return start.startswith("#!") and "podman" in start


def probe(host, user, facts):
    """Fill in engines.docker as far as it goes; the client that reached the daemon, None where none did."""
    program = host.which("docker")
    if program is None or _is_podman(host, program):
        facts["reason"] = "docker is not on PATH" if program is None else "docker on PATH is Podman's"
        if host.exists(DAEMON_JSON):
            facts["daemon_json"] = daemon_json(host, facts, user)  # one that is installed reads it
        _images_folder(host, facts, user)
        return None
    facts["installed"] = True
    flags = _flags(host)
    if flags:
        facts["flags"] = flags
    if host.exists(SNAP_DAEMON_JSON) or "/snap/" in os.path.realpath(program):
        facts["snap"] = True
    client = Client(host, program)
    data, reason = info(client)
    own = "unix://%s/docker.sock" % host.runtime_dir()
    if data is None and not os.environ.get("DOCKER_HOST") and host.exists(own[len("unix://") :]):
        other = Client(host, program, socket=own)
        data, _why = info(other)
        if data is not None:
            client = other
            facts["host"] = own
    facts["reachable"] = data is not None
    if data is None and not user["root"] and user["sudo"] == "free":
        client = Client(host, program, root=True)
        data, _why = info(client)
        facts["with_sudo"] = data is not None
    if not facts["reachable"]:
        if "permission denied" in (reason or "") and user["docker_group"]:
            reason += " (%s is in the group docker, but this session began before: log in again)" % user["name"]
        facts["reason"] = reason
    if data is None:
        facts["version"] = text.version(host.run([program, "--version"]).stdout)
        facts["daemon_json"] = daemon_json(host, facts, user)
        _images_folder(host, facts, user)
        return None
    _fill(facts, data)
    here = getattr(host.uname(), "node", None)
    if data.get("Name") and here and data["Name"] != here:
        facts["elsewhere"] = str(data["Name"])[:253]
    if data.get("HttpProxy") or data.get("HttpsProxy"):
        facts["proxy"] = proxy(data)
    facts["daemon_json"] = daemon_json(host, facts, user)
    _images_folder(host, facts, user, data)
    facts["started_at"] = _started_at(host, facts)
    facts["daemon_json"]["newer_than_engine"] = _newer(host, facts)
    facts["gpus_flag"] = gpus_flag(host, facts)
    return client


def _fill(facts, data):
    security = [str(item) for item in data.get("SecurityOptions") or []]
    swarm = data.get("Swarm") or {}
    for key, name in (("userns_remap", "name=userns"), ("selinux", "name=selinux")):
        if any(name in item for item in security):
            facts[key] = True
    facts.update(
        version=text.version(data.get("ServerVersion")),
        rootless=any("name=rootless" in item for item in security),
        root_dir=data.get("DockerRootDir") or None,
        storage_driver=data.get("Driver") or None,
        cgroup_driver=data.get("CgroupDriver") or None,
        runtimes=sorted(data.get("Runtimes") or {}),
        default_runtime=data.get("DefaultRuntime") or None,
        live_restore=data.get("LiveRestoreEnabled"),
        swarm=swarm.get("LocalNodeState") not in (None, "", "inactive"),
        cdi=bool(data.get("CDISpecDirs")),
        cdi_devices=sorted(
            str(item.get("ID")) for item in data.get("DiscoveredDevices") or [] if item.get("Source") == "cdi"
        )[:MOST],
    )


def proxy(data):
    """The proxy that the daemon pulls through; docker info masks its login already."""
    names = {"http": "HttpProxy", "https": "HttpsProxy", "no_proxy": "NoProxy"}
    return {name: text.redact(str(data.get(key) or "")) for name, key in names.items()}


def _command_line(host):
    """dockerd's own words: of the process, else of its unit."""
    for path in PID_FILES:
        pid = host.read(host.file(path), 32) or ""
        words = host.read(host.kernel("/proc/%s/cmdline" % pid)) if pid.isdigit() else None
        if words:
            return words.replace("\0", " ")
    texts = [host.read(host.file(folder + "/docker.service")) for folder in UNITS]
    texts = [content for content in texts if content][:1]
    for folder in reversed(UNITS):
        names = host.listdir(host.file(folder + "/docker.service.d"))
        texts += [host.read(host.file("%s/docker.service.d/%s" % (folder, name))) or "" for name in names]
    lines = re.findall(r"(?m)^ExecStart=(.*dockerd.*(?:\\\n.*)*)", "\n".join(texts))
    return lines[-1].replace("\\\n", " ") if lines else ""


def _flags(host):
    """{name: value} of the flags that dockerd is started with, no secrets."""
    flags = {}
    for name, value in FLAG.findall(_command_line(host)):
        flags.setdefault(
            {"H": "host", "g": "data-root", "s": "storage-driver"}.get(name, name), text.redact(value)[:256]
        )
    flags.pop("containerd", None)
    return {name: flags[name] for name in sorted(flags)[:32]}


def _containerd_root(host):
    match = re.search(
        r"""(?m)^\s*root\s*=\s*["']([^"']+)["']""", host.read(host.file("/etc/containerd/config.toml")) or ""
    )
    return match.group(1) if match else CONTAINERD


def _images_folder(host, facts, user, data=None):
    """Where images really go: containerd's folder where the engine keeps them there, else the engine's own."""
    settings = facts["daemon_json"]["parsed"] or {}
    configured = facts.get("flags", {}).get("data-root") or settings.get("data-root") or settings.get("graph")
    default = SNAP_ROOT if facts.get("snap") else "/var/lib/docker"
    root = facts["root_dir"] or (configured if isinstance(configured, str) else default)
    features = settings.get("features") if isinstance(settings.get("features"), dict) else {}
    if data is not None:
        by_containerd = any("io.containerd.snapshotter" in str(item) for item in data.get("DriverStatus") or [])
    elif isinstance(features.get("containerd-snapshotter"), bool):
        by_containerd = features["containerd-snapshotter"]
    else:  # an engine that already has images keeps its way
        newer = not facts["installed"] or text.numbers(facts["version"]) >= CONTAINERD_STORE
        by_containerd = newer and not host.exists(root + "/image")
    own = facts["rootless"] or facts.get("snap")  # these start a containerd of their own, inside their folder
    if by_containerd and not own:
        facts["images_dir"] = _containerd_root(host)
    elif root != facts["root_dir"] and (configured or facts.get("snap")):
        facts["images_dir"] = root


def _daemon_json_path(host, facts, user):
    told = facts.get("flags", {}).get("config-file")
    if told and not facts["rootless"]:
        return told
    if facts["rootless"]:
        base = os.environ.get("XDG_CONFIG_HOME") or os.path.join(user["home"], ".config")
        return os.path.join(base, "docker/daemon.json")
    return SNAP_DAEMON_JSON if host.exists(SNAP_DAEMON_JSON) else DAEMON_JSON


def daemon_json(host, facts, user):
    """The configuration file: parsed, or why it could not be."""
    path = _daemon_json_path(host, facts, user)
    found = {"path": path, "parsed": None, "error": None, "newer_than_engine": None}
    content = host.read(host.file(path), 1024 * 1024)
    if content is None:
        if not host.exists(path):
            return dict(found, path=None) if not _hidden(host, path) else dict(found, error="%s cannot be read" % path)
        if user["sudo"] != "free" or user["root"]:
            return dict(found, error="%s cannot be read by %s" % (path, user["name"]))
        result = host.run_as_root(["cat", path])
        if not result.ok:
            return dict(found, error="%s cannot be read: %s" % (path, result.message()))
        content = result.stdout
    try:
        return dict(found, parsed=text.redact(text.json_object(content)))
    except ValueError as exc:
        return dict(found, error=str(exc))


def _hidden(host, path):
    """Whether the directory itself cannot be looked into."""
    directory = host.file(os.path.dirname(path))
    return os.path.isdir(directory) and not os.access(directory, os.X_OK)


def _started_at(host, facts):
    """When dockerd started: it writes its pid file then, before it looks for device drivers."""
    configured = (facts["daemon_json"]["parsed"] or {}).get("pidfile")
    candidates = [os.path.join(host.runtime_dir(), "docker.pid")] if facts["rootless"] else list(PID_FILES)
    if isinstance(configured, str):
        candidates.insert(0, configured)
    for path in candidates:
        when = host.modified_at(path)
        if when is not None:
            return round(when, 3)
    return None


def _newer(host, facts):
    """Whether the configuration was written after dockerd started: what only a restart brings may wait in it."""
    path = facts["daemon_json"]["path"]
    written = host.modified_at(path) if path else None
    if written is None or facts["started_at"] is None:
        return None
    return written > facts["started_at"]


def gpus_flag(host, facts):
    """Whether `--gpus` works: dockerd looks for the toolkit's hook on its PATH once, when it starts.

    A hook that is newer than the daemon counts as not there, which after an upgrade of the toolkit is too careful.
    """
    names = [HOOK] + ([CDI_HOOK] if text.numbers(facts["version"]) >= CDI_SINCE else [])
    path = host.search_path() if facts["rootless"] else host.service_path()
    hooks = [found for found in (host.which(name, path) for name in names) if found]
    if not hooks:
        return False
    if facts["started_at"] is None:
        host.note("docker", "dockerd's pid file was not found: whether --gpus works is unknown")
        return None
    times = [host.changed_at(hook) for hook in hooks]
    return any(when is not None and when <= facts["started_at"] for when in times)


def containers(host, client):
    """(running, names of all, those that are kept): from one `docker ps -a`."""
    rows, result = client.rows("ps", "-a", "--no-trunc")
    if not result.ok:
        host.note("docker ps", result.message())
    running, names, kept = [], [], []
    for row in rows:
        name = str(row.get("Names", "")).partition(",")[0]
        names.append(name)
        if container.is_kept(host, str(row.get("ID", "")), name):
            kept.append({"engine": "docker", "name": name, "id": str(row["ID"])})
        state = row.get("State") or ("running" if str(row.get("Status", "")).startswith("Up") else "")
        if state in ("running", "paused", "restarting"):
            running.append({"id": str(row.get("ID", ""))[:12], "name": name, "image": str(row.get("Image", ""))})
    return running[:MOST], names, kept[:MOST]
