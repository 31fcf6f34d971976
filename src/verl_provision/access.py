"""How a host gets at what it fetches: its proxy, its logins, its token; and whether it has that token already."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

from verl_provision.plain import to_plain

TOKEN = "verl_huggingface_token"


def of(variables: Mapping[str, Any], host: Mapping[str, Any]) -> dict[str, Any]:
    """`{proxy, registry_logins, huggingface_token, no_log}` of a host of the run. It holds secrets: never keep it.

    `variables` are the inventory's, with the secrets' values; `host` is what the run knows of it.
    """
    values = host["variables"]
    given = {name: to_plain(variables[name]) for name in host["secrets"]}
    proxy = {}
    if values["verl_proxy"]:
        proxy = {"url": values["verl_proxy"].rstrip("/"), "no_proxy": values["verl_no_proxy"]}
        proxy |= given.get("verl_proxy_login", {})
    return {
        "proxy": proxy,
        "registry_logins": given.get("verl_registry_logins", {}),
        "huggingface_token": given.get(TOKEN, ""),
        "no_log": bool(given) and values["verl_no_log"],
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
