"""Checks a verl environment from inside: run by the Python that verl will use, fed on standard input.

    python - '{"level": "import", "expected": {"verl_version": "0.9.1", "profile": "cpu"}}' < verl_verify.py

Standard library only, until a check imports what it checks. The checks run one after another in a child process; one
that crashes it (a segmentation fault of a wrong build) or hangs fails alone, and the rest go on in a new child. The
last line of the output is the result: RESULT_MARK and JSON {"checks": [...], "versions": {...}}, where a check is
{id, ok, found, needed, fix, seconds} and ok is null for a check that was skipped - which never counts as passed.

A new check is a function with @check; a new level is a name in LEVELS. Levels include those before them.
"""

import json
import os
import re
import select
import signal
import subprocess
import sys
import time

RESULT_MARK = "verl-verify-result: "
LEVELS = ["import", "devices"]
SEED_CUDNN_LINE = 'python -c "import torch; print(torch.backends.cudnn.enabled)"'

CHECKS = []


def check(identity):
    """Register a check; its level is the first part of its id."""

    def register(function):
        CHECKS.append((identity, function))
        return function

    return register


class Skip(Exception):
    """There is nothing to check here, for the reason given."""


class Wrong(Exception):
    """The check failed: found, needed, fix."""

    def __init__(self, found, needed, fix):
        Exception.__init__(self, found)
        self.found, self.needed, self.fix = found, needed, fix


# -- small tools ----------------------------------------------------------------------------------------------


def release(version):
    """The numbers of a version without build, development and pre-release parts: 2.11.0+cu130 -> (2, 11, 0)."""
    return tuple(int(part) for part in re.match(r"[\d.]*", version.split("+")[0]).group(0).split(".") if part)


def meets(version, specifier):
    """Whether `version` meets a specifier like ">=0.8.0,<=0.10.0,!=0.9.0"; a bare version means exactly that one."""
    found = release(version)
    for clause in [part.strip() for part in str(specifier).split(",") if part.strip()]:
        match = re.match(r"(>=|<=|==|!=|~=|>|<)?\s*([\d.]+)(\.\*)?", clause)
        sign, numbers, star = (match.group(1) or "=="), release(match.group(2)), match.group(3)
        if star:
            same = found[: len(numbers)] == numbers
            if same != (sign == "=="):
                return False
            continue
        if sign == "~=":
            if found[: len(numbers) - 1] != numbers[:-1] or found < numbers:
                return False
            continue
        width = max(len(found), len(numbers))
        left, right = (v + (0,) * (width - len(v)) for v in (found, numbers))
        if not {
            ">=": left >= right,
            "<=": left <= right,
            ">": left > right,
            "<": left < right,
            "==": left == right,
            "!=": left != right,
        }[sign]:
            return False
    return True


def packaged(*names):
    """The version by package metadata, None where no such package is installed."""
    from importlib import metadata

    for name in names:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def bring_in(module, request, needed):
    """Import `module`, or fail the check with the reason."""
    import importlib

    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        found = "no module named %s" % (error.name or module)
        raise Wrong(found, needed or "%s importable" % module, request["repair"]) from error
    except BaseException as error:
        said = (str(error).strip().splitlines() or [""])[-1]
        found = "import %s: %s: %s" % (module, type(error).__name__, said)
        raise Wrong(found[:500], needed or "%s importable" % module, request["repair"]) from error


def library(module, distributions, specifier, request, versions):
    """Import a library and hold its version against `specifier`; returns the found text and the needed one."""
    needed = "%s %s" % (module, specifier) if specifier else "%s importable" % module
    loaded = bring_in(module, request, needed)
    version = packaged(*distributions) or str(getattr(loaded, "__version__", "")) or None
    versions[module] = version
    if specifier and not version:
        raise Wrong("%s is importable, of unknown version" % module, needed, request["repair"])
    if specifier and not meets(version, specifier):
        raise Wrong("%s %s" % (module, version), needed, request["repair"])
    return "%s %s" % (module, version or "of unknown version"), needed


def no_gpu(expected):
    """Why device checks have nothing to look at, None where there are GPUs to look at."""
    if expected.get("gpus"):
        return None
    if expected.get("profile") == "cpu":
        return "no GPU is planned here (profile cpu)"
    return "no number of GPUs is expected"


def smi(*arguments):
    """Output of nvidia-smi; raises Wrong where there's none."""
    fix = "on the host: nvidia-smi; in a container: it must have been created with GPUs (the plan's training_container)"
    try:
        done = subprocess.run(
            ("nvidia-smi",) + arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
        )
    except FileNotFoundError as error:
        raise Wrong("there is no nvidia-smi", "nvidia-smi", fix) from error
    except subprocess.TimeoutExpired as error:
        raise Wrong("nvidia-smi gave no answer within 60 s", "an answer", fix) from error
    text = done.stdout.decode("utf-8", "replace").strip()
    if done.returncode:
        raise Wrong("nvidia-smi: exit status %d: %s" % (done.returncode, text[:300]), "exit status 0", fix)
    return text


# -- level import ---------------------------------------------------------------------------------------------


@check("import.python")
def python(request, versions):
    versions["python"] = ".".join(str(part) for part in sys.version_info[:3])
    wanted = request["expected"].get("python")
    if wanted and not meets(versions["python"], wanted):
        raise Wrong("Python %s" % versions["python"], "Python %s" % wanted, request["repair"])
    return "Python %s at %s" % (versions["python"], sys.executable), wanted


@check("import.torch")
def torch(request, versions):
    expected = request["expected"]
    needed = "torch %s" % (expected.get("torch") or "importable")
    if expected.get("torch_cuda"):
        needed += ", built for CUDA %s" % expected["torch_cuda"]
    elif expected.get("profile") == "gpu":
        needed += ", built for CUDA"
    loaded = bring_in("torch", request, needed)
    cuda = loaded.version.cuda
    versions["torch"], versions["torch_cuda"] = loaded.__version__, cuda
    found = "torch %s (%s)" % (loaded.__version__, "CUDA %s build" % cuda if cuda else "CPU build")
    if expected.get("torch") and not meets(loaded.__version__, expected["torch"]):
        raise Wrong(found, needed, request["repair"])
    if expected.get("profile") == "gpu" and not cuda:
        raise Wrong(found, needed, request["repair"])
    if expected.get("torch_cuda") and (not cuda or not cuda.startswith(expected["torch_cuda"])):
        raise Wrong(found, needed, request["repair"])
    return found, needed


@check("import.cudnn")
def cudnn(request, versions):
    loaded = bring_in("torch", request, None)
    backend = loaded.backends.cudnn
    # The familiar line prints True on any build, also without cuDNN: it's shown, but proves nothing.
    familiar = "%s -> %s" % (SEED_CUDNN_LINE, backend.enabled)
    needed = "torch.backends.cudnn.is_available() and a version"
    if not backend.is_available():
        if request["expected"].get("profile") != "gpu":
            raise Skip("this torch build has no cuDNN, and profile cpu needs none (%s)" % familiar)
        raise Wrong("is_available() is False (%s)" % familiar, needed, request["repair"])
    version = backend.version()
    versions["cudnn"] = version
    if not version:
        raise Wrong("is_available() is True but version() is %s (%s)" % (version, familiar), needed, request["repair"])
    return "cuDNN %s, is_available() is True (%s)" % (version, familiar), needed


@check("import.numpy")
def numpy(request, versions):
    return library("numpy", ["numpy"], request["expected"].get("numpy"), request, versions)


@check("import.ray")
def ray(request, versions):
    return library("ray", ["ray"], request["expected"].get("ray"), request, versions)


@check("import.tensordict")
def tensordict(request, versions):
    return library("tensordict", ["tensordict"], request["expected"].get("tensordict"), request, versions)


@check("import.transformers")
def transformers(request, versions):
    return library("transformers", ["transformers"], request["expected"].get("transformers"), request, versions)


@check("import.transfer_queue")
def transfer_queue(request, versions):
    wanted = request["expected"].get("transfer_queue")
    if not wanted:
        present = packaged("TransferQueue")
        raise Skip("nothing planned here needs it (%s)" % ("there: %s" % present if present else "not installed"))
    specifier = wanted if isinstance(wanted, str) else None
    return library("transfer_queue", ["TransferQueue"], specifier, request, versions)


@check("import.engine")
def engine(request, versions):
    wanted = request["expected"].get("engine")
    if wanted not in ("vllm", "sglang"):
        raise Skip("no rollout engine is planned here")
    return library(wanted, [wanted], request["expected"].get("engine_version"), request, versions)


@check("import.flash_attn")
def flash_attn(request, versions):
    wanted = request["expected"].get("flash_attn")
    if not wanted:
        raise Skip("nothing planned here needs flash-attn")
    found = library("flash_attn", ["flash_attn"], wanted if isinstance(wanted, str) else None, request, versions)
    bring_in("flash_attn_2_cuda", request, "flash-attn's compiled part, built for this torch")
    return found


@check("import.trainer")
def trainer(request, versions):
    wanted = request["expected"].get("trainer")
    if wanted == "fsdp":
        bring_in("torch.distributed.fsdp", request, "torch.distributed.fsdp importable")
        return "torch.distributed.fsdp of torch %s" % packaged("torch"), "torch.distributed.fsdp importable"
    if wanted == "megatron":
        return library("megatron.core", ["megatron-core"], request["expected"].get("megatron_core"), request, versions)
    raise Skip("no trainer is planned here")


@check("import.verl")
def verl(request, versions):
    wanted = request["expected"].get("verl_version")
    needed = "verl %s" % wanted if wanted else "verl importable"
    loaded = bring_in("verl", request, needed)
    stated = str(getattr(loaded, "__version__", ""))
    recorded = packaged("verl")
    versions["verl"], versions["verl.__version__"] = recorded or stated, stated
    found = "verl.__version__ is %s" % (stated or "empty")
    found += ", package metadata says %s" % recorded if recorded else ", not pip-installed"
    found += ", from %s" % os.path.dirname(getattr(loaded, "__file__", None) or "a namespace package")
    # Metadata counts where there is any: at some tags the version file says .dev of the very release.
    counts = recorded or (stated[: -len(".dev")] if stated.endswith(".dev") else stated)
    if wanted and (not counts or not meets(counts, wanted)):
        raise Wrong(found, needed, request["repair"])
    if not counts:
        raise Wrong(found, needed, request["repair"])
    return found, needed


# -- level devices --------------------------------------------------------------------------------------------


@check("devices.count")
def device_count(request, versions):
    reason = no_gpu(request["expected"])
    if reason:
        raise Skip(reason)
    needed = "%d GPUs in nvidia-smi -L" % request["expected"]["gpus"]
    lines = [line for line in smi("-L").splitlines() if re.match(r"GPU \d+:", line)]
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


# -- running them ---------------------------------------------------------------------------------------------


def chosen(level):
    names = LEVELS[: LEVELS.index(level) + 1]
    return [(identity, function) for identity, function in CHECKS if identity.split(".")[0] in names]


def outcome(identity, ok, found, needed, fix, start):
    return {
        "id": identity,
        "ok": ok,
        "found": found,
        "needed": needed,
        "fix": fix,
        "seconds": round(time.time() - start, 2),
    }


def run_one(identity, function, request, versions):
    start = time.time()
    try:
        found, needed = function(request, versions)
        return outcome(identity, True, found, needed, None, start)
    except Skip as reason:
        return outcome(identity, None, "skipped: %s" % reason, None, None, start)
    except Wrong as wrong:
        return outcome(identity, False, wrong.found, wrong.needed, wrong.fix, start)
    except Exception as error:  # a check's own error is a failed check, with its name
        found = "%s: %s" % (type(error).__name__, error)
        return outcome(identity, False, found[:500], "the check to run", request["repair"], start)


def child_main(todo, request, write_fd):
    """Run the checks, telling each result as it comes. Never returns."""
    os.dup2(2, 1)  # whatever a library prints: standard output is for the result
    with os.fdopen(write_fd, "w") as tell:
        for identity, function in todo:
            versions = {}
            result = run_one(identity, function, request, versions)
            tell.write(json.dumps({"check": result, "versions": versions}) + "\n")
            tell.flush()
    os._exit(0)


def run_all(request):
    todo = chosen(request["level"])
    results, versions = [], {}
    while todo:
        sys.stdout.flush()
        read_fd, write_fd = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(read_fd)
            try:
                child_main(todo, request, write_fd)
            finally:
                os._exit(70)
        os.close(write_fd)
        buffered, start, hung = b"", time.time(), False
        while todo:
            left = request["check_timeout"] - (time.time() - start)
            if left <= 0 or not select.select([read_fd], [], [], left)[0]:
                hung = True
                os.kill(pid, signal.SIGKILL)
                break
            data = os.read(read_fd, 65536)
            if not data:
                break
            buffered += data
            while b"\n" in buffered:
                line, _newline, buffered = buffered.partition(b"\n")
                told = json.loads(line.decode())
                results.append(told["check"])
                versions.update(told["versions"])
                todo = todo[1:]
                start = time.time()
        os.close(read_fd)
        _pid, status = os.waitpid(pid, 0)
        if todo:
            # The child died in the first check that it didn't tell of.
            if hung:
                found = "no end within %d s" % request["check_timeout"]
            elif os.WIFSIGNALED(status):
                number = os.WTERMSIG(status)
                found = "the process was killed by signal %d (%s)" % (number, signal.Signals(number).name)
            else:
                found = "the process ended with exit status %d" % os.WEXITSTATUS(status)
            results.append(outcome(todo[0][0], False, found, "the check to end", request["repair"], start))
            todo = todo[1:]
    return {"checks": results, "versions": versions, "level": request["level"]}


def main():
    request = {
        "level": "import",
        "expected": {},
        "check_timeout": 300,
        "repair": "run the site playbook again",
        "recreate": "run the site playbook again",
    }
    request.update(json.loads(sys.argv[1]) if len(sys.argv) > 1 else {})
    if request["level"] not in LEVELS:
        sys.exit("unknown level %r: choose one of %s" % (request["level"], ", ".join(LEVELS)))
    result = run_all(request)
    print(RESULT_MARK + json.dumps(result))


if __name__ == "__main__":
    main()
