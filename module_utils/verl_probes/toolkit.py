# Copyright the verl-provision authors
# SPDX-License-Identifier: Apache-2.0
"""NVIDIA Container Toolkit: program, packages, mode, CDI specifications."""

from __future__ import annotations

import re

from . import text

PACKAGES = (
    "nvidia-container-toolkit",
    "nvidia-container-toolkit-base",
    "libnvidia-container-tools",
    "libnvidia-container1",
)
CONFIG = "/etc/nvidia-container-runtime/config.toml"
SPEC_DIRS = ("/etc/cdi", "/var/run/cdi")
KIND = re.compile(r"""(?:^|[{,])\s*["']?kind["']?\s*:\s*["']?nvidia\.com/gpu["']?\s*(?:$|[,}])""", re.MULTILINE)
ALL_DEVICES = re.compile(r"""["']?name["']?\s*:\s*["']?all["']?\s*(?:$|[,}])""", re.MULTILINE)
BY_UUID = re.compile(r"""["']?name["']?\s*:\s*["']?GPU-[0-9a-fA-F]""")
DRIVER_LIBRARY = re.compile(r"lib(?:cuda|nvidia-ml)\.so\.(\d+\.\d+(?:\.\d+)*)")
MOST = 32


def empty():
    return {"installed": False, "version": None, "packages": {}, "mode": None, "cdi_specs": []}


def mode(config):
    """nvidia-container-runtime.mode of the configuration file."""
    section = None
    for line in (config or "").splitlines():
        header = re.match(r"^\s*\[([^\]]+)\]\s*$", line)
        if header:
            section = header.group(1).strip()
        value = re.match(r"^\s*mode\s*=\s*[\"']([^\"']+)[\"']", line)
        if value and section == "nvidia-container-runtime":
            return value.group(1)
    return None


def no_cgroups(config):
    """Whether nvidia-container-cli.no-cgroups is set."""
    section = None
    for line in (config or "").splitlines():
        header = re.match(r"^\s*\[([^\]]+)\]\s*$", line)
        section = header.group(1).strip() if header else section
        if section == "nvidia-container-cli" and re.match(r"^\s*no-cgroups\s*=\s*true\b", line):
            return True
    return False


def packages(host):
    """{name: version} of the toolkit's installed packages."""
    if host.which("dpkg-query"):
        result = host.run(["dpkg-query", "-W", "-f", "${db:Status-Status} ${Package} ${Version}\\n"] + list(PACKAGES))
    elif host.which("rpm"):
        result = host.run(["rpm", "-q", "--qf", "installed %{NAME} %{VERSION}-%{RELEASE}\\n"] + list(PACKAGES))
    else:
        return {}
    if result.timed_out:
        host.note("toolkit packages", result.error)
    # Both end with 1 where one of the packages is unknown, and list the others all the same.
    rows = [line.split() for line in result.stdout.splitlines()]
    return {row[1]: row[2] for row in rows if len(row) == 3 and row[0] == "installed" and row[1] in PACKAGES}


def gpu_cdi_specs(host, paths):
    """The specifications of nvidia.com/gpu: the driver whose libraries each names, and whether it has a device `all`.

    YAML or JSON; lines are enough to look at, and Python 3.8 has no YAML.
    """
    found = []
    for path in paths:
        content = host.read(host.file(path), 1024 * 1024) or ""
        if KIND.search(content):
            driver = DRIVER_LIBRARY.search(content)
            every = bool(ALL_DEVICES.search(content))
            found.append({"path": path, "driver": driver.group(1) if driver else None, "all": every})
            if BY_UUID.search(content):
                found[-1]["uuids"] = True
    return found[:MOST]


def probe(host):
    facts = empty()
    ctk = host.which("nvidia-ctk")
    facts["installed"] = ctk is not None or host.which("nvidia-container-runtime-hook") is not None
    facts["packages"] = packages(host)
    if ctk:
        facts["version"] = text.version(host.run([ctk, "--version"]).stdout)
    if facts["version"] is None:
        facts["version"] = text.version(facts["packages"].get(PACKAGES[0]) or facts["packages"].get(PACKAGES[1]))
    config = host.read(host.file(CONFIG))
    facts["mode"] = mode(config)
    if no_cgroups(config):
        facts["no_cgroups"] = True
    facts["cdi_specs"] = [
        "%s/%s" % (directory, name)
        for directory in SPEC_DIRS
        for name in host.listdir(host.file(directory))
        if name.endswith((".yaml", ".yml", ".json"))
    ][:MOST]
    if facts["cdi_specs"]:
        facts["gpu_cdi_specs"] = gpu_cdi_specs(host, facts["cdi_specs"])
    return facts
