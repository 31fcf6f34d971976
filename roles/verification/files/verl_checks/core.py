"""What every check uses: the list of checks, the ways to end, small tools, and the running of them all.

The checks run one after another in a child process; one that crashes it (a segmentation fault of a wrong build) or
hangs fails alone, and the rest go on in a new child. A check is {id, ok, found, needed, fix, seconds}; ok is null for
one that was skipped, which never counts as passed.

A new check is a function with @check in the module of its level: its docstring is its line in the documentation, and
docs/troubleshooting.md needs an entry with its id. Standard library only, until a check imports what it checks.
"""

import json
import os
import re
import select
import signal
import subprocess
import sys
import time

CHECKS = []
ONLY = []  # UUIDs of the GPUs that are planned, where the machine has others as well
PROGRAMS = {}  # file name -> text, of verl_programs/

# A level includes those before it on the ladder; `collective` goes beside it, on what its GPUs need.
LADDER = ["import", "devices", "gpu", "engine", "train"]
INCLUDES = {level: LADDER[: number + 1] for number, level in enumerate(LADDER)}
INCLUDES["collective"] = ["import", "devices", "gpu", "collective"]
# These start processes of their own: each check in a child of its own that holds no GPU, with more time.
WORKING = ("engine", "train", "collective")

REQUEST = {
    "level": "import",
    "expected": {},
    "check_timeout": 300,
    "work_timeout": 900,
    "repair": "run the site playbook again",
    "recreate": "run the site playbook again",
}


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
        match = re.match(r"(>=|<=|==|!=|~=|>|<)?\s*(\d+(?:\.\d+)*)(\.\*)?", clause)
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
    if ONLY and arguments[0].startswith("--query-gpu"):
        arguments += ("-i", ",".join(ONLY))
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


def only_planned(request):
    """Look at the planned GPUs only, and have CUDA see no others, where an engine leaves them all in sight."""
    ONLY[:] = request["expected"].get("gpu_uuids") or []
    if not ONLY or "CUDA_VISIBLE_DEVICES" in os.environ:
        return
    try:
        numbers = smi("--query-gpu=index", "--format=csv,noheader").split()
    except Wrong:
        return  # the checks will say so
    os.environ.update(CUDA_DEVICE_ORDER="PCI_BUS_ID", CUDA_VISIBLE_DEVICES=",".join(numbers))


# -- running them ---------------------------------------------------------------------------------------------


def level_of(identity):
    return identity.split(".")[0]


def chosen(level):
    levels = INCLUDES[level]
    return [(identity, function) for identity, function in CHECKS if level_of(identity) in levels]


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
    os.setsid()  # so that a hang ends with everything it started
    os.dup2(2, 1)  # whatever a library prints: standard output is for the result
    with os.fdopen(write_fd, "w") as tell:
        for identity, function in todo:
            versions = {}
            result = run_one(identity, function, request, versions)
            tell.write(json.dumps({"check": result, "versions": versions}) + "\n")
            tell.flush()
    os._exit(0)


def together(todo):
    """The first checks of `todo` that share a child."""
    if level_of(todo[0][0]) in WORKING:
        return todo[:1]
    shared = []
    for item in todo:
        if level_of(item[0]) in WORKING:
            break
        shared.append(item)
    return shared


def run_all(request):
    todo = chosen(request["level"])
    only_planned(request)
    results, versions = [], {}
    while todo:
        part = together(todo)
        limit = request["work_timeout" if level_of(part[0][0]) in WORKING else "check_timeout"]
        sys.stdout.flush()
        read_fd, write_fd = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(read_fd)
            try:
                child_main(part, request, write_fd)
            finally:
                os._exit(70)
        os.close(write_fd)
        done, start, hung = hear(read_fd, len(part), limit)
        os.close(read_fd)
        if hung:
            end(pid)
        _pid, status = os.waitpid(pid, 0)
        for told in done:
            results.append(told["check"])
            versions.update(told["versions"])
        todo = todo[len(done) :]
        if len(done) < len(part):
            # The child died in the first check that it didn't tell of.
            if hung:
                found = "no end within %d s" % limit
            elif os.WIFSIGNALED(status):
                number = os.WTERMSIG(status)
                found = "the process was killed by signal %d (%s)" % (number, signal.Signals(number).name)
            else:
                found = "the process ended with exit status %d" % os.WEXITSTATUS(status)
            results.append(outcome(todo[0][0], False, found, "the check to end", request["repair"], start))
            todo = todo[1:]
    return {
        "checks": results,
        "versions": versions,
        "level": request["level"],
        "reached": reached(request["level"], results),
        "passed": passed(request, results),
    }


def hear(read_fd, expected, limit):
    """Results until there are `expected` or the child ends: (results, start of the last check, whether it hung)."""
    done, buffered, start = [], b"", time.time()
    while len(done) < expected:
        left = limit - (time.time() - start)
        if left <= 0 or not select.select([read_fd], [], [], left)[0]:
            return done, start, True
        data = os.read(read_fd, 65536)
        if not data:
            break
        buffered += data
        while b"\n" in buffered:
            line, _newline, buffered = buffered.partition(b"\n")
            done.append(json.loads(line.decode()))
            start = time.time()
    return done, start, False


def end(pid):
    """Kill a child and what it started."""
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, signal.SIGKILL)
        except OSError:
            continue


def reached(level, results):
    """The highest of the levels at which a check passed; null where none did."""
    best = None
    for name in INCLUDES[level]:
        if any(item["ok"] for item in results if level_of(item["id"]) == name):
            best = name
    return best


def passed(request, results):
    """Whether this is a pass: nothing failed, and the wanted level was really reached.

    Where no GPU is planned, the levels that need one are skipped with that reason and the rest counts: `reached` says
    how far it went. On a machine with GPUs, a wanted level of nothing but skips is no pass.
    """
    if any(item["ok"] is False for item in results):
        return False
    best = reached(request["level"], results)
    if best is None:
        return False
    without_gpu = not request["expected"].get("gpus") and request["expected"].get("profile") != "gpu"
    return best == request["level"] or without_gpu


def main(levels, mark):
    request = dict(REQUEST)
    request.update(json.loads(sys.argv[1]) if len(sys.argv) > 1 else {})
    if request["level"] not in levels:
        sys.exit("unknown level %r: choose one of %s" % (request["level"], ", ".join(levels)))
    result = run_all(request)
    print(mark + json.dumps(result))
