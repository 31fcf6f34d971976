# Copyright the verl-provision authors
# SPDX-License-Identifier: Apache-2.0
"""What apt on this host would say to another source: the sources there are, their keys, and what is broken already.

apt refuses two sources of one repository that name different keys, and then does nothing at all any more. Files are
read; apt is not run.
"""

from __future__ import annotations

import fnmatch
import os
import re

from . import openpgp

FOLDER = "/etc/apt/sources.list.d"
LIST = "/etc/apt/sources.list"
TRUSTED = ("/etc/apt/trusted.gpg", "/etc/apt/trusted.gpg.d")
STATUS = "/var/lib/dpkg/status"
STATUS_LIMIT = 32 * 1024 * 1024
PREFERENCES = "/etc/apt/preferences"
LOCKS = (  # in the order in which apt takes them
    "/var/lib/dpkg/lock-frontend",
    "/var/lib/dpkg/lock",
    "/var/lib/apt/lists/lock",
    "/var/cache/apt/archives/lock",
)
# What this project installs, and what has to give way to it.
PACKAGES = (
    "docker-ce",
    "docker-ce-cli",
    "docker-buildx-plugin",
    "containerd.io",
    "docker.io",
    "docker-compose",
    "containerd",
    "runc",
    "nvidia-container-toolkit",
    "nvidia-container-toolkit-base",
    "libnvidia-container-tools",
    "libnvidia-container1",
)
STATE = re.compile(rb"(?m)^Package: (\S+)\nStatus: (\S+) (\S+) (\S+)$")
SETTLED = (b"installed", b"config-files", b"not-installed", b"triggers-pending", b"triggers-awaited")
JOURNAL = "/var/lib/dpkg/updates"  # dpkg's own; what is left in it was interrupted
LINE = re.compile(r"^deb(?:-src)?\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)")
DISTRIBUTIONS = ("ubuntu", "ubuntu-ports", "debian", "debian-security", "raspbian")
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
WORKS_WITH_APT = re.compile(r"^(?:apt|aptitude|dpkg|unattended-upgr|packagekit|synaptic|gdebi|python3)")
MOST = 24


def _fields(stanza):
    """The fields of a deb822 stanza; names in lower case, continuation lines kept."""
    fields, name = {}, None
    for line in stanza.splitlines():
        if line.startswith("#"):
            continue
        if line[:1] in (" ", "\t"):
            if name:
                fields[name] += "\n" + line.strip()
            continue
        head, colon, value = line.partition(":")
        name = head.strip().lower() if colon else None
        if name:
            fields[name] = value.strip()
    return fields


def deb822(text):
    """(uri, suite, signed-by, architectures, trusted) of a .sources file."""
    rows = []
    for stanza in re.split(r"\n[ \t]*\n", text):
        fields = _fields(stanza)
        if fields.get("enabled", "yes").lower() in ("no", "false", "0", "off", "without", "disable"):
            continue
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                signed, arch = fields.get("signed-by", ""), fields.get("architectures", "").split()
                rows.append((uri, suite, signed, arch, fields.get("trusted", "").lower() == "yes"))
    return rows


def one_line(text):
    """The same of a .list file."""
    rows = []
    for line in text.splitlines():
        match = LINE.match(line.split("#")[0].strip())
        if match:
            options = dict(item.partition("=")[::2] for item in (match.group(1) or "").split())
            arch = [name for name in options.get("arch", "").split(",") if name]
            trusted = options.get("trusted", "") == "yes"
            rows.append((match.group(2), match.group(3), options.get("signed-by", ""), arch, trusted))
    return rows


def _key_files(host, signed):
    """The files whose keys a source trusts; every trusted one where it names none."""
    if signed:
        return [part for part in re.split(r"[,\s]+", signed) if part.startswith("/")]
    single, folder = TRUSTED
    return [single] + ["%s/%s" % (folder, name) for name in host.listdir(host.file(folder))]


def _fingerprints(host, signed):
    if "BEGIN PGP" in signed:
        blocks = ["\n".join("" if line == "." else line for line in signed.splitlines()).encode()]
    else:
        blocks = [host.read_bytes(host.file(path)) for path in _key_files(host, signed)]
    found = set()
    for block in blocks:
        try:
            found.update(openpgp.fingerprints(block or b""))
        except openpgp.NotAKey:
            continue
    return sorted(found)


def _named(signed):
    """How a source names its key, in one line."""
    return "a key in the file itself" if "BEGIN PGP" in signed else ",".join(re.split(r"[,\s]+", signed.strip()))


def _rows(host):
    """(file, uri, suite, signed-by, architectures, trusted) of every source that is switched on."""
    arch = ARCHITECTURES.get(host.uname().machine, host.uname().machine)
    names = ["%s/%s" % (FOLDER, name) for name in host.listdir(host.file(FOLDER))]
    for path in [LIST] + [name for name in names if os.path.splitext(name)[1] in (".list", ".sources")]:
        text = host.read(host.file(path), 256 * 1024)
        if text is None:
            if host.exists(path):
                host.note("apt", "%s cannot be read" % path)
            continue
        for uri, suite, *rest in deb822(text) if path.endswith(".sources") else one_line(text):
            yield (path, uri.replace("$(ARCH)", arch).rstrip("/"), suite.replace("$(ARCH)", arch), *rest)


def _distributions_own(uri):
    return uri.rsplit("/", 1)[-1] in DISTRIBUTIONS and "docker" not in uri and "/linux/" not in uri


def conflicts(rows):
    """Repositories that several sources name with different keys: apt reads nothing any more."""
    groups = {}
    for path, uri, suite, signed, _arch, _trusted in rows:
        groups.setdefault((uri, suite), {}).setdefault(_named(signed), []).append(path)
    return [
        {"uri": uri, "suite": suite, "files": sorted({path for paths in keys.values() for path in paths})}
        for (uri, suite), keys in groups.items()
        if len(keys) > 1
    ]


def _packages(host):
    """(held, unfinished): those of ours that are on hold, and any that dpkg could not end its work on."""
    held, unfinished = [], []
    for name, want, flag, state in STATE.findall(host.read_bytes(host.file(STATUS), STATUS_LIMIT) or b""):
        name = name.decode("ascii", "replace")
        if want == b"hold" and name in PACKAGES:
            held.append(name)
        if flag != b"ok" or state not in SETTLED:
            unfinished.append(name)
    return held, unfinished


def pins(host):
    """What apt's preferences say of packages of ours: [{file, package, pin, priority}]."""
    folder = PREFERENCES + ".d"
    names = ["%s/%s" % (folder, name) for name in host.listdir(host.file(folder))]
    found = []
    for path in [PREFERENCES] + [name for name in names if os.path.splitext(name)[1] in ("", ".pref")]:
        for stanza in re.split(r"\n[ \t]*\n", host.read(host.file(path), 256 * 1024) or ""):
            fields = _fields(stanza)
            priority = fields.get("pin-priority", "")
            if not re.match(r"-?\d{1,9}$", priority):
                continue
            for package in fields.get("package", "").split():
                if any(fnmatch.fnmatchcase(name, package) for name in PACKAGES):
                    pin = " ".join(fields.get("pin", "").split())[:256]
                    found.append({"file": path, "package": package[:128], "pin": pin, "priority": int(priority)})
    return found


def locked(host):
    """{file, by}: who works with dpkg or apt at this moment; None where nobody does."""
    holders = {}
    for line in (host.read(host.kernel("/proc/locks"), 256 * 1024) or "").splitlines():
        words = line.split()
        if len(words) >= 6 and words[1] == "POSIX" and words[3] == "WRITE":
            holders.setdefault(words[5].rpartition(":")[2], words[4])
    for path in LOCKS:
        pid = holders.get(str(host.inode(path)))
        name = host.read(host.kernel("/proc/%s/comm" % pid), 64) if pid else None
        if name and WORKS_WITH_APT.search(name):
            return {"file": path, "by": "%s (process %s)" % (name, pid)}
    return None


def probe(host):
    """The facts under `apt`; None where the host has none."""
    if host.which("apt-get") is None and not host.exists(FOLDER):
        return None
    rows = list(_rows(host))
    sources = []
    for path, uri, suite, signed, arch, trusted in rows:
        entry = {"file": path, "uri": uri, "suite": suite, "signed_by": _named(signed) or None}
        if _distributions_own(uri) or any({**seen, "keys": 0} == {**entry, "keys": 0} for seen in sources):
            continue
        entry["keys"] = [] if trusted else _fingerprints(host, signed)
        if arch:
            entry["arch"] = arch
        sources.append(entry)
    facts = {"sources": sources[:MOST]}
    against = conflicts(rows)
    if against:
        facts["conflicts"] = against[:MOST]
    if any(name.isdigit() for name in host.listdir(host.file(JOURNAL))):
        facts["interrupted"] = True
    held, unfinished = _packages(host)
    found = {"held": held, "unfinished": unfinished[:MOST], "pins": pins(host)[:MOST], "locked": locked(host)}
    facts.update((name, value) for name, value in found.items() if value)
    return facts
