"""A checkout of a verl that installs in place by the real pip, without anything from an index."""

import subprocess

PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
# The least that PEP 660 asks for: a wheel that puts the checkout on sys.path.
BACKEND = """
import os, zipfile

VERSION = open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "verl/version/version")).read().strip()
INFO = "verl-%s.dist-info" % VERSION
METADATA = "Metadata-Version: 2.1\\nName: verl\\nVersion: %s\\n" % VERSION + "".join(
    "Requires-Dist: %s\\n" % need for need in ("torch", "ray", "vllm>=0.1; extra == 'vllm'")
) + "\\nRequires-Dist: not-this\\n"
WHEEL = "Wheel-Version: 1.0\\nGenerator: tiny\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"


def build_editable(directory, config_settings=None, metadata_directory=None):
    name = "verl-%s-py3-none-any.whl" % VERSION
    content = {"verl.pth": os.getcwd() + "\\n", INFO + "/METADATA": METADATA, INFO + "/WHEEL": WHEEL}
    content[INFO + "/RECORD"] = "".join("%s,,\\n" % path for path in [*content, INFO + "/RECORD"])
    with zipfile.ZipFile(os.path.join(directory, name), "w") as wheel:
        for path, text in content.items():
            wheel.writestr(path, text)
    return name


build_wheel = build_editable
"""


def git(folder, *words):
    command = ["git", "-c", "user.name=n", "-c", "user.email=n@example.org", "-C", folder, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def write_source(folder, version="0.9.1.dev0", script=None):
    """A repository with one commit; returns the commit."""
    files = {
        "pyproject.toml": PROJECT,
        "backend.py": BACKEND,
        ".gitignore": "__pycache__/\n",  # as verl's own
        "verl/__init__.py": f"__version__ = {version!r}\n",
        "verl/version/version": version,
    }
    if script is not None:
        files["scripts/install_vllm_sglang_mcore.sh"] = script
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    if not (folder / ".git").exists():
        git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", version)
    return git(folder, "rev-parse", "HEAD")
