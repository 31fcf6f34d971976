"""A container as it's wanted, as a command line, and as `docker inspect` shows it: one plain dict for all three.

The two ways to ask for all GPUs of a host (`--gpus all`, and `--runtime=nvidia` with NVIDIA_VISIBLE_DEVICES=all) give
the same devices and compare as equal; which of them is used depends on whether dockerd has been restarted since the
toolkit arrived, which is no reason to recreate a container.
"""

import os
import re

UNITS = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
# Set by the engines or their configuration, not by whoever made the container.
FOREIGN_ENV = ("PATH", "TERM", "HOME", "HOSTNAME", "container")
PROXY_ENV = ("http_proxy", "https_proxy", "no_proxy", "ftp_proxy", "all_proxy")
GPU_ENV = ("NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "NVIDIA_CTK_LIBCUDA_DIR")
CDI_GPU = "nvidia.com/gpu="
HOME_LABEL = "verl-provision.home"  # of every container that we make: whose it is, and where its home mounts lie


def size(text):
    """Return a size as the engines read it ("10g", "64m", 1024) in bytes."""
    match = re.match(r"^\s*([\d.]+)\s*([kmgt]?)(i?b)?\s*$", str(text).lower())
    if not match:
        raise ValueError("{0!r} is no size; write it like 10g".format(text))
    return int(float(match.group(1)) * UNITS[match.group(2)])


def capability(name):
    """Return a capability's name without CAP_."""
    text = str(name).upper()
    return text[4:] if text.startswith("CAP_") else text


def ulimit(text):
    """Return "memlock=-1" as ("memlock", -1, -1)."""
    name, dummy, values = str(text).partition("=")
    soft, dummy, hard = values.partition(":")
    return (name.strip(), int(soft), int(hard or soft))


def volume(text):
    """Return "-v" text as (source, target, options) with rw left out."""
    parts = str(text).split(":")
    source = parts[0].rstrip("/") or "/"
    target = (parts[1] if len(parts) > 1 else parts[0]).rstrip("/") or "/"
    options = [
        opt for opt in (parts[2].split(",") if len(parts) > 2 else []) if opt and opt not in ("rw", "rprivate", "rbind")
    ]
    return (source, target, ",".join(sorted(options)))


def device(text):
    """Return "--device" text as (host path, path in the container)."""
    parts = str(text).split(":")
    return (parts[0], parts[1] if len(parts) > 1 else parts[0])


def home_mounts(options):
    """Return the mounts for what people keep, as (source, target), less those where the user mounts his own."""
    home = options.get("home") or ""
    own = [volume(text)[1].rstrip("/") + "/" for text in options["volumes"]]
    return [
        (os.path.join(home, folder), target)
        for folder, target in sorted((options.get("home_mounts") or {}).items())
        if home and not any((target + "/").startswith(place) for place in own)
    ]


def wanted_gpus(request, ids):
    """Return the GPUs that are asked for: all, or those with these UUIDs; `cdi:` before it where CDI brings them."""
    if request == "none":
        return "none"
    named = "ids:" + ",".join(sorted(ids)) if ids else "all"
    return "cdi:" + named if request == "cdi" else named


def wanted(options):
    """Return the normal form of the wanted options (the module's parameters)."""
    request = options["gpu_request"]
    return {
        "gpus": wanted_gpus(request, options.get("gpu_ids") or []),
        "runtime": options["runtime"] if request in ("gpus_all", "runtime_env") else "",
        "network": options["network"],
        "ipc": options["ipc"] or "",
        "shm_size": size(options["shm_size"]) if options["shm_size"] else None,
        "cap_add": sorted(capability(name) for name in options["cap_add"]),
        "security_opt": sorted(str(text).replace(":", "=", 1) for text in options["security_opt"]),
        "volumes": sorted(volume(text) for text in options["volumes"]),
        "home_targets": sorted((options.get("home_mounts") or {}).values()),
        "devices": sorted(device(text) for text in options["devices"]),
        "ulimits": sorted(ulimit(text) for text in options["ulimits"]),
        "env": {str(key): str(value) for key, value in options["env"].items()},
        "labels": {str(key): str(value) for key, value in options["labels"].items()},
        "workdir": options["workdir"] or None,
        "restart": options["restart"] or "no",
        "command": [str(part) for part in options["command"]],
    }


def arguments(options, image, secret_names=()):
    """Return what follows `docker` for creating the container, the seed's own order."""
    argv = ["create"]
    request = options["gpu_request"]
    if request in ("gpus_all", "runtime_env") and options["runtime"]:
        argv.append("--runtime=" + options["runtime"])
    ids = options.get("gpu_ids") or []
    if request == "gpus_all":
        argv += ["--gpus", '"device={0}"'.format(",".join(ids)) if ids else "all"]  # read as a line of CSV: quoted
    elif request == "runtime_env":
        argv += ["-e", "NVIDIA_VISIBLE_DEVICES=" + (",".join(ids) or "all")]
    elif request == "cdi":
        for name in ids or ["all"]:
            argv += ["--device", CDI_GPU + name]
    argv.append("--net=" + options["network"])
    if options["ipc"]:
        argv.append("--ipc=" + options["ipc"])
    if options["shm_size"]:
        argv.append("--shm-size=" + str(options["shm_size"]))
    argv += ["--cap-add=" + str(name) for name in options["cap_add"]]
    argv += ["--security-opt=" + str(text) for text in options["security_opt"]]
    for text in options["volumes"]:
        argv += ["-v", str(text)]
    for source, target in home_mounts(options):
        argv += ["-v", "{0}:{1}".format(source, target)]
    argv += ["--device=" + str(text) for text in options["devices"]]
    argv += ["--ulimit=" + str(text) for text in options["ulimits"]]
    for key in sorted(options["env"]):
        argv += ["-e", "{0}={1}".format(key, options["env"][key])]
    for key in sorted(secret_names):
        argv += ["-e", key]  # the value comes from the command's own environment, never from its arguments
    labels = dict(options["labels"])
    if "home" in options:
        labels[HOME_LABEL] = options["home"]
    for key in sorted(labels):
        argv += ["--label", "{0}={1}".format(key, labels[key])]
    if options["workdir"]:
        argv += ["--workdir", options["workdir"]]
    if options["restart"] and options["restart"] != "no":
        argv.append("--restart=" + options["restart"])
    argv += ["--name", options["name"]]
    argv += [str(part) for part in options["extra_args"]]
    argv.append(image)
    return argv + [str(part) for part in options["command"]]


def _environment(pairs):
    return dict(pair.partition("=")[::2] for pair in pairs or [])


def _asked_devices(config):
    """Return what `--device` named when Podman made it: its inspect shows only what a CDI device came to."""
    words = [str(word) for word in config.get("CreateCommand") or []]
    named = [words[at + 1] for at, word in enumerate(words[:-1]) if word == "--device"]
    return named + [word.partition("=")[2] for word in words if word.startswith("--device=")]


def _devices(config, host):
    asked = _asked_devices(config)
    if _by_cdi(asked):
        return [device(text) for text in asked if not text.startswith(CDI_GPU)]
    found = [(item.get("PathOnHost") or "", item.get("PathInContainer")) for item in host.get("Devices") or []]
    return [item for item in found if CDI_GPU not in item[0]]


def _by_cdi(names):
    """Return what CDI names of GPUs ask for, "" where there is none."""
    found = sorted(name.partition("=")[2] for name in names if name.startswith(CDI_GPU))
    if not found:
        return ""
    return "cdi:all" if found == ["all"] else "cdi:ids:" + ",".join(found)


def _gpus(config, host, env):
    asked = _by_cdi(_asked_devices(config))
    if asked:
        return asked
    for request in host.get("DeviceRequests") or []:
        asked = _by_cdi(request.get("DeviceIDs") or []) if request.get("Driver") == "cdi" else ""
        if asked:
            return asked
        groups = request.get("Capabilities") or []
        if any("gpu" in group for group in groups):
            if request.get("Count") == -1:
                return "all"
            return (
                "count:{0}".format(request.get("Count"))
                if request.get("Count")
                else "ids:" + ",".join(sorted(request.get("DeviceIDs") or []))
            )
    asked = _by_cdi([item.get("PathOnHost") or "" for item in host.get("Devices") or []])
    if asked:
        return asked
    if (host.get("Runtime") or "").startswith("nvidia"):
        visible = env.get("NVIDIA_VISIBLE_DEVICES", "")
        if visible == "all":
            return "all"
        if visible not in ("", "none", "void"):
            return "ids:" + ",".join(sorted(visible.split(",")))
    return "none"


def actual(inspected, image):
    """Return the normal form of a container from `docker inspect` and its image's inspect (may be None)."""
    config = inspected.get("Config") or {}
    host = inspected.get("HostConfig") or {}
    image_config = (image or {}).get("Config") or {}
    env = _environment(config.get("Env"))
    given = _environment(image_config.get("Env"))
    own = {key: value for key, value in env.items() if given.get(key) != value}
    labels = dict(config.get("Labels") or {})
    for key, value in (image_config.get("Labels") or {}).items():
        if labels.get(key) == value:
            labels.pop(key)
    volumes = []
    for mount in inspected.get("Mounts") or []:
        if mount.get("Type") == "bind":
            mode = [
                opt for opt in (mount.get("Mode") or "").split(",") if opt not in ("", "rw", "ro", "rbind", "rprivate")
            ]
            if not mount.get("RW", True):
                mode.append("ro")
            volumes.append((mount.get("Source"), mount.get("Destination"), ",".join(sorted(mode))))
        elif mount.get("Type") == "volume" and mount.get("Name") and not re.match(r"^[0-9a-f]{64}$", mount["Name"]):
            volumes.append((mount["Name"], mount.get("Destination"), "" if mount.get("RW", True) else "ro"))
    runtime = host.get("Runtime") or ""
    gpus = _gpus(config, host, env)
    ipc = host.get("IpcMode") or ""
    network = host.get("NetworkMode") or ""
    return {
        "gpus": gpus,
        "runtime": "" if gpus.startswith("cdi") or runtime in ("runc", "crun", "oci") else runtime,
        "network": {"default": "bridge"}.get(network, network),
        "ipc": "" if ipc in ("private", "shareable", "") else ipc,
        "shm_size": host.get("ShmSize"),
        "cap_add": sorted(capability(name) for name in host.get("CapAdd") or []),
        "security_opt": sorted(str(text).replace(":", "=", 1) for text in host.get("SecurityOpt") or []),
        "volumes": sorted(volumes),
        "home": labels.get(HOME_LABEL) or "",
        "devices": sorted(_devices(config, host)),
        "ulimits": sorted(
            (u["Name"].lower().replace("rlimit_", ""), u["Soft"], u["Hard"]) for u in host.get("Ulimits") or []
        ),
        "env": own,
        "env_all": env,
        "labels": labels,
        "workdir": config.get("WorkingDir") if config.get("WorkingDir") != image_config.get("WorkingDir") else None,
        "restart": ((host.get("RestartPolicy") or {}).get("Name")) or "no",
        "command": list(config.get("Cmd") or []),
    }


def differences(want, have, secret_env=None, resolve=lambda path: path):
    """Return [{option, found, wanted}], empty where the container is as wanted. Secret values are never in it."""
    secret_env = secret_env or {}
    found = []

    def differ(option, shown, needed):
        found.append({"option": option, "found": shown, "wanted": needed})

    plain = ("gpus", "runtime", "network", "ipc", "cap_add", "devices", "restart", "command")
    for option in plain:
        if want[option] != have[option]:
            differ(option, have[option], want[option])
    if want["shm_size"] is not None and want["ipc"] != "host" and want["shm_size"] != have["shm_size"]:
        differ("shm_size", have["shm_size"], want["shm_size"])
    # Mounts for what people keep come with the next recreation; they are no reason for one.
    targets = [target for _source, target, _opts in want["volumes"]]
    theirs = [
        (source, target, opts)
        for source, target, opts in have["volumes"]
        if target in targets
        or target not in want["home_targets"]
        or not (have["home"] and source.startswith(have["home"] + "/"))
    ]
    same = sorted((resolve(source), target, opts) for source, target, opts in want["volumes"])
    if same != sorted((resolve(source), target, opts) for source, target, opts in theirs):
        differ(
            "volumes",
            [":".join(filter(None, v)) for v in theirs],
            [":".join(filter(None, v)) for v in want["volumes"]],
        )
    # Engines add labels=disable and the like themselves: what is wanted must be there, no more.
    missing = [text for text in want["security_opt"] if text not in have["security_opt"]]
    if missing:
        differ("security_opt", have["security_opt"], want["security_opt"])
    missing = [limit for limit in want["ulimits"] if limit not in have["ulimits"]]
    if missing:
        differ("ulimits", have["ulimits"], want["ulimits"])
    if want["workdir"] and want["workdir"] != have["workdir"]:
        differ("workdir", have["workdir"], want["workdir"])
    for key, value in sorted(want["env"].items()):
        if have["env_all"].get(key) != value:
            differ("env." + key, have["env_all"].get(key), value)
    for key, value in sorted(secret_env.items()):
        if have["env_all"].get(key) != value:
            differ("env." + key, "another value" if key in have["env_all"] else None, "(hidden)")
    for key in sorted(have["env"]):
        extra = key not in want["env"] and key not in secret_env
        if extra and key not in FOREIGN_ENV and key not in GPU_ENV and key.lower() not in PROXY_ENV:
            differ("env." + key, "(set)", None)
    for key, value in sorted(want["labels"].items()):
        if have["labels"].get(key) != value:
            differ("label." + key, have["labels"].get(key), value)
    return found
