"""verl's checkout on this host, read without git: which commit it is at, and what its package says it needs."""

from __future__ import annotations

import json
import os
import re
from urllib.parse import unquote

from ansible.module_utils.verl_source.failure import BuildFailure
from ansible.module_utils.verl_state.files import tail

SCRIPT = "scripts/install_vllm_sglang_mcore.sh"


def _line(path):
    lines = tail(path).strip().splitlines()
    return lines[0].strip() if lines else ""


def head(path):
    """The commit that the checkout at `path` is at, None where that can't be told."""
    git = os.path.join(path, ".git")
    found = _line(os.path.join(git, "HEAD"))
    if found.startswith("ref: "):
        name = found[len("ref: ") :]
        found = _line(os.path.join(git, name))
        if not found:
            packed = re.search(r"(?m)^([0-9a-f]{40}) %s$" % re.escape(name), tail(os.path.join(git, "packed-refs")))
            found = packed.group(1) if packed else ""
    return found if re.match(r"^[0-9a-f]{40}$", found) else None


def require(path):
    """Refuse where there's no verl to install at `path`."""
    if not any(os.path.isfile(os.path.join(path, name)) for name in ("pyproject.toml", "setup.py")):
        raise BuildFailure(
            "there is no checkout of verl at %s" % path,
            "apply the role verl_checkout first, or set source_environment_checkout to where verl's source is",
        )


def editable(dist_info):
    """The folder that a distribution was installed from in place (pip install -e), else None."""
    try:
        about = json.loads(tail(os.path.join(dist_info, "direct_url.json")) or "{}")
    except ValueError:
        return None
    if not (about.get("dir_info") or {}).get("editable"):
        return None
    return unquote(about.get("url", "").partition("file://")[2]) or None


def requirements(dist_info):
    """What a distribution needs by its metadata, without its extras, as pip takes it."""
    found = []
    for line in tail(os.path.join(dist_info, "METADATA"), 1 << 20).splitlines():
        if not line.strip():
            break  # the description follows
        name, _colon, value = line.partition(":")
        if name == "Requires-Dist" and not re.search(r"\bextra\s*==", value):
            found.append(value.strip())
    return found
