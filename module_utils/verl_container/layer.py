"""What a container holds in its own layer, outside its mounts: what is gone with it when it is removed.

Asked right before a container is replaced, never while facts are gathered: `inspect --size` can take minutes.
"""

import os
import re
import shutil
import stat
import subprocess
import tarfile

from ansible.module_utils.verl_container import cli

# What the engine, apt, Python and the GPU libraries write by themselves, and write again.
REBUILT = (
    "/.dockerenv", "/dev", "/etc/hostname", "/etc/hosts", "/etc/ld.so.cache", "/etc/mtab", "/etc/resolv.conf", "/proc",
    "/root/.cache/flashinfer", "/root/.cache/pip", "/root/.cache/torch", "/root/.cache/triton", "/root/.cache/vllm",
    "/root/.nv", "/root/.triton", "/run", "/sys", "/tmp", "/var/cache", "/var/lib/apt", "/var/log", "/var/run",
)  # fmt: skip
# Traces of `pip install -e` of the checkout, and the driver's files that the NVIDIA toolkit puts in at every start.
OURS = re.compile(
    r"/__pycache__(/|$)"
    r"|/(site|dist)-packages/(__editable__[._]+[^/]*verl[^/]*|verl-[^/]+\.(dist|egg)-info(/.*)?|verl\.egg-link"
    r"|easy-install\.pth)$"
    r"|^/(usr/)?(local/)?(s?bin|lib(32|64)?(/[a-z0-9_]+-linux-gnu)?)/((lib)?(nvidia|cuda|nvcuvid|nvoptix)[^/]*"
    r"|lib(EGL|GLESv1_CM|GLESv2|GLX)_nvidia[^/]*|(vdpau|gbm|nvidia)(/[^/]*)?)$"
    r"|^/(usr/)?(lib/firmware/nvidia|etc/(vulkan|glvnd|OpenCL|egl)|usr/share/(nvidia|egl|vulkan|glvnd))(/.*)?$"
    r"|^/etc/(ld\.so\.conf\.d/([0-9z]+-)(nvcr|compat)-[^/]*|nvidia(/.*)?)$"
)
FEW = 20  # entries that are asked one by one whether they are folders
COPY_RATE = 5e6  # bytes per second that a copy is given at least, before it counts as hanging
MARGIN = 1024**3  # that a copy leaves free


def changed(text):
    """Return the paths that `docker diff` says were added or changed, without folders that hold such a path.

    What was deleted came from the image and is lost to nobody.
    """
    paths = [line[2:] for line in text.splitlines() if re.match(r"^[AC] /.", line)]
    folders = set()
    for path in paths:
        while path != "/":
            path = os.path.dirname(path)
            folders.add(path)
    return [path for path in paths if path not in folders]


def below(path, folders):
    """Whether a path is one of the folders, or in one."""
    return any(path == folder or path.startswith(folder.rstrip("/") + "/") for folder in folders)


def leads_to(path, folders):
    """Whether one of the folders is in this one."""
    return any(folder.startswith(path.rstrip("/") + "/") for folder in folders)


def users(paths, mounts):
    """Return the paths that are somebody's work: not rebuilt, not ours, not where something is mounted."""
    return [
        path
        for path in paths
        if not below(path, REBUILT) and not OURS.search(path) and not below(path, mounts) and not leads_to(path, mounts)
    ]


def shown(paths):
    """Return one of the paths for people: the first that a terminal shows as it is."""
    return next((path for path in paths if path.isprintable() and len(path) <= 300), None)


class Layer:
    """The layer of one container, running or not."""

    def __init__(self, engine, found):
        self.engine = engine
        self.id = found["Id"]
        self.name = found.get("Name", "").lstrip("/")
        self.mounts = [mount.get("Destination") or "" for mount in found.get("Mounts") or []]
        # Nobody finds a volume without a name again once its container is gone.
        self.unnamed = [
            mount.get("Destination") or ""
            for mount in found.get("Mounts") or []
            if mount.get("Type") == "volume" and re.match(r"^[0-9a-f]{64}$", mount.get("Name") or "")
        ]

    def work(self, saved=()):
        """Return the paths that would be lost with it; `saved` are trees that were copied to the host."""
        text = self.engine.must("diff", self.id, timeout=600)
        paths = users(changed(text), self.mounts + list(saved))
        if len(paths) <= FEW:  # a folder's own entry: it is new and empty, or something in it came and went
            paths = [path for path in paths if self.kind(path) != "folder"]
        return self.unnamed + paths

    def size(self):
        """Return the bytes of the layer, None where the engine doesn't say."""
        found = self.engine.json("container", "inspect", "--size", self.id, timeout=600)
        size = found[0].get("SizeRw") if isinstance(found, list) and found else None
        return size if isinstance(size, int) else None

    def archive(self, path):
        """Yield the entries of the tar archive that the engine makes of a path; none where it isn't there."""
        process = subprocess.Popen(
            [self.engine.name, "cp", "{0}:{1}".format(self.id, path), "-"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            env=cli.environment(),
        )
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as entries:
                yield from entries
        except tarfile.ReadError:
            return
        finally:
            process.kill()
            process.stdout.close()
            process.wait()

    def kind(self, path):
        """Return "folder", "other", or None where there is no such path."""
        for entry in self.archive(path):
            return "folder" if entry.isdir() else "other"
        return None

    def tree_size(self, path):
        """Return the bytes of a tree."""
        return sum(entry.size for entry in self.archive(path))

    def is_saved(self, path, folder):
        """Whether a folder of the host has every file of a tree, by size and time: the tree was copied to it."""
        for entry in self.archive(path):
            within = entry.name.rstrip("/").partition("/")[2]
            try:
                there = os.lstat(os.path.join(folder, within))
            except OSError:
                return False
            if entry.isfile() and (not stat.S_ISREG(there.st_mode) or there.st_size != entry.size):
                return False
            if entry.isfile() and int(there.st_mtime) != int(entry.mtime):
                return False
        return True

    def save(self, path, folder):
        """Copy a tree to a folder of the host that isn't there or is empty; whole, or not at all."""
        beside = "{0}/.{1}-from-{2}".format(os.path.dirname(folder), os.path.basename(folder), self.id[:12])
        shutil.rmtree(beside, ignore_errors=True)  # a killed run's
        make_folder(beside)
        try:
            timeout = 600 + int(self.tree_size(path) / COPY_RATE)
            self.engine.must("cp", "{0}:{1}/.".format(self.id, path), beside, timeout=timeout)
            os.sync()
            if os.path.isdir(folder):
                os.rmdir(folder)
            os.rename(beside, folder)
            os.sync()  # the container may be removed next
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)  # half a copy; what stays of it, the next run clears
            raise


def make_folder(path):
    """Make a folder and those above it; where root makes them, they belong to whom the first one above belongs."""
    if os.path.isdir(path):
        return
    above = os.path.dirname(path)
    make_folder(above)
    os.mkdir(path, 0o755)
    owner = os.stat(above)
    if os.getuid() == 0 and owner.st_uid != 0:
        os.chown(path, owner.st_uid, owner.st_gid)


def room(folder):
    """Return (bytes that are free, the folder that was asked) where a folder is or will be."""
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return shutil.disk_usage(folder).free, folder
