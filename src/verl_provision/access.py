"""How a host gets at what it fetches: its proxy, its logins, its token; and whether it has that token already."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

from verl_provision import secrets, wishes
from verl_provision.plain import to_plain

TOKEN = "verl_huggingface_token"
WISHES = ("verl_proxy", "verl_no_proxy", "verl_no_log")


def of(variables: Mapping[str, Any]) -> dict[str, Any]:
    """`{proxy, registry_logins, huggingface_token, no_log}` of a host. It holds secrets: never keep it."""
    raw = {name: to_plain(variables[name]) for name in (*secrets.names(), *WISHES) if name in variables}
    wanted, _ = wishes.parse({name: value for name, value in raw.items() if name in WISHES})
    given, _ = secrets.check(raw)
    proxy = {}
    if wanted["verl_proxy"]:
        proxy = {"url": wanted["verl_proxy"].rstrip("/"), "no_proxy": wanted["verl_no_proxy"]}
        proxy |= raw["verl_proxy_login"] if "verl_proxy_login" in given else {}
    return {
        "proxy": proxy,
        "registry_logins": raw["verl_registry_logins"] if "verl_registry_logins" in given else {},
        "huggingface_token": raw[TOKEN] if TOKEN in given else "",
        "no_log": bool(given) and wanted["verl_no_log"],
    }


def way(variables: Mapping[str, Any]) -> str:
    """What hosts share that have the same proxy and the same logins. It holds secrets: compare it, never keep it."""
    named = ("verl_proxy", "verl_no_proxy", "verl_proxy_login", "verl_registry_logins")
    return json.dumps({name: to_plain(variables[name]) for name in named if name in variables}, sort_keys=True)


def states(given: list[str], variables: Mapping[str, Any], stamps: Mapping[str, Any]) -> dict[str, str]:
    """For each secret that is given `new` or, where the host's stamp says that it has this very one, `kept`."""
    stamp = stamps.get("huggingface_token")
    kept = TOKEN in given and isinstance(stamp, Mapping) and same(str(to_plain(variables[TOKEN])), stamp)
    return {name: "kept" if name == TOKEN and kept else "new" for name in given}


def same(secret: str, stamp: Mapping[str, Any]) -> bool:
    """Whether a stamp's keyed hash is this secret's."""
    key, found = str(stamp.get("salt") or ""), str(stamp.get("mac") or "")
    return hmac.compare_digest(hmac.new(key.encode(), secret.encode(), hashlib.sha256).hexdigest(), found)
