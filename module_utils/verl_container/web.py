"""HTTP with the standard library: retries for what passes, sentences for what doesn't."""

import random
import socket
import ssl
import time
import urllib.error
import urllib.request

from ansible.module_utils.verl_access import proxy

PASSING = (429, 500, 502, 503, 504)


class WebError(Exception):
    """Nothing usable came back; `status` is the HTTP status where there was one."""

    def __init__(self, message, status=None, headers=None):
        super().__init__(message)
        self.status = status
        self.headers = headers or {}


class Answer:
    """What came back."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body


class _KeepLogin(urllib.request.HTTPRedirectHandler):
    """Follows redirects without taking the registry's login to another host."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        if new is not None and new.host != req.host:
            new.headers.pop("Authorization", None)
            new.unredirected_hdrs.pop("Authorization", None)
        return new


def reason(error):
    """Return an error's reason in words."""
    inner = getattr(error, "reason", error)
    if isinstance(inner, socket.gaierror):
        return "the name can't be resolved"
    if isinstance(inner, (socket.timeout, TimeoutError)):
        return "no answer in time"
    if isinstance(inner, ConnectionRefusedError):
        return "connection refused"
    return str(inner)


def get(url, headers=None, timeout=20, attempts=5, method="GET", limit=64 * 1024 * 1024, sleep=time.sleep, ca=None):
    """Fetch a URL; raises WebError. Statuses that pass are tried again. `ca` is a file to trust besides.

    `sleep` waits between tries; a test gives its own.
    """
    context = ssl.create_default_context()
    if ca:
        context.load_verify_locations(ca)
    direct = [urllib.request.ProxyHandler({})] if proxy.bypassed(url) else []
    opener = urllib.request.build_opener(_KeepLogin(), urllib.request.HTTPSHandler(context=context), *direct)
    for attempt in range(1, attempts + 1):
        request = urllib.request.Request(url, headers=dict(headers or {}), method=method)
        request.add_header("User-Agent", "verl-provision")
        try:
            with opener.open(request, timeout=timeout) as response:
                return Answer(response.status, response.headers, response.read(limit))
        except urllib.error.HTTPError as error:
            if error.code not in PASSING or attempt == attempts:
                raise WebError("HTTP {0}".format(error.code), error.code, error.headers) from error
            wait = error.headers.get("Retry-After", "")
            pause = min(int(wait), 30) if wait.isdigit() else attempt * 2 * random.uniform(0.5, 1.5)
        except (urllib.error.URLError, OSError, ValueError) as error:
            last = isinstance(getattr(error, "reason", error), (ssl.SSLError, socket.gaierror, ConnectionRefusedError))
            if last or isinstance(error, ValueError) or attempt == attempts:
                raise WebError(reason(error)) from error
            pause = attempt * random.uniform(0.5, 1.5)
        sleep(pause)
    raise WebError("no answer")
