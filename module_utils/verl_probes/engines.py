# Copyright the verl-provision authors
# SPDX-License-Identifier: Apache-2.0
"""All container engines of the host, the images and the container that are ours."""

from __future__ import annotations

from . import container, docker, images, podman, text


def empty():
    return {
        "engines": {
            "docker": docker.empty(),
            "podman": podman.empty(),
            "apptainer": {"installed": False, "version": None},
        },
        "images": [],
        "container": None,
        "ray_container": None,
        "kept_containers": [],
    }


def apptainer(host):
    program = host.which("apptainer") or host.which("singularity")
    if program is None:
        return {"installed": False, "version": None}
    return {"installed": True, "version": text.version(host.run([program, "--version"]).stdout)}


def _docker(host, user, found):
    facts = found["engines"]["docker"]
    client = docker.probe(host, user, facts)
    if client is None:
        return
    facts["running"], names, kept = docker.containers(host, client)
    found["kept_containers"].extend(kept)
    found["images"].extend(images.docker_images(host, client))
    found["container"] = container.docker_container(host, client, names)
    found["ray_container"] = container.docker_ray(host, client, names)


def _podman(host, user, found):
    local, ours, ray, kept = podman.probe(host, user, found["engines"]["podman"])
    found["kept_containers"].extend(kept)
    found["images"].extend(local)
    found["container"] = found["container"] or ours
    found["ray_container"] = found["ray_container"] or ray


def _apptainer(host, _user, found):
    found["engines"]["apptainer"] = apptainer(host)


def probe(host, user):
    found = empty()
    for name, part in (("docker", _docker), ("podman", _podman), ("apptainer", _apptainer)):
        host.guard(name, part, host, user, found)
    return found
