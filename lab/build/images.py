"""Build the stand-in verl images and put them into a registry's storage."""

import io
import json
import tarfile
import tempfile
from pathlib import Path

import docker
import requests

from lab import cache, engine, settings
from lab.build import builder, imagebase, rootfs, standins
from lab.waiting import until

VERL_SCRIPT = "python3 -m pip install -q --no-deps --no-compile --target /out verl==0.3.0.post1 && rm -rf /out/bin"
TYPES = "application/vnd.docker.distribution.manifest.v2+json"


def _verl() -> Path:
    """Give the verl that hiyouga's image carries: the release of its time."""
    return cache.step("verl-inside", [VERL_SCRIPT], lambda folder: builder.run(VERL_SCRIPT, folder))


def _build(context: Path, tag: str) -> None:
    """Build an image from a folder by the engine's classic builder, which every Docker has."""
    with tempfile.TemporaryFile() as packed:
        with tarfile.open(fileobj=packed, mode="w", dereference=True) as tar:
            tar.add(context, ".")
        packed.seek(0)
        for line in engine.client().api.build(fileobj=packed, custom_context=True, tag=tag, rm=True, decode=True):
            if "error" in line:
                raise docker.errors.BuildError(line["error"], [])


def _registry(client: docker.DockerClient):
    """Start a registry that only the build talks to, at a free port of this machine."""
    config = (settings.FILES / "services/registry.yml").read_bytes()
    container = client.containers.create(
        rootfs.image("services"),
        ["docker-registry", "serve", "/registry.yml"],
        labels={settings.LABEL: "1"},
        ports={f"{settings.REGISTRY_PORT}/tcp": ("127.0.0.1", None)},
    )
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        folder = tarfile.TarInfo("var/lib/registry")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(folder)
        entry = tarfile.TarInfo("registry.yml")
        entry.size = len(config)
        tar.addfile(entry, io.BytesIO(config))
    client.api.put_archive(container.id, "/", packed.getvalue())
    container.start()
    container.reload()
    port = container.ports[f"{settings.REGISTRY_PORT}/tcp"][0]["HostPort"]
    address = f"127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return requests.get(f"http://{address}/v2/", timeout=2).ok
        except requests.RequestException:
            return False

    until("the build's registry to answer", answers, 30)
    return container, address


def _push(client: docker.DockerClient, address: str, entry: dict, unpacked: int) -> dict:
    """Push an image to the registry under its real name; give its line of the overlay."""
    name, _, tag = entry["ref"].rpartition(":")
    for line in client.api.push(f"{address}/{name}", tag=tag, stream=True, decode=True):
        if "error" in line:
            raise docker.errors.APIError(line["error"])
    answer = requests.get(f"http://{address}/v2/{name}/manifests/{tag}", headers={"Accept": TYPES}, timeout=10)
    answer.raise_for_status()
    manifest = answer.json()
    compressed = sum(layer["size"] for layer in manifest["layers"]) + manifest["config"]["size"]
    return {
        "ref": entry["ref"],
        "digest": answer.headers["Docker-Content-Digest"],
        "size_gb": {"compressed": round(compressed / 1e9, 3), "unpacked": round(unpacked / 1e9, 3)},
    }


def _make(folder: Path) -> None:
    client, base, verl = engine.client(), imagebase.make(), _verl()
    made = []
    registry, address = _registry(client)
    try:
        with tempfile.TemporaryDirectory(dir=folder) as context:
            Path(context, "dependencies.tar").hardlink_to(base / "dependencies.tar")
            Path(context, "Dockerfile").write_text(f"FROM {rootfs.image('image')}\nADD dependencies.tar /\n")
            _build(Path(context), "base")
        made.append("base")
        lines = []
        for entry in standins.described():
            with tempfile.TemporaryDirectory(dir=folder) as context:
                standins.lay(Path(context), entry, base, verl)
                tag = f"{address}/{entry['ref']}"
                _build(Path(context), tag)
                made.append(tag)
                lines.append(_push(client, address, entry, client.images.get(tag).attrs["Size"]))
        (folder / "overlay.json").write_text(json.dumps(lines, indent=2))
        stream, _ = registry.get_archive("/var/lib/registry")
        with (folder / "registry.tar").open("wb") as file:
            file.writelines(stream)
    finally:
        registry.remove(force=True, v=True)
        for tag in reversed(made):
            client.images.remove(tag, force=True)


def make() -> Path:
    """Give a folder with registry.tar, a registry's storage that holds the images, and overlay.json."""
    base = imagebase.make()
    inputs = [base.name, standins.described(), _verl().name, Path(standins.__file__), Path(__file__)]
    return cache.step("images", inputs, _make)
