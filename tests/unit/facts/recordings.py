"""The recorded hosts of tests/fixtures/hosts, a file each, as directories that programs can be shown.

`python -m tests.unit.facts.recordings FOLDER` lays them out in a folder, to look at them by hand.
"""

import atexit
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import yaml

RECORDINGS = Path(__file__).resolve().parents[2] / "fixtures/hosts"


def lay_out(folder):
    """Every recorded host as a directory in `folder`: machine.json, bin/, output/, files/, tree/."""
    for recording in sorted(RECORDINGS.glob("*.yml")):
        host = yaml.load(recording.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        if "like" in host or "facts" in host:
            continue  # told by its difference from one of these: tests/unit/hosts
        place = folder / recording.stem
        place.mkdir()
        if "machine" in host:
            (place / "machine.json").write_text(json.dumps(host.pop("machine")))
        for part, entries in host.items():
            for name, content in entries.items():
                path = place / part / name
                path.parent.mkdir(parents=True, exist_ok=True)
                if content is None:
                    path.mkdir()
                elif isinstance(content, dict):
                    path.symlink_to(content["link"])
                else:
                    # A recorded Docker runs on the machine that asks it.
                    path.write_text(content.replace("redacted-host", os.uname().nodename), encoding="utf-8")
                    path.chmod(0o755 if part == "bin" else 0o644)
    return folder


def laid_out():
    """All of them in a folder that this process has to itself."""
    folder = Path(tempfile.mkdtemp(prefix="recorded-hosts-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return lay_out(folder)


if __name__ == "__main__":
    lay_out(Path(sys.argv[1]))
