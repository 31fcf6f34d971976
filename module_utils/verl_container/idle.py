"""Is anybody working on this host? Asked again right before anything that could hurt a running job.

Idle = no compute process on a GPU, no container other than ours running, ours holding nothing but its init, no Ray
job or actor. Whatever can't be read counts as busy: the gate fails closed.
"""

import os

from ansible.module_utils.verl_container import cli
from ansible.module_utils.verl_probes import namespace

# Ray's own workers that are there without any job.
RAY_OWN = (
    "ray::IDLE",
    "ray::DashboardAgent",
    "ray::RuntimeEnvAgent",
    "ray::IDLE_SpillWorker",
    "ray::IDLE_RestoreWorker",
)


def processes_in(engine, name):
    """Return the commands in a running container beside its init (zombies don't count)."""
    if engine.name.endswith("podman"):
        found = _in_namespace(engine, name)
    else:
        rc, out, err = engine.run("top", name, "-eo", "pid,stat,args")
        found = _listed(out) if rc == 0 else _in_namespace(engine, name, cli.told(out, err))
    own = 2 if found and any(name in found[0].split()[0] for name in ("docker-init", "catatonit", "tini")) else 1
    return found[own:]


def _in_namespace(engine, name, said=""):
    """A rootless engine's own `top` needs a cgroup, which its container doesn't always have."""
    pid = ((engine.inspect("container", name) or {}).get("State") or {}).get("Pid")
    try:
        return [row["command"] for row in namespace.processes(pid) if row["state"] != "Z"]
    except OSError as error:
        raise cli.CliError(
            "what runs in container {0} can't be read: {1}".format(name, said or error), fix=engine.advice(said)
        ) from error


def _listed(out):
    found = []
    for line in out.splitlines()[1:]:
        parts = line.split(None, 2)
        if len(parts) < 3 or parts[1].startswith("Z"):
            continue
        found.append(parts[2])
    return found


def ray_work_in(engine, name):
    """Return what a container that runs Ray works on: actors, tasks and jobs, not Ray's own processes."""
    return [text for text in processes_in(engine, name) if text.startswith("ray::") and not text.startswith(RAY_OWN)]


def running_containers(engine):
    """Return [(id, name, image)] of the running containers."""
    out = engine.must("ps", "--no-trunc", "--format", "{{.ID}}\t{{.Names}}\t{{.Image}}")
    return [tuple((line.split("\t") + ["", ""])[:3]) for line in out.splitlines() if line.strip()]


def gpu_processes(timeout=20):
    """Return (["pid 123 python (10 MiB)"], error): the compute processes on the GPUs."""
    smi = cli.which("nvidia-smi")
    if smi is None:
        return [], None
    rc, out, err = cli.run(
        [smi, "--query-compute-apps=pid,process_name,used_memory", "--format=csv,noheader"], timeout=timeout
    )
    if rc == 124:
        return [], "nvidia-smi gave {0}".format(err)
    if rc != 0:
        # Without a loaded driver nothing computes; what is wrong there is for role nvidia_driver to say.
        return [], None
    found = []
    for line in out.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if parts and parts[0].isdigit():
            found.append("pid {0} {1}".format(parts[0], parts[1] if len(parts) > 1 else "").strip())
    return found, None


def ray_work(proc="/proc"):
    """Return the command names of Ray's busy workers (actors, tasks, job supervisors)."""
    found = []
    for entry in os.listdir(proc):
        if not entry.isdigit():
            continue
        try:
            with open(os.path.join(proc, entry, "cmdline"), "rb") as handle:
                command = handle.read(200).replace(b"\0", b" ").decode("utf-8", "replace").strip()
        except OSError:
            continue
        if command.startswith("ray::") and not command.startswith(RAY_OWN):
            found.append(command[:80])
    return found


def busy(engines, ours="verl", proc="/proc", ignore_container=None):
    """Return [{kind, what}] of everything that works on this host; an empty list = idle."""
    reasons = []
    for engine in engines:
        if cli.which(engine.name) is None:
            continue
        try:
            for container_id, name, image in running_containers(engine):
                if ignore_container and container_id.startswith(ignore_container):
                    continue
                if name == ours + "-ray":
                    continue  # what it works on is found among the processes of the host, below
                if name == ours:
                    inside = processes_in(engine, container_id)
                    if inside:
                        what = "container {0} runs {1}".format(name, ", ".join(text[:60] for text in inside[:3]))
                        more = len(inside) - 3
                        reasons.append(
                            {"kind": "own_container", "what": what + (" and {0} more".format(more) if more > 0 else "")}
                        )
                else:
                    reasons.append({"kind": "container", "what": "container {0} ({1}) is running".format(name, image)})
        except cli.CliError as error:
            low = str(error).lower()
            if ("cannot connect" in low or "is the docker daemon running" in low) and daemon_gone(engine):
                continue
            reasons.append({"kind": "unknown", "what": "{0} can't be asked: {1}".format(engine.name, error)})
    found, error = gpu_processes()
    if error:
        reasons.append({"kind": "unknown", "what": error})
    for what in found:
        reasons.append({"kind": "gpu_process", "what": "{0} computes on a GPU".format(what)})
    for what in ray_work(proc):
        reasons.append({"kind": "ray", "what": "Ray runs {0}".format(what)})
    return reasons


def daemon_gone(engine, proc="/proc"):
    """Whether no container can be running behind an engine that doesn't answer (no containerd-shim is alive)."""
    for entry in os.listdir(proc):
        if not entry.isdigit():
            continue
        try:
            with open(os.path.join(proc, entry, "comm"), encoding="utf-8") as handle:
                if handle.read().startswith(("containerd-shim", "conmon")):
                    return False
        except OSError:
            continue
    return True


def sentence(reasons, most=4):
    """Return one sentence for people."""
    text = "; ".join(reason["what"] for reason in reasons[:most])
    return text + ("; and {0} more".format(len(reasons) - most) if len(reasons) > most else "")
