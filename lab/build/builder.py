"""Run a script in a throw-away builder container, so that what's built doesn't depend on this machine."""

import os
from pathlib import Path

from lab import engine, machine, settings
from lab.build import rootfs


def run(
    script: str,
    output: Path,
    *,
    mounts: dict[Path, str] | None = None,
    image: str | None = None,
    environment: dict[str, str] | None = None,
) -> None:
    """Run a shell script in the builder with OUTPUT at /out, the lab's files at /files and the machine's settings."""
    docker = engine.client()
    volumes = {str(output): {"bind": "/out", "mode": "rw"}, str(settings.FILES): {"bind": "/files", "mode": "ro"}}
    for path, place in (mounts or {}).items():
        volumes[str(path)] = {"bind": place.removesuffix(":rw"), "mode": "rw" if place.endswith(":rw") else "ro"}
    if machine.ca_bundle():
        volumes[str(machine.ca_bundle())] = {"bind": str(machine.CA_BUNDLES[0]), "mode": "ro"}
    pip = settings.CACHE / "pip.conf"
    pip.write_text(machine.pip_conf())
    volumes[str(pip)] = {"bind": "/etc/pip.conf", "mode": "ro"}
    # What it leaves in /out belongs to whoever runs the lab.
    owner = f"chown -R {os.getuid()}:{os.getgid()} /out"
    container = docker.containers.create(
        image or rootfs.image("builder"),
        ["sh", "-c", f"set -eu\ntrap '{owner}' EXIT\n{script}"],
        network_mode="host",
        volumes=volumes,
        environment={"HOME": "/root", "LC_ALL": "C.UTF-8"} | (environment or {}),
        working_dir="/out",
        labels={settings.LABEL: "1"},
    )
    try:
        container.start()
        status = container.wait()["StatusCode"]
        if status:
            said = container.logs(tail=40).decode(errors="replace")
            raise machine.LabError(f"A build script ended with status {status}:\n{said}")
    finally:
        container.remove(force=True, v=True)
