"""Draw docs/images/board.svg: the board of `verl-provision up` during a real pull of 2 GB. Needs the lab and tmux.

python scripts/capture_board.py [--host gpu-580]

The lab's stand-in of verlai/verl:vllm024.latest weighs half a gigabyte, so layers of random bytes are put on top of
it, under the same tag, and an overlay of the catalog says so. The host is reset first, and taken up as anybody would:
`verl-provision up` in a terminal (tmux), whose screen is read every second. The lab's registry keeps the large image
until `make lab-down`.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import shlex
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import requests
import yaml
from rich.console import Console
from rich.text import Text

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab import hosts, network, settings

ROOT = settings.CHECKOUT
NAME, TAG = "verlai/verl", "vllm024.latest"
LAYERS, LAYER_MB = 8, 190
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
COLUMNS, LINES = 124, 16
SESSION = f"verl-board-{os.getpid()}"
PICTURE = ROOT / "docs/images/board.svg"
# rich's own page asks another host for its font; any monospace one will do.
SVG = """<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img">
<style>.{unique_id}-matrix{{font:{char_height}px ui-monospace,Menlo,Consolas,monospace;white-space:pre}}
{styles}</style>
<defs>{lines}</defs>{chrome}
<g transform="translate({terminal_x},{terminal_y})">{backgrounds}<g class="{unique_id}-matrix">{matrix}</g></g></svg>
"""


class Registry:
    """The part of a registry's interface that putting layers on an image takes."""

    def __init__(self, address: str):
        self.base = f"http://{address}/v2/{NAME}"

    def put_blob(self, content: bytes) -> dict:
        """Store a blob; give what a manifest says of it."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        place = requests.post(f"{self.base}/blobs/uploads/", timeout=30)
        place.raise_for_status()
        address = place.headers["Location"]
        sign = "&" if "?" in address else "?"
        requests.put(f"{address}{sign}digest={digest}", data=content, timeout=600).raise_for_status()
        return {"size": len(content), "digest": digest}

    def manifest(self) -> dict:
        """The manifest of the tag."""
        answer = requests.get(f"{self.base}/manifests/{TAG}", headers={"Accept": MANIFEST}, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def put_manifest(self, manifest: dict) -> str:
        """Store the manifest under the tag; give its digest."""
        answer = requests.put(
            f"{self.base}/manifests/{TAG}", data=json.dumps(manifest), headers={"Content-Type": MANIFEST}, timeout=30
        )
        answer.raise_for_status()
        return answer.headers["Docker-Content-Digest"]


def layer(number: int) -> tuple[bytes, str]:
    """A layer with one file of random bytes: (as it travels, digest of what it unpacks to)."""
    tape = io.BytesIO()
    with tarfile.open(fileobj=tape, mode="w") as tar:
        entry = tarfile.TarInfo(f"opt/lab-weight/{number}")
        entry.size = LAYER_MB * 10**6
        tar.addfile(entry, io.BytesIO(os.urandom(entry.size)))
    unpacked = tape.getvalue()
    return gzip.compress(unpacked, compresslevel=1), f"sha256:{hashlib.sha256(unpacked).hexdigest()}"


def enlarge(registry: Registry) -> tuple[str, float]:
    """Put the layers on the image, where they aren't yet: (digest, size in GB)."""
    manifest = registry.manifest()
    size = sum(part["size"] for part in manifest["layers"]) / 1e9
    if size > 1.9:
        content = requests.get(f"{registry.base}/manifests/{TAG}", headers={"Accept": MANIFEST}, timeout=30)
        return content.headers["Docker-Content-Digest"], size
    about = requests.get(f"{registry.base}/blobs/{manifest['config']['digest']}", timeout=30).json()
    for number in range(LAYERS):
        content, unpacked = layer(number)
        kind = "application/vnd.docker.image.rootfs.diff.tar.gzip"
        manifest["layers"].append({"mediaType": kind, **registry.put_blob(content)})
        about["rootfs"]["diff_ids"].append(unpacked)
        about.setdefault("history", []).append({"created_by": "scripts/capture_board.py"})
        size += len(content) / 1e9
    manifest["config"] |= registry.put_blob(json.dumps(about).encode())
    return registry.put_manifest(manifest), size


def overlay(digest: str, size: float) -> Path:
    """The lab's overlay of the catalog, with the enlarged image."""
    entries = yaml.safe_load(settings.OVERLAY.read_text())
    for image in entries["images"]:
        if image["ref"] == f"{NAME}:{TAG}":
            image["digest"] = digest
            image["size_gb"] = {"compressed": round(size, 3), "unpacked": round(size + 1.6, 3)}
    path = ROOT / "build/board-catalog.yml"
    path.write_text(yaml.safe_dump(entries))
    return path


def tmux(*words: str) -> str:
    """Run a command of tmux."""
    return subprocess.run(["tmux", *words], check=True, capture_output=True, text=True).stdout


def watch(command: list[str]) -> list[str]:
    """Run a command in a terminal; the screens it showed, one a second, without repetitions."""
    line = f"cd {ROOT} && {shlex.join(command)}; echo done: $?; sleep 5"
    tmux("new-session", "-d", "-s", SESSION, "-x", str(COLUMNS), "-y", str(LINES), line)
    screens: list[str] = []
    try:
        while subprocess.run(["tmux", "has-session", "-t", SESSION], capture_output=True).returncode == 0:
            screen = tmux("capture-pane", "-e", "-p", "-t", SESSION)
            if not screens or screen != screens[-1]:
                screens.append(screen)
            if "done: " in screen:
                break
            time.sleep(1)
    finally:
        subprocess.run(["tmux", "kill-session", "-t", SESSION], capture_output=True)
    return screens


def draw(screen: str, command: str) -> None:
    """Write one screen as a picture."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.assemble(("$ ", "bold green"), command))
    console.print(Text.from_ansi(screen.rstrip()))
    PICTURE.write_text(console.export_svg(title="verl-provision up", code_format=SVG, unique_id="board"))


def main() -> int:
    """Enlarge the image, take the host up, keep the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="gpu-580", help="a GPU host of the lab that gets verlai/verl:vllm024.latest")
    arguments = parser.parse_args()
    digest, size = enlarge(Registry(network.registry()))
    hosts.reset(arguments.host)
    command = [".venv/bin/verl-provision", "up", "-i", "inventories/lab", "-l", arguments.host]
    wanted = {"verl_catalog_extra": overlay(digest, size), "run_report_directory": ROOT / "build/board-reports"}
    screens = watch([*command, *(word for name, value in wanted.items() for word in ("--want", f"{name}={value}"))])
    (ROOT / "build/board-screens.txt").write_text("\n----\n".join(screens))
    pulling = [screen for screen in screens if "B/s)" in screen]  # while the rate is told
    if not pulling:
        print("no screen showed the pull; the last one was:\n" + (screens or [""])[-1], file=sys.stderr)
        return 1
    draw(pulling[-1], shlex.join(command))
    print(
        f"{PICTURE.relative_to(ROOT)}: {size:.2f} GB, {len(pulling)} screens of the pull; see build/board-screens.txt"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
