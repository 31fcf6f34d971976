"""The wheel and the collection, built from what git knows and installed into empty environments without a network."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OFFLINE = ["unshare", "--net"] if os.getuid() == 0 else ["unshare", "--map-root-user", "--net"]
NEEDED = {  # what each way asks for
    "wheel": ["ansible-core", "ansible-runner", "jinja2", "jsonschema", "pyyaml", "rich"],
    "collection": ["ansible-core", "jsonschema"],
}


def run(*words: object, cwd: Path, check: bool = True, **environment: str) -> subprocess.CompletedProcess:
    """Run a command that knows nothing of this clone; stdout and stderr come back together."""
    ours = ("ANSIBLE_", "VIRTUAL_ENV", "PYTHON")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, env={**kept, "ANSIBLE_NOCOLOR": "1", **environment},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1800,
    )  # fmt: skip
    assert done.returncode == 0 or not check, done.stdout[-6000:]
    return done


class Tree:
    """A copy of the files that git knows, and what is built from it."""

    def __init__(self, place: Path):
        self.place, self.clone = place, place / "clone"
        names = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
            cwd=ROOT, check=True, capture_output=True, text=True,
        ).stdout.split("\0")  # fmt: skip
        for name in filter(None, names):
            if (ROOT / name).is_file() and not name.startswith("tests/"):
                (self.clone / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.clone / name)
        self.wheels = place / "wheels"

    def wheel(self) -> Path:
        """Build the wheel."""
        pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
        run(*pip, "--wheel-dir", self.place / "dist", ".", cwd=self.clone)
        return next((self.place / "dist").glob("*.whl"))

    def collection(self) -> Path:
        """Build the collection."""
        run(sys.executable, "collection/build.py", cwd=self.clone)
        return next((self.clone / "dist").glob("*.tar.gz"))

    def environment(self, way: str, *more: object) -> Path:
        """A new virtual environment with what `way` needs, installed without a network; its `bin`."""
        pins = ["--constraint", ROOT / "requirements/core-2.19.txt"]
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", self.wheels, *pins]
        run(*pip, *NEEDED[way], cwd=self.place)
        folder = self.place / way
        run(sys.executable, "-m", "venv", folder, cwd=self.place)
        install = [folder / "bin/pip", "install", "--quiet", "--no-index", "--find-links", self.wheels]
        run(*OFFLINE, *install, *NEEDED[way], *more, cwd=self.place)
        return folder / "bin"
