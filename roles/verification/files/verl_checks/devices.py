"""Level devices: what verl sees of the GPUs from inside, and the limits that training needs."""

import os
import re

from verl_checks.core import ONLY, Skip, Wrong, check, no_gpu, smi


@check("devices.count")
def device_count(request, versions):
    """nvidia-smi shows the planned GPUs from inside."""
    reason = no_gpu(request["expected"])
    if reason:
        raise Skip(reason)
    needed = "%d GPUs in nvidia-smi -L" % request["expected"]["gpus"]
    lines = [line for line in smi("-L").splitlines() if re.match(r"GPU \d+:", line)]
    lines = [line for line in lines if not ONLY or any("(UUID: %s)" % uuid in line for uuid in ONLY)]
    versions["gpus"] = len(lines)
    if len(lines) != request["expected"]["gpus"]:
        raise Wrong("%d GPUs" % len(lines), needed, request["recreate"])
    names = sorted({re.sub(r"^GPU \d+: | \(UUID.*$", "", line) for line in lines})
    planned = request["expected"].get("gpu_names")
    if planned and names != sorted(set(planned)):
        raise Wrong(", ".join(names), ", ".join(sorted(set(planned))), request["recreate"])
    return "%d GPUs (%s)" % (len(lines), ", ".join(names)), needed


@check("devices.driver")
def device_driver(request, versions):
    """The driver seen from inside is that of the host."""
    reason = no_gpu(request["expected"])
    if reason:
        raise Skip(reason)
    found = sorted(set(smi("--query-gpu=driver_version", "--format=csv,noheader").split()))
    wanted = request["expected"].get("driver")
    versions["driver"] = found[0] if found else None
    if len(found) != 1 or (wanted and found[0] != wanted):
        raise Wrong(
            "driver %s" % (" and ".join(found) or "unknown"),
            "driver %s" % (wanted or "of one version"),
            "the host and this environment see different drivers: " + request["recreate"],
        )
    return "driver %s" % found[0], "driver %s" % wanted if wanted else None


@check("devices.nodes")
def device_nodes(request, versions):
    """The device nodes are there and may be used."""
    reason = no_gpu(request["expected"])
    if reason:
        raise Skip(reason)
    folder = request.get("dev", "/dev")
    gpus = sorted(name for name in os.listdir(folder) if re.match(r"nvidia\d+$", name))
    needed = "%d device nodes nvidia<N>, nvidiactl and nvidia-uvm, writable" % request["expected"]["gpus"]
    problems = []
    if len(gpus) < request["expected"]["gpus"]:
        problems.append("%d device nodes nvidia<N>" % len(gpus))
    for name in gpus + ["nvidiactl", "nvidia-uvm"]:
        path = os.path.join(folder, name)
        if not os.path.exists(path):
            problems.append("no %s" % path)
        elif not os.access(path, os.R_OK | os.W_OK):
            problems.append("%s isn't writable for uid %d" % (path, os.getuid()))
    if problems:
        raise Wrong(", ".join(problems), needed, "on the host: nvidia-modprobe -u -c 0; then " + request["recreate"])
    return "%d device nodes nvidia<N>, nvidiactl, nvidia-uvm" % len(gpus), needed


@check("devices.shm")
def shm(request, versions):
    """/dev/shm is as large as planned."""
    wanted = request["expected"].get("shm_mb")
    stat = os.statvfs(request.get("shm", "/dev/shm"))
    size = stat.f_blocks * stat.f_frsize // (1024 * 1024)
    versions["shm_mb"] = size
    if not wanted:
        raise Skip("no size of /dev/shm is expected here (found %d MB)" % size)
    # Filesystems round to pages; a megabyte less isn't a fault.
    if size + 1 < int(wanted):
        raise Wrong(
            "/dev/shm has %d MB" % size,
            "at least %d MB" % int(wanted),
            "set training_container_shm_size (a source environment: enlarge /dev/shm of the host); "
            + request["recreate"],
        )
    return "/dev/shm has %d MB" % size, "at least %d MB" % int(wanted)


@check("devices.memlock")
def memlock(request, versions):
    """The limit of locked memory is as planned."""
    import resource

    soft = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    text = "unlimited" if soft == resource.RLIM_INFINITY else "%d kB" % (soft // 1024)
    versions["memlock"] = text
    wanted = request["expected"].get("memlock")
    if not wanted:
        raise Skip("no memlock limit is expected here (found %s)" % text)
    enough = soft == resource.RLIM_INFINITY or (wanted != "unlimited" and soft >= int(wanted) * 1024)
    if not enough:
        raise Wrong("memlock %s" % text, "memlock %s" % wanted, request["recreate"])
    return "memlock %s" % text, "memlock %s" % wanted
