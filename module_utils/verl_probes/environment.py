# Copyright the verl-provision authors
# SPDX-License-Identifier: Apache-2.0
"""What the login user has for verl outside containers: environment managers, our environment, our checkout."""

from __future__ import annotations

import fcntl
import glob
import os
import re
import stat

from . import owners, text

PLACES = ("{home}/miniconda3/bin", "{home}/miniforge3/bin", "{home}/.local/bin", "/opt/conda/bin")
METADATA_VERSION = re.compile(r"(?m)^Version:\s*(\d\S*)")


def empty():
    return {
        "managers": {"conda": None, "mamba": None, "micromamba": None, "uv": None},
        "source_environment": None,
        "verl_checkout": None,
    }


def _conda_version(host, path, name):
    """From conda's own records, since starting it takes a second."""
    records = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(path))), "conda-meta")
    for record in host.listdir(records):
        match = re.match(r"^%s-(\d+(?:\.\d+)+)-[^-]+\.json$" % name, record)
        if match:
            return match.group(1)
    return None


def manager(host, name, home):
    places = host.search_path() + [host.file(place.format(home=home)) for place in PLACES]
    path = host.which(name, places)
    if path is None:
        return None
    number = _conda_version(host, path, name) if name in ("conda", "mamba") else None
    if number is None:
        result = host.run([path, "--version"])
        number = text.version(result.stdout) if result.ok else None
        if number is None:
            host.note(name, result.message())
    return {"path": path, "version": number}


def locked(path):
    """Whether a live process holds the build lock. A shared lock is asked for and let go at once; no file is made."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def verl_version(host, environment):
    """From the installed package's metadata; verl is not imported."""
    pattern = os.path.join(glob.escape(environment), "lib/python3*/site-packages/verl-*.dist-info/METADATA")
    for path in sorted(glob.glob(pattern)):
        match = METADATA_VERSION.search(host.read(path) or "")
        if match and text.VERSION.match(match.group(1)):
            return match.group(1)
    return None


def source_environment(host):
    path = os.path.join(host.prefix, "env")
    building = locked(host.file(os.path.join(host.prefix, ".lock")))
    real = host.file(path)
    if not building and not os.path.isdir(real):
        return None
    python = os.path.join(real, "bin", "python")
    # The usual limit, not a short one: on a busy host a sound environment must not look broken.
    works = os.path.exists(python) and host.run([python, "-I", "-c", "pass"]).ok
    return {"path": path, "python_ok": works, "verl_version": verl_version(host, real), "building": building}


def checkout(host):
    path = os.path.join(host.prefix, "src")
    real = host.file(path)
    if not os.path.exists(os.path.join(real, ".git")):
        return None
    facts = {"path": path, "commit": None, "tag": None, "dirty": None}
    if re.search(r'"begun": \{[^}]*"commit": "', host.read(os.path.join(real, ".git/verl-provision.json")) or ""):
        # What lies there is of two commits; the step verl_checkout ends what it began, and refuses what isn't its own.
        host.note("verl_checkout", "a run was interrupted in %s" % path)
        return facts
    git = host.which("git")
    if git is None:
        host.note("verl_checkout", "git is not on PATH: the commit of %s is unknown" % path)
        return facts
    # The checkout is used as root from inside the container too: whoever owns its files, it is read only.
    base = [git, "-c", "safe.directory=*", "-C", real]
    here = {"GIT_CEILING_DIRECTORIES": os.path.dirname(real)}  # a broken one isn't answered for by one around it
    status = host.run(base + ["status", "--porcelain=v2", "--branch", "--untracked-files=no"], env=here)
    if not status.ok:
        host.note("verl_checkout", status.message())
        return facts
    lines = status.stdout.splitlines()
    commit = next((line.split()[2] for line in lines if line.startswith("# branch.oid ")), None)
    facts["commit"] = commit if commit and commit != "(initial)" else None
    facts["dirty"] = any(line and not line.startswith("#") for line in lines)
    tags = host.run(base + ["tag", "--points-at", "HEAD"], env=here)
    facts["tag"] = (tags.stdout.split() or [None])[0] if tags.ok else None
    uid = host.identity()[0]
    listed = host.run(base + ["ls-files", "-z"], env=here) if uid else None
    names = listed.stdout.split("\0") if listed is not None and listed.ok else []
    found = owners.stuck(real, [name for name in names if name], uid) if names else []
    if found:
        facts["stuck"] = {"count": len(found), "path": (found[0] or ".")[:300]}
    return facts


def sif_images(host):
    """Files of images that Apptainer can run and whose pull ended."""
    folder = os.path.join(host.prefix, "images")
    names = host.listdir(host.file(folder))
    return [os.path.join(folder, name) for name in sorted(names) if name.endswith(".sif") and name + ".json" in names]


def huggingface_token(host):
    """Whether the token's file is there and its owner's alone. It isn't read."""
    path = host.file(os.path.join(host.prefix, "secrets/huggingface_token"))
    try:
        return stat.S_IMODE(os.stat(path).st_mode) == 0o600
    except OSError:
        return False


def verl_shell(host, home):
    """The command that opens the environment, and the key of the plan that wrote it; None where it isn't there."""
    path = os.path.join(home, ".local/bin/verl-shell")
    match = re.search(r"(?m)^# key: (\S+)$", (host.read(host.file(path)) or "")[:400])
    return {"path": path, "key": match.group(1)} if match else None


def probe(host, user):
    found = empty()
    for name in found["managers"]:
        found["managers"][name] = host.guard(name, manager, host, name, user["home"])
    found["source_environment"] = host.guard("source_environment", source_environment, host)
    found["verl_checkout"] = host.guard("verl_checkout", checkout, host)
    images = host.guard("sif_images", sif_images, host)
    if images:
        found["sif_images"] = images
    if host.guard("huggingface_token", huggingface_token, host):
        found["huggingface_token"] = True
    shell = host.guard("verl_shell", verl_shell, host, user["home"])
    if shell:
        found["verl_shell"] = shell
    return found
