"""What is in an environment, read from its files without running it (except its own python, once)."""

from __future__ import annotations

import csv
import glob
import os
import re
import shutil

from ansible.module_utils.verl_source import interpreter
from ansible.module_utils.verl_state.files import read_json, tail


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def base(version):
    """A version without its local part: 2.11.0+cpu is release 2.11.0."""
    return (version or "").split("+")[0]


def wanted_build(torch_index):
    """The build a PyTorch index serves, by its last path element (cpu, cu130, ...); None for other indexes."""
    match = re.search(r"/(cpu|cu\d+|rocm[\d.]+|xpu)/?$", torch_index or "")
    return match.group(1) if match else None


class Environment:
    """The virtual environment at <prefix>/env and the files we keep about it."""

    def __init__(self, prefix, state_dir):
        self.prefix = prefix
        self.path = os.path.join(prefix, "env")
        self.python = os.path.join(self.path, "bin", "python")
        self.lock_file = os.path.join(prefix, "env.lock.txt")
        self.lock_path = os.path.join(prefix, ".lock")
        self.work = os.path.join(prefix, ".build")
        self.journal_path = os.path.join(self.work, "journal.json")
        self.status_path = os.path.join(self.work, "status.json")
        self.constraints_path = os.path.join(self.work, "constraints.txt")
        self.scratch = os.path.join(self.work, "tmp")
        self.stamp_path = os.path.join(state_dir, "source_environment.json")
        self.log_path = os.path.join(state_dir, "log", "source_environment.log")

    def exists(self):
        return os.path.lexists(self.path)

    def ours(self):
        """Whether we made what's at `path`: an unknown environment is never touched."""
        stamp = read_json(self.stamp_path) or {}
        return os.path.isfile(self.journal_path) or stamp.get("path") == self.path

    def site_packages(self):
        found = sorted(glob.glob(os.path.join(self.path, "lib", "python3.*", "site-packages")))
        return found[-1] if found else None

    def python_version(self):
        """The version of the environment's python, None where it doesn't run."""
        found = interpreter.probe(self.python) if os.path.exists(self.python) else None
        return found["version"] if found else None

    def distributions(self):
        """{normal name: (version, path of its metadata)} by what pip left there.

        A pip without wheel, as Debian 12's venv has, installs a source package with egg-info instead of dist-info.
        """
        found = {}
        site = self.site_packages()
        for kind in (".egg-info", ".dist-info"):
            for path in sorted(glob.glob(os.path.join(site, "*" + kind))) if site else []:
                name, _dash, version = os.path.basename(path)[: -len(kind)].partition("-")
                found[normal(name)] = (version.partition("-")[0], path)
        return found

    def torch_build(self):
        """(version, CUDA) that torch says of itself, read from its version file: importing it takes seconds."""
        site = self.site_packages()
        text = tail(os.path.join(site, "torch", "version.py")) if site else ""
        version = re.search(r"^__version__\s*=\s*['\"]([^'\"]+)", text, re.M)
        cuda = re.search(r"^cuda[^=\n]*=\s*['\"]([^'\"]+)", text, re.M)
        return (version.group(1) if version else None, cuda.group(1) if cuda else None)

    def incomplete(self):
        """{normal name: reason} of distributions whose installation didn't end, or that lost files.

        pip writes RECORD after all of a package's files, and believes any *.dist-info it finds: a killed pip leaves
        packages that a later pip takes for installed.
        """
        broken = {}
        site = self.site_packages()
        for name, (_version, path) in self.distributions().items():
            if path.endswith(".egg-info"):
                continue  # it has no RECORD
            record = os.path.join(path, "RECORD")
            if not os.path.isfile(record):
                if _by_pip(path):
                    broken[name] = "its installation was cut off"
                continue
            with open(record, encoding="utf-8", newline="") as handle:
                for row in csv.reader(handle):
                    if row and not row[0].endswith(".pyc") and not os.path.lexists(os.path.join(site, row[0])):
                        broken[name] = "lacks %s" % row[0]
                        break
        return broken

    def locked(self):
        """{normal name: version} of the lock file of the last finished build."""
        pinned = {}
        for line in tail(self.lock_file, 1 << 20).splitlines():
            match = re.match(r"([A-Za-z0-9][\w.-]*)==(\S+)$", line.strip())
            if match:
                pinned[normal(match.group(1))] = match.group(2)
        return pinned

    def forget_incomplete(self):
        """Remove what makes pip believe in half-installed packages; returns their names and reasons."""
        broken = self.incomplete()
        present = self.distributions()
        for name in broken:
            shutil.rmtree(present[name][1], ignore_errors=True)
        site = self.site_packages()
        # pip renames packages it is replacing to ~name; a killed one leaves them behind.
        for path in glob.glob(os.path.join(site, "~*")) if site else []:
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path, ignore_errors=True)
        return broken

    def used_by(self):
        """[(pid, command)] of running processes started from this environment's bin directory.

        Not those of Ray's own unit: the plan waits for what Ray works on, and starts it anew for another environment.
        """
        users = []
        bin_folder = os.path.join(self.path, "bin") + os.sep
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(os.path.join("/proc", pid, "cmdline"), "rb") as handle:
                    command = handle.read(4096).decode("utf-8", "replace").split("\0")
            except OSError:
                continue
            if command[0].startswith(bin_folder) and int(pid) != os.getpid() and not _of_ray(pid):
                users.append((int(pid), " ".join(command).strip()[:120]))
        return users


def _of_ray(pid, proc="/proc"):
    """Whether a process belongs to the unit that role ray_cluster keeps."""
    try:
        with open(os.path.join(proc, pid, "cgroup"), encoding="utf-8") as handle:
            return bool(re.search(r"/user@\d+\.service/.*-ray\.service$", handle.read(), re.M))
    except OSError:
        return False


def _by_pip(path):
    try:
        with open(os.path.join(path, "INSTALLER"), encoding="utf-8") as handle:
            return handle.read().strip() == "pip"
    except OSError:
        return True
