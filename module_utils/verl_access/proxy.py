"""The proxy of a module's downloads. It gets into the process's own environment: never into an argument."""

import ipaddress
import os
from urllib.parse import quote, urlsplit

ARGUMENT = {
    "type": "dict",
    "default": {},
    "options": {
        "url": {"type": "str", "default": ""},
        "no_proxy": {"type": "list", "elements": "str", "default": []},
        "username": {"type": "str", "default": ""},
        "password": {"type": "str", "default": "", "no_log": True},
    },
}
HERE = ("localhost", "127.0.0.1", "::1")


def address(proxy):
    """Return the proxy's address with its login in it, '' where there is no proxy."""
    url = proxy.get("url") or ""
    if not url or not proxy.get("username"):
        return url
    scheme, _sep, rest = url.partition("://")
    login = "{0}:{1}".format(quote(proxy["username"], safe=""), quote(proxy.get("password") or "", safe=""))
    return "{0}://{1}@{2}".format(scheme, login, rest)


def without(proxy):
    """Return what is reached without the proxy, as the variable no_proxy has it."""
    return ",".join(list(HERE) + [name for name in proxy.get("no_proxy") or [] if name not in HERE])


def environment(proxy):
    """Return the variables that commands and libraries read, {} where there is no proxy."""
    url = address(proxy)
    if not url:
        return {}
    found = {"http_proxy": url, "https_proxy": url, "no_proxy": without(proxy)}
    return dict(found, **{name.upper(): value for name, value in found.items()})


def use(module):
    """Let this process and what it starts use the proxy of the module's parameters."""
    os.environ.update(environment(module.params["proxy"] or {}))


def bypassed(url):
    """Whether a network in no_proxy has the address's host: Python's own urllib knows names only."""
    try:
        host = ipaddress.ip_address(urlsplit(url).hostname or "")
    except ValueError:
        return False
    for name in (os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or "").split(","):
        try:
            if host in ipaddress.ip_network(name.strip(), strict=False):
                return True
        except ValueError:
            continue
    return False
