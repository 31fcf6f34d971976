"""Pulling an image in the background, with progress in bytes.

Engines show bytes only on a terminal, so the pull runs on a pseudo terminal and its progress bars are read. A job
file tells whoever asks how far it is; the pull goes on when the one who started it goes away, and whoever comes next
joins it instead of starting another.
"""

import errno
import fcntl
import json
import os
import pty
import random
import re
import select
import shutil
import signal
import struct
import subprocess
import termios
import time

from ansible.module_utils.verl_container import cli
from ansible.module_utils.verl_state import files
from ansible.module_utils.verl_state.claim import started as process_start

DIGEST = re.compile(r"[0-9a-f]{8,}")  # its digits are no status
HTTP_STATUS = re.compile(r"\b(?:429|500|502|503|504)\b")
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
LAYER = re.compile(
    r"(?P<id>[0-9a-f]{12}|[Cc]opying blob \S+|[Cc]opying config \S+)[:\s]+(?P<what>[A-Z][A-Za-z ]+?)?\s*"
    r"(?:\[[^\]]*\][\s|]*)?(?P<now>[\d.]+\s?[kKMGT]?i?B)\s*/\s*(?P<all>[\d.]+\s?[kKMGT]?i?B)"
)
STATE = re.compile(
    r"^(?P<id>[0-9a-f]{12}): "
    r"(?P<what>Pulling fs layer|Waiting|Verifying Checksum|Download complete|Pull complete|Already exists)"
)
SIZES = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
# Another try can't mend these.
FINAL = (
    "manifest unknown",
    "manifest for",
    "not found",
    "unauthorized",
    "denied",
    "no space left",
    "no matching manifest",
    "invalid reference",
    "repository name must",
    "cannot connect to the docker daemon at",
    "unsupported media type",
    "http: server gave http response to https client",
    "x509:",
    "certificate",
    "403 forbidden",
    "401 unauthorized",
    "disk quota exceeded",
)
# Nor these, whatever else the sentence says.
CERTAIN = ("no space left", "disk quota exceeded", "x509:", "manifest unknown", "no matching manifest")
# Registries answer these for a while and then recover, even where a word above is in the same sentence.
PASSING = (
    "toomanyrequests",
    "too many requests",
    "timeout",
    "eof",
    "reset by peer",
    "refused",
)


def number(text):
    """Return "12.3MB" in bytes (MiB counts as MB: it's a progress line)."""
    match = re.match(r"([\d.]+)\s?([kKMGT]?)", text)
    return int(float(match.group(1)) * SIZES[match.group(2).lower()])


class Progress:
    """Reads the terminal output of a pull; knows the bytes per layer."""

    def __init__(self):
        self.layers = {}
        self.tail = []

    def feed(self, text):
        """Take a piece of output (any number of lines)."""
        for raw in re.split(r"[\r\n]+", ANSI.sub("", text)):
            line = raw.strip()
            if not line:
                continue
            match = LAYER.search(line)
            if match:
                layer = self.layers.setdefault(match.group("id"), {"now": 0, "all": 0, "done": False})
                if (match.group("what") or "").strip() == "Extracting":
                    layer["now"] = layer["all"] = max(layer["all"], number(match.group("all")))
                    layer["unpacked"] = number(match.group("now"))
                else:
                    layer["now"], layer["all"] = number(match.group("now")), number(match.group("all"))
                continue
            match = STATE.match(line)
            if match:
                layer = self.layers.setdefault(match.group("id"), {"now": 0, "all": 0, "done": False})
                if match.group("what") in (
                    "Download complete",
                    "Pull complete",
                    "Already exists",
                    "Verifying Checksum",
                ):
                    layer["now"] = layer["all"]
                    layer["done"] = match.group("what") in ("Pull complete", "Already exists")
                    layer["unpacked"] = layer["all"] if layer["done"] else layer.get("unpacked", 0)
                continue
            self.tail = (self.tail + [line])[-8:]

    def sums(self):
        """Return {bytes, total, unpacked, layers, layers_done}; unpacked counts compressed bytes, as Docker does."""
        values = self.layers.values()
        return {
            "bytes": sum(layer["now"] for layer in values),
            "total": sum(layer["all"] for layer in values),
            "unpacked": sum(layer.get("unpacked", 0) for layer in values),
            "layers": len(self.layers),
            "layers_done": sum(1 for layer in values if layer["done"]),
        }


def permanent(text):
    """Whether trying again is pointless."""
    low = DIGEST.sub("", text.lower())
    if any(word in low for word in CERTAIN):
        return True
    if any(word in low for word in PASSING) or HTTP_STATUS.search(low):
        return False
    return any(word in low for word in FINAL)


def human(count):
    """Return bytes for people, decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return "{0:.0f} {1}".format(count, unit) if unit in ("B", "kB") else "{0:.1f} {1}".format(count, unit)
        count /= 1000.0
    return ""


def line(job, now=None):
    """Return one line of progress for people."""
    now = now or time.time()
    if job.get("state") == "waiting":
        text = "waits {0} s before try {1} of {2}: {3}".format(
            max(0, int(job.get("until", now) - now)), job["attempt"] + 1, job["attempts"], job.get("error", "")
        )
        return text.strip()
    done, total = job.get("bytes", 0), job.get("total", 0)
    text = "{0} of {1} downloaded".format(human(done), human(total))
    if 0 < done < total:
        text += " ({0}/s)".format(human(done / max(1.0, now - job.get("started", now))))
    if job.get("layers"):
        text += ", {0} unpacked, {1} of {2} layers done".format(
            human(job.get("unpacked", 0)), job.get("layers_done", 0), job["layers"]
        )
    if job.get("attempt", 1) > 1:
        text += ", try {0}".format(job["attempt"])
    return text


def read(path):
    """Return the job file's content, with `alive` filled in; None where there's none."""
    try:
        with open(path, encoding="utf-8") as handle:
            job = json.load(handle)
    except (OSError, ValueError):
        return None
    start = process_start(job.get("pid", 0))
    job["alive"] = start is not None and start == job.get("pid_start")
    return job


def write(path, job):
    """Write the job file in one step."""
    files.write_json(path, {key: value for key, value in job.items() if key != "alive"}, mode=0o600)


def on_terminal(argv, feed, env=None, stalled=900):
    """Run a command on a pseudo terminal, feeding its output on. Returns its exit status (124: silent for too long)."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 200, 200, 0, 0))
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=slave, stderr=slave, env=cli.environment(env), start_new_session=True
    )
    os.close(slave)
    heard = time.time()
    try:
        while True:
            ready = select.select([master], [], [], 1)[0]
            if ready:
                try:
                    data = os.read(master, 65536)
                except OSError as error:
                    if error.errno != errno.EIO:
                        raise
                    data = b""
                if not data:
                    break
                heard = time.time()
                feed(data.decode("utf-8", "replace"))
            elif process.poll() is not None:
                break
            elif time.time() - heard > stalled:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait()
                return 124
    finally:
        os.close(master)
    return process.wait()


def pull(engine, reference, path, attempts=5, delay=10, sleep=time.sleep, env=None):
    """Pull until it works or is hopeless, keeping the job file at `path` fresh. Returns the last job."""
    job = {
        "pid": os.getpid(),
        "pid_start": process_start(os.getpid()),
        "reference": reference,
        "state": "pulling",
        "attempts": attempts,
        "attempt": 0,
        "started": time.time(),
    }
    for attempt in range(1, attempts + 1):
        progress = Progress()
        job.update(state="pulling", attempt=attempt, updated=time.time())
        write(path, job)

        def feed(text, progress=progress):
            progress.feed(text)
            if time.time() - job["updated"] >= 1:
                job.update(progress.sums(), updated=time.time())
                write(path, job)

        rc = on_terminal([engine, "pull", reference], feed, env=env)
        job.update(progress.sums(), updated=time.time())
        if rc == 0:
            job.update(state="ok", error=None)
            break
        said = [text for text in progress.tail if "error" in text.lower() or "denied" in text.lower()] or progress.tail
        job["error"] = " ".join(said[-2:]) or "exit {0} without a message".format(rc)
        if rc == 124:
            job["error"] = "no progress for 15 minutes; " + job["error"]
        if permanent(job["error"]) or attempt == attempts:
            job["state"] = "failed"
            break
        pause = delay * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)
        job.update(state="waiting", until=time.time() + pause)
        write(path, job)
        sleep(pause)
    job["finished"] = time.time()
    write(path, job)
    return job


def background(engine, reference, path, attempts=5, delay=10, env=None, remove=None):
    """Start `pull` as a process of its own that outlives this one; returns when its job file is there.

    `remove` is a folder that goes away with it: the configuration that holds a registry's login.
    """
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    if os.path.exists(path):
        os.unlink(path)
    first = os.fork()
    if first:
        os.waitpid(first, 0)
        for _wait in range(100):
            if os.path.exists(path):
                return
            time.sleep(0.1)
        raise cli.CliError("the pull did not start: no job file at {0} after 10 s".format(path))
    # From here on in a child: whatever happens, never return into the module's code.
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        quiet = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(quiet, stream)
        os.chdir("/")
        try:
            pull(engine, reference, path, attempts=attempts, delay=delay, env=env)
        except Exception as error:  # the one who waits must hear of it
            write(
                path,
                {
                    "pid": os.getpid(),
                    "pid_start": None,
                    "reference": reference,
                    "state": "failed",
                    "error": repr(error),
                },
            )
    finally:
        if remove:
            shutil.rmtree(remove, ignore_errors=True)
        os._exit(0)
