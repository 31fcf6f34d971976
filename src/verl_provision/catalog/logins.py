"""The logins of `docker login` on this machine: in its configuration, or with a credential helper."""

import base64
import binascii
import json
import os
import subprocess
from pathlib import Path
from typing import Any

HUB = "https://index.docker.io/v1/"  # what Docker calls the Hub there


def login(registry: str) -> dict[str, str] | None:
    """`{username, password}` of a registry, or None."""
    name = HUB if registry in ("docker.io", "index.docker.io") else registry
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(config, dict):
        return None
    helper = _mapping(config.get("credHelpers")).get(name) or config.get("credsStore")
    return _from_helper(str(helper), name) if helper else _from_file(_mapping(config.get("auths")).get(name))


def _from_file(entry: Any) -> dict[str, str] | None:
    try:
        user, dummy, password = base64.b64decode(str(_mapping(entry).get("auth") or "")).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return {"username": user, "password": password} if user and password else None


def _from_helper(helper: str, name: str) -> dict[str, str] | None:
    try:
        done = subprocess.run(
            [f"docker-credential-{helper}", "get"], input=name, capture_output=True, text=True, timeout=30, check=True
        )
        said = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    user, password = (_mapping(said).get(key) for key in ("Username", "Secret"))
    return {"username": user, "password": password} if user and password else None


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
