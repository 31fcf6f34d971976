# Copyright the verl-provision authors
# SPDX-License-Identifier: Apache-2.0
"""Our container: what it was created with and what runs in it, from the engine's `inspect` and `top`."""

from __future__ import annotations

import json

from . import text

LABELS = "verl-provision."
VALUES_OF = "NVIDIA_"  # the only environment variables whose values become facts
INITS = ("docker-init", "tini", "catatonit", "dumb-init", "conmon")
MOST = 64


def _texts(value):
    """Docker's null, string or list of strings, as a list."""
    if value is None:
        return []
    return [str(value)] if isinstance(value, str) else [str(item) for item in value]


def _capabilities(values):
    return sorted({item[4:] if item.startswith("CAP_") else item for item in (name.upper() for name in _texts(values))})


def _mounts(mounts):
    return sorted(
        (
            {
                "type": str(item.get("Type", "bind")),
                "source": str(item.get("Name") if item.get("Type") == "volume" else item.get("Source", "")),
                "target": str(item.get("Destination", "")),
                "read_only": item.get("RW") is False,
            }
            for item in mounts or []
        ),
        key=lambda item: item["target"],
    )


def _requests(requests):
    return [
        {
            "driver": item.get("Driver"),
            "count": item.get("Count"),
            "device_ids": _texts(item.get("DeviceIDs")),
            "capabilities": [_texts(group) for group in item.get("Capabilities") or []],
        }
        for item in requests or []
    ]


def spec(inspected):
    """The parts of `inspect` that say how a container was created; no secrets."""
    config, host_config = inspected.get("Config") or {}, inspected.get("HostConfig") or {}
    pairs = [item.partition("=") for item in _texts(config.get("Env"))]
    return {
        "image": config.get("Image"),
        "command": text.redact(_texts(config.get("Cmd"))),
        "entrypoint": text.redact(_texts(config.get("Entrypoint"))),
        "working_dir": config.get("WorkingDir") or None,
        "user": config.get("User") or None,
        "runtime": host_config.get("Runtime") or None,
        "device_requests": _requests(host_config.get("DeviceRequests")),
        "devices": sorted(
            "%s:%s" % (item.get("PathOnHost"), item.get("PathInContainer")) for item in host_config.get("Devices") or []
        ),
        "network_mode": host_config.get("NetworkMode") or None,
        "ipc_mode": host_config.get("IpcMode") or None,
        "pid_mode": host_config.get("PidMode") or None,
        "shm_size": host_config.get("ShmSize"),
        "cap_add": _capabilities(host_config.get("CapAdd")),
        "security_opt": sorted(_texts(host_config.get("SecurityOpt"))),
        "ulimits": sorted(
            "%s=%s:%s" % (item.get("Name"), item.get("Soft"), item.get("Hard"))
            for item in host_config.get("Ulimits") or []
        ),
        "privileged": bool(host_config.get("Privileged")),
        "init": host_config.get("Init"),
        "mounts": _mounts(inspected.get("Mounts")),
        "env": {name: value for name, dummy, value in pairs if name.startswith(VALUES_OF)},
        "env_names": sorted(name for name, dummy, _value in pairs if not name.startswith(VALUES_OF)),
        "restart": (host_config.get("RestartPolicy") or {}).get("Name") or None,
    }


def listed(listing):
    """(pid, parent, name) of the rows of an engine's process listing (zombies left out)."""
    rows = []
    for line in listing.splitlines()[1:]:
        fields = line.split(None, 3)
        if len(fields) == 4 and fields[0].isdigit() and not fields[2].startswith("Z"):
            rows.append((int(fields[0]), int(fields[1]) if fields[1].isdigit() else None, fields[3].strip()))
    return rows


def processes(rows, init_pid, command):
    """Command names in a container beside its init, from rows of pid, parent and name."""
    wrapped = any(pid == init_pid and name in INITS for pid, _parent, name in rows)
    main = command[0].rsplit("/", 1)[-1][:15] if command else None
    found = []
    for pid, parent, name in rows:
        if pid == init_pid or (wrapped and parent == init_pid and name == main):
            continue
        found.append(name[:80])
    return found[:MOST]


def facts(host, engine, inspected, rows):
    """The facts under `container`; `rows(pid)` gives pid, parent and name of its processes, or raises OSError."""
    state, config = inspected.get("State") or {}, inspected.get("Config") or {}
    running = bool(state.get("Running"))
    details = spec(inspected)
    pid = state.get("Pid") or None
    found = {
        "engine": engine,
        "name": str(inspected.get("Name") or host.container_name).lstrip("/"),
        "id": str(inspected.get("Id") or inspected.get("ID") or ""),
        "image_id": inspected.get("Image"),
        "image_ref": config.get("Image"),
        "running": running,
        "pid": pid if running else None,
        "started_at": state.get("StartedAt") or None,
        "processes": [],
        "labels": {
            key: str(value) for key, value in (config.get("Labels") or {}).items() if str(key).startswith(LABELS)
        },
        "spec": details,
    }
    if running:
        try:
            found["processes"] = processes(rows(pid), pid, details["entrypoint"] + details["command"])
        except OSError as error:
            host.note("container processes", str(error))
            found["processes"] = None
    return found


def ray_facts(engine, inspected):
    """The facts under `ray.container`: Ray's own container, whose processes are Ray's business (`ray.busy`)."""
    state, config = inspected.get("State") or {}, inspected.get("Config") or {}
    return {
        "engine": engine,
        "id": str(inspected.get("Id") or inspected.get("ID") or ""),
        "image_ref": config.get("Image"),
        # One that ends again and again counts as running for the engine.
        "running": bool(state.get("Running")) and not state.get("Restarting"),
    }


def is_kept(host, container_id, name):
    """Whether a container was replaced and kept, for the files in it or by a run that was killed (verl_container)."""
    ours = (host.container_name, host.ray_container_name)
    return any(name == "%s-before-%s" % (own, container_id[:12]) for own in ours)


def _inspect(host, client, name):
    result = client.run("inspect", "--type", "container", name)
    try:
        inspected = json.loads(result.stdout)[0] if result.ok else None
    except (ValueError, IndexError, KeyError, TypeError):
        inspected = None
    if not isinstance(inspected, dict):
        host.note("docker inspect", result.message() if not result.ok else "its output is not what docker prints")
        return None
    return inspected


def docker_container(host, client, names):
    inspected = _inspect(host, client, host.container_name) if host.container_name in names else None
    if inspected is None:
        return None

    def rows(pid):
        result = client.run("top", host.container_name, "-eo", "pid,ppid,stat,comm")
        if result.ok:
            return listed(result.stdout)
        try:
            return host.in_namespace(pid)  # a rootless Docker's own needs a cgroup
        except OSError:
            raise OSError(result.message()) from None

    return facts(host, "docker", inspected, rows)


def docker_ray(host, client, names):
    inspected = _inspect(host, client, host.ray_container_name) if host.ray_container_name in names else None
    return ray_facts("docker", inspected) if inspected else None
