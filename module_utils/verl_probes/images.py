# Copyright the verl-provision authors
# SPDX-License-Identifier: Apache-2.0
"""Local images whose repository name contains `verl`."""

from __future__ import annotations

import re

UNITS = {"B": 1.0, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
MOST = 64


def gigabytes(size):
    """'20.1GB' as docker writes it, or a number of bytes as podman does."""
    if isinstance(size, (int, float)):
        return round(size / 1e9, 2)
    match = re.match(r"^([\d.]+)\s*([kKMGT]?B)$", str(size).strip())
    return round(float(match.group(1)) * UNITS[match.group(2)] / 1e9, 2) if match else None


def docker_images(host, client):
    rows, result = client.rows("image", "ls", "--digests", "--no-trunc")
    if not result.ok:
        host.note("docker image ls", result.message())
    found = {}
    for row in rows:
        repository, tag, digest = (str(row.get(key) or "<none>") for key in ("Repository", "Tag", "Digest"))
        if "verl" not in repository.lower():
            continue
        identifier = str(row.get("ID", ""))
        image = found.setdefault(
            identifier,
            {
                "engine": "docker",
                "refs": [],
                "digests": [],
                "id": identifier,
                "size_gb": gigabytes(row.get("Size", "")),
            },
        )
        known = digest.startswith("sha256:")
        ref = "%s:%s" % (repository, tag) if tag != "<none>" else "%s@%s" % (repository, digest) if known else None
        if ref and ref not in image["refs"]:
            image["refs"].append(ref)
        if known and digest not in image["digests"]:
            image["digests"].append(digest)
    return list(found.values())[:MOST]


def podman_images(rows):
    """From `podman images --format json`."""
    found = []
    for row in rows:
        names = [str(name) for name in row.get("Names") or []]
        digests = [str(name).partition("@")[2] for name in row.get("RepoDigests") or []]
        if not any("verl" in name.lower() for name in names + [str(item) for item in row.get("RepoDigests") or []]):
            continue
        identifier = str(row.get("Id", ""))
        found.append(
            {
                "engine": "podman",
                "refs": names,
                "digests": sorted({digest for digest in digests if digest.startswith("sha256:")}),
                "id": identifier if identifier.startswith("sha256:") else "sha256:" + identifier,
                "size_gb": gigabytes(row.get("Size", 0)),
            }
        )
    return found[:MOST]
