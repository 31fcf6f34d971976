"""B3: bytes that leave upstream when a cold fleet pulls one image: `python benchmarks/egress.py [--clients 8 16]`.

Counted on upstream's link, a veth pair. Every place is a network namespace on one bridge; upstream, the cache and the
mirror are Debian's docker-registry. Most clients are blob clients (manifest, every layer in parallel, digests checked),
two in each fleet are skopeo. Ours is what the role image_mirror does: skopeo copies by digest once, hosts pull by it.
"""

import argparse
import hashlib
import http.client
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import harness

PLACES = {"upstream": "10.98.0.1", "mirror": "10.98.0.2", "hosts": "10.98.0.3"}
PREFIX = "vb-"
IMAGE = "verlai/verl"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
REAL = 2  # skopeo clients in each fleet
SETTLE = 6  # seconds that a cache gets after its first pull, in its best case


def ip(*words: str, check: bool = True) -> None:
    """Run ip."""
    subprocess.run(["ip", *words], check=check, capture_output=not check)


def within(place: str, *command: str) -> list[str]:
    """A command in one place's network."""
    return ["ip", "netns", "exec", PREFIX + place, *command]


def inside(place: str, line: str) -> None:
    """Run a shell line in one place's network."""
    subprocess.run(within(place, "sh", "-ec", line), check=True)


@contextmanager
def links(rate: str) -> Iterator[None]:
    """The places and their links; upstream's is shaped."""
    unlink()
    try:
        ip("netns", "add", PREFIX + "switch")
        inside("switch", "ip link add name br0 type bridge && ip link set br0 up")
        for place, address in PLACES.items():
            ip("netns", "add", PREFIX + place)
            peer = f"peer name link0 netns {PREFIX}{place}"
            inside("switch", f"ip link add name {place} type veth {peer} && ip link set {place} master br0 up")
            inside(place, f"ip addr add {address}/24 dev link0 && ip link set link0 up && ip link set lo up")
        inside("upstream", f"tc qdisc add dev link0 root tbf rate {rate} burst 256k latency 100ms")
        yield
    finally:
        unlink()


def unlink() -> None:
    """Remove the places; links go with them."""
    for place in ("switch", *PLACES):
        ip("netns", "del", PREFIX + place, check=False)


def sent() -> int:
    """Bytes that have left upstream, on its link."""
    said = subprocess.run(
        within("upstream", "cat", "/sys/class/net/link0/statistics/tx_bytes"),
        capture_output=True,
        text=True,
        check=True,
    )
    return int(said.stdout)


@contextmanager
def registry(place: str, folder: Path, remote: str = "") -> Iterator[str]:
    """A docker-registry of its own store; with `remote` a pull-through cache of it."""
    store = folder / f"{place}-store"
    store.mkdir(exist_ok=True)
    config: dict = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(store)}},
        "http": {"addr": f"{PLACES[place]}:5000"},
    }
    if remote:
        config["proxy"] = {"remoteurl": f"http://{remote}"}
    path = folder / f"{place}.yml"
    path.write_text(json.dumps(config))
    server = subprocess.Popen(
        within(place, harness.need("docker-registry", "docker-registry"), "serve", str(path)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        ready = within(place, "curl", "-sf", "--retry", "50", "--retry-connrefused", "--retry-delay", "1")
        subprocess.run([*ready, f"http://{PLACES[place]}:5000/v2/"], check=True, capture_output=True)
        yield f"{PLACES[place]}:5000"
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(store, ignore_errors=True)  # only room is lost where it fails, and the bytes are counted


def image(folder: Path, megabytes: int) -> str:
    """An image of random layers (they don't compress) as an OCI layout; its manifest's digest."""
    place = folder / "layout"
    blobs = place / "blobs/sha256"
    blobs.mkdir(parents=True)

    def blob(content: bytes, kind: str) -> dict:
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(content)}

    layers = []
    for part in (0.5, 0.3, 0.2):
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            content = os.urandom(int(megabytes * part * 1e6))
            entry = tarfile.TarInfo(f"layer-{part}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        layers.append(blob(packed.getvalue(), "layer.v1.tar"))
    config = blob(
        json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "rootfs": {"type": "layers", "diff_ids": [x["digest"] for x in layers]},
            }
        ).encode(),
        "config.v1+json",
    )
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": layers,
    }
    described = blob(json.dumps(manifest).encode(), "manifest.v1+json")
    (place / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (place / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [described]}))
    return described["digest"]


def blob_client(address: str, digest: str) -> int:
    """Pull by digest as an engine does: the manifest, then its layers three at a time; check what came."""

    def fetch(path: str, wanted: str) -> bytes:
        connection = http.client.HTTPConnection(address, timeout=600)
        connection.request("GET", path, headers={"Accept": MANIFEST})
        answer = connection.getresponse()
        digested, kept = hashlib.sha256(), b""
        while part := answer.read(1 << 20):
            digested.update(part)
            kept = kept + part if len(kept) < 1 << 16 else kept
        if answer.status != 200 or "sha256:" + digested.hexdigest() != wanted:
            raise SystemExit(f"{path} of {address}: status {answer.status}, or another digest")
        return kept

    manifest = json.loads(fetch(f"/v2/{IMAGE}/manifests/{digest}", digest))
    with ThreadPoolExecutor(3) as pool:
        parts = [manifest["config"], *manifest["layers"]]
        list(pool.map(lambda part: fetch(f"/v2/{IMAGE}/blobs/{part['digest']}", part["digest"]), parts))
    return sum(layer["size"] for layer in manifest["layers"])


def pull(address: str, digest: str, clients: int) -> None:
    """All hosts at once, cold: skopeo into a folder of its own, and blob clients."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="vb-egress-") as folder:
        running = []
        for number in range(clients):
            if number < REAL:
                command = ["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{address}/{IMAGE}@{digest}"]
                command.append(f"dir:{folder}/{number}")
            else:
                command = [sys.executable, __file__, "--as-client", address, digest]
            running.append(subprocess.Popen(within("hosts", *command)))
        for process in running:
            if process.wait():
                raise SystemExit("a client's pull failed")


def seed(digest: str) -> None:
    """Ours: the copy that the role image_mirror makes, in the mirror's place."""
    source, target = (f"docker://{PLACES[place]}:5000/{IMAGE}" for place in ("upstream", "mirror"))
    copy = ["skopeo", "copy", "-q", "--all", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false"]
    subprocess.run(within("mirror", *copy, f"{source}@{digest}", f"{target}:bench"), check=True)


def main() -> None:
    """Every method at every size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, nargs="+", default=[8, 16])
    parser.add_argument("--megabytes", type=int, default=64)
    parser.add_argument("--rate", default="400mbit", help="of upstream's link")
    parser.add_argument("--as-client", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.as_client:
        blob_client(*args.as_client)
        return
    harness.need("skopeo", "skopeo")
    harness.about(
        f"B3: one image of {args.megabytes} MB, cold, upstream's link at {args.rate}",
        "bytes counted on upstream's link (veth, headers included); docker-registry and skopeo from Debian; "
        f"{REAL} clients of each fleet are skopeo, the others blob clients that check every digest",
    )
    results = {}
    print(f"{'':44}{'clients':>8}{'upstream x image':>18}{'wall s':>9}")
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="vb-egress-") as name, links(args.rate):
        folder = Path(name)
        digest = image(folder, args.megabytes)
        size = sum(path.stat().st_size for path in (folder / "layout/blobs/sha256").iterdir())
        with registry("upstream", folder) as upstream:
            into = [
                "skopeo",
                "copy",
                "-q",
                "--preserve-digests",
                "--dest-tls-verify=false",
                f"oci:{folder}/layout",
                f"docker://{upstream}/{IMAGE}:bench",
            ]
            subprocess.run(within("upstream", *into), check=True)
            for clients in args.clients:
                for method, work in methods(folder, upstream, digest, clients).items():
                    before, start = sent(), time.monotonic()
                    work()
                    ratio, seconds = (sent() - before) / size, time.monotonic() - start
                    results[f"{method}, {clients}"] = {"ratio": round(ratio, 3), "seconds": round(seconds, 1)}
                    print(f"{method:44}{clients:>8}{ratio:>18.3f}{seconds:>9.1f}", flush=True)
    harness.save("egress", results)


def methods(folder: Path, upstream: str, digest: str, clients: int) -> dict:
    """The ways to bring one image to all hosts, each from cold."""

    def ours() -> None:
        with registry("mirror", folder) as mirror:
            seed(digest)
            pull(mirror, digest, clients)

    def cache(first: bool) -> None:
        with registry("mirror", folder, upstream) as mirror:
            if first:
                pull(mirror, digest, 1)
                time.sleep(SETTLE)  # the cache at its best: it has written what it fetched
            pull(mirror, digest, clients)

    return {
        "image_mirror, then hosts from it": ours,
        "plain pulls": lambda: pull(upstream, digest, clients),
        "pull-through cache, cold": lambda: cache(False),
        f"pull-through cache, one pull and {SETTLE} s before": lambda: cache(True),
    }


if __name__ == "__main__":
    main()
