"""Docker's daemon.json: read, merge without losing anybody's keys, and say what makes a change take effect."""

import hashlib
import json
import os

from ansible.module_utils.verl_container.daemon_json_table import EFFECTS
from ansible.module_utils.verl_probes.text import json_object


class DaemonJsonError(ValueError):
    """The file can't be used; the text says where it breaks."""


def version_tuple(text):
    """Return "26.1.5+dfsg1" as (26, 1), or None."""
    parts = []
    for part in str(text or "").split(".")[:2]:
        digits = "".join(char for char in part if char.isdigit())
        if not digits:
            return None
        parts.append(int(digits))
    return tuple(parts) or None


def parse(text, path="/etc/docker/daemon.json"):
    """Return the file's content as a dict; anything that might have held keys which can't be kept raises."""
    try:
        return json_object(text)
    except ValueError as error:
        line = getattr(error, "lineno", None)
        near = text.splitlines()[line - 1].strip()[:80] if line and line <= len(text.splitlines()) else ""
        raise DaemonJsonError("{0}: {1}{2}".format(path, error, ", near: " + near if near else "")) from error


def backup(path, text):
    """Return where a copy of the file as it was is kept: one for each content, however often a run is cut off."""
    return "{0}.{1}~".format(path, hashlib.sha256(text.encode()).hexdigest()[:12])


def merge(have, want):
    """Return `have` with `want` merged in: objects key by key, lists united (theirs first), the rest replaced."""
    out = dict(have)
    for key, value in want.items():
        old = out.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            out[key] = merge(old, value)
        elif isinstance(old, list) and isinstance(value, list) and key != "args":
            out[key] = old + [item for item in value if item not in old]
        else:
            out[key] = value
    return out


def changed_keys(before, after):
    """Return the dotted keys (features one level deeper) that differ, sorted."""
    keys = []
    for key in sorted(set(before) | set(after)):
        if before.get(key) == after.get(key) and (key in before) == (key in after):
            continue
        old, new = before.get(key), after.get(key)
        if key == "features" and isinstance(new, dict) and isinstance(old or {}, dict):
            old = old or {}
            keys.extend("features." + name for name in sorted(set(old) | set(new)) if old.get(name) != new.get(name))
        else:
            keys.append(key)
    return keys


def needs_restart(keys, engine_version=None):
    """Return those of `keys` that a reload doesn't bring into effect."""
    return [key for key in keys if effect(key, engine_version) != "reload"]


def effect(key, engine_version=None):
    """Return what a key needs on this engine; one that nobody listed, or no known engine: the heaviest."""
    rows = EFFECTS.get(key) or EFFECTS.get(key.split(".")[0]) or [((0,), "restart_idle")]
    version = version_tuple(engine_version)
    if version is None:
        return max((found for _since, found in rows), key=("reload", "restart", "restart_idle").index)
    return [found for since, found in rows if version >= since[:2]][-1]


def waiting(want, info):
    """Return the keys of `want` that wait for a restart if they were written after the daemon started."""
    late = needs_restart(changed_keys({}, want), info.get("ServerVersion"))
    return [key for key in late if not (key == "features.cdi" and info.get("CDISpecDirs"))]


def engine_started(config):
    """When dockerd started, seconds since 1970: it writes its pid file then. None where there's none."""
    for path in (config.get("pidfile"), "/var/run/docker.pid", "/run/snap.docker/docker.pid"):
        try:
            return round(os.stat(path).st_mtime, 3)
        except (OSError, TypeError):
            continue
    return None


def _mirror(url):
    return str(url).rstrip("/")


def pending(want, info):
    """Return the keys of `want` that the running daemon (`docker info`) doesn't show yet: written, not in effect."""
    keys = []
    registry = info.get("RegistryConfig") or {}
    for key, value in want.items():
        if key == "runtimes":
            if any(name not in (info.get("Runtimes") or {}) for name in value):
                keys.append(key)
        elif key == "default-runtime":
            if info.get("DefaultRuntime") != value:
                keys.append(key)
        elif key == "live-restore":
            if info.get("LiveRestoreEnabled") is not value:
                keys.append(key)
        elif key == "registry-mirrors":
            shown = {_mirror(url) for url in registry.get("Mirrors") or []}
            if any(_mirror(url) not in shown for url in value):
                keys.append(key)
        elif key == "insecure-registries":
            shown = set(registry.get("InsecureRegistryCIDRs") or [])
            shown.update(n for n, c in (registry.get("IndexConfigs") or {}).items() if not c.get("Secure", True))
            if any(entry not in shown for entry in value):
                keys.append(key)
        elif key == "features" and isinstance(value, dict) and value.get("cdi"):
            knows_cdi = (version_tuple(info.get("ServerVersion")) or (0,)) >= (25,)
            if knows_cdi and not info.get("CDISpecDirs"):
                keys.append("features.cdi")
    return sorted(keys)


def dump(data):
    """Return the text for the file: two spaces, keys in the order they came."""
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"
