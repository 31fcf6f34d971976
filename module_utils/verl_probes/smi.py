# Copyright the verl-provision authors
# SPDX-License-Identifier: Apache-2.0
"""nvidia-smi: what it answers, in the formats of its branches. The exit status is looked at before any output."""

from __future__ import annotations

import csv
import re

from . import text

VERSION_CUDA = re.compile(r"(?im)^CUDA (?:UMD )?version\s*:\s*(\d+\.\d+)")
VERSION_SMI = re.compile(r"(?im)^NVIDIA-SMI version\s*:\s*(\d+\.\d+(?:\.\d+)*)")
HEADER_CUDA = re.compile(r"CUDA (?:UMD )?Version:\s*(\d+\.\d+)")
HEADER_SMI = re.compile(r"NVIDIA-SMI\s+(\d+\.\d+(?:\.\d+)*)")
NVML = re.compile(r"NVML library version:\s*(\d+\.\d+(?:\.\d+)*)")
MIG_DEVICE = re.compile(r"^\s+MIG .*\(UUID: MIG-")
UUID = re.compile(r"GPU-[0-9A-Za-z-]{1,60}$")
GPU_LINE = re.compile(r"^GPU (\d+):")

FIELDS = ["index", "uuid", "name", "memory.total", "compute_cap", "mig.mode.current", "driver_version"]
STARTS = 6  # limits of a command, for the first answer
NOT_EVERYWHERE = ("compute_cap", "mig.mode.current")  # compute_cap came with R535
NOTHING = ("", "n/a", "not supported", "not available", "unknown error", "insufficient permissions")
BAD_FIELD = re.compile(r'Field "([^"]+)" is not a valid field')

FIELD_UNKNOWN, NO_PERMISSION, NOT_FOUND, NO_DRIVER, NO_LIBRARY = 2, 4, 6, 9, 12
INFOROM, GPU_LOST, MISMATCH, UNKNOWN = 14, 15, 18, 255


def value(field):
    """A csv field, None where nvidia-smi has nothing to say."""
    field = (field or "").strip()
    return None if field.strip("[]").lower() in NOTHING else field


def integer(field):
    match = re.match(r"\d+", value(field) or "")
    return int(match.group(0)) if match else None


def _rows(output):
    return [row for row in csv.reader(output.splitlines(), skipinitialspace=True) if row]


def query_gpus(host, path):
    """(result, fields): the csv query, asked again without a field that this branch does not know.

    Without persistence mode the driver starts every GPU for the first answer, which takes 25 to 40 s on big boards.
    """
    fields = list(FIELDS)
    while True:
        limit = STARTS * host.timeout
        result = host.run([path, "--query-gpu=" + ",".join(fields), "--format=csv,noheader,nounits"], timeout=limit)
        refused = BAD_FIELD.search(result.stdout + result.stderr) if result.rc else None
        name = refused.group(1) if refused else None
        if name not in NOT_EVERYWHERE or name not in fields:
            return result, fields
        fields.remove(name)


def parse_gpus(output, fields):
    """(gpus, driver version) of the csv query's output."""
    gpus, driver = [], None
    for row in _rows(output):
        if len(row) != len(fields):
            continue
        item = dict(zip(fields, row))  # noqa: B905 (strict= is newer than the hosts' Python)
        index = integer(item["index"])
        if index is None:
            continue
        capability = value(item.get("compute_cap"))
        mig = (value(item.get("mig.mode.current")) or "").lower()
        gpus.append(
            {
                "index": index,
                "uuid": item["uuid"] if UUID.match(item["uuid"]) else None,
                "name": value(item["name"]) or "unknown",
                "memory_mb": integer(item["memory.total"]),
                "compute_capability": capability if re.match(r"^\d+\.\d+$", capability or "") else None,
                "mig": mig if mig in ("enabled", "disabled") else None,
                "mig_devices": 0,
            }
        )
        driver = driver or text.version(item.get("driver_version"))
    return gpus, driver


def processes(host, path):
    """Compute processes; an empty list where they cannot be read."""
    result = host.run([path, "--query-compute-apps=pid,gpu_uuid,used_memory", "--format=csv,noheader,nounits"])
    if not result.ok:
        host.note("nvidia-smi processes", result.message())
        return []
    found = []
    for row in _rows(result.stdout):
        pid = integer(row[0])
        if len(row) == 3 and pid is not None:
            found.append({"pid": pid, "gpu_uuid": value(row[1]), "memory_mb": integer(row[2])})
    return found[:256]


def count_mig(host, path, gpus):
    """Fill in how many MIG devices are set up on each GPU."""
    if not any(gpu["mig"] == "enabled" for gpu in gpus):
        return
    result = host.run([path, "-L"])
    if not result.ok:
        host.note("nvidia-smi -L", result.message())
        return
    by_index = {gpu["index"]: gpu for gpu in gpus}
    current = None
    for line in result.stdout.splitlines():
        match = GPU_LINE.match(line)
        if match:
            current = by_index.get(int(match.group(1)))
        elif current is not None and MIG_DEVICE.match(line):
            current["mig_devices"] += 1


def versions(host, path):
    """(nvidia-smi's own version, newest CUDA of the driver). --version is cheap, but older branches lack it."""
    result = host.run([path, "--version"])
    if result.ok and VERSION_CUDA.search(result.stdout):
        patterns, output = (VERSION_SMI, VERSION_CUDA), result.stdout
    else:
        result = host.run([path])
        patterns, output = (HEADER_SMI, HEADER_CUDA), result.stdout if result.ok else ""
    found = [pattern.search(output) for pattern in patterns]
    if found[1] is None:
        host.note("nvidia-smi", "the CUDA version is not in its output")
    return tuple(match.group(1) if match else None for match in found)
