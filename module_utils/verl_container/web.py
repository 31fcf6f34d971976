"""HTTP with the standard library: retries for what passes, sentences for what doesn't."""

import http.client
import random
import socket
import ssl
import time
import urllib.error
import urllib.request
from email.utils import parsedate_to_datetime

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


class Patience:
    """How long a server that asks for it (429, 503, `Retry-After`) is waited for, in all."""

    def __init__(self, seconds=60, sleep=time.sleep, clock=time.time):
        self.left, self.sleep, self.clock = seconds, sleep, clock

    def wait(self, seconds):
        """Wait, and say so; don't where it's more than is left."""
        if seconds > self.left:
            return False
        self.left -= max(seconds, 0.5)
        self.sleep(seconds)
        return True


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Takes no login to another host, and nothing from https to http."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise urllib.error.URLError("it redirects from https to {0}".format(newurl.partition("?")[0]))
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
    if isinstance(inner, ssl.SSLCertVerificationError):
        return "its certificate is not trusted: {0}".format(inner.verify_message)
    if isinstance(inner, ssl.SSLError):
        return "it doesn't speak TLS ({0})".format(inner.reason or inner)
    return str(inner)


def retry_after(text, now):
    """Return the seconds that a Retry-After header (seconds or a date) asks for, None where it says nothing."""
    text = (text or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(parsedate_to_datetime(text).timestamp() - now, 0.0)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def get(
    url,
    headers=None,
    timeout=20,
    attempts=5,
    method="GET",
    limit=64 * 1024 * 1024,
    ca=None,
    verify=True,
    patience=None,
):
    """Fetch a URL; raises WebError. Statuses that pass are tried again, as long as `patience` lasts.

    `ca` is a file to trust besides. Without `verify` any certificate will do: only where the operator named the server
    insecure.
    """
    patience = patience or Patience()
    context = ssl.create_default_context()
    if ca:
        context.load_verify_locations(ca)
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    direct = [urllib.request.ProxyHandler({})] if proxy.bypassed(url) else []
    opener = urllib.request.build_opener(_Redirects(), urllib.request.HTTPSHandler(context=context), *direct)
    for attempt in range(1, attempts + 1):
        request = urllib.request.Request(url, headers=dict(headers or {}), method=method)
        request.add_header("User-Agent", "verl-provision")
        try:
            with opener.open(request, timeout=timeout) as response:
                return Answer(response.status, response.headers, response.read(limit))
        except urllib.error.HTTPError as error:
            failed = WebError("HTTP {0}".format(error.code), error.code, error.headers)
            if error.code not in PASSING:
                raise failed from error
            pause = retry_after(error.headers.get("Retry-After"), patience.clock())
            if pause is None:
                pause = attempt * 2 * random.uniform(0.5, 1.5)
        except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
            inner = getattr(error, "reason", error)
            failed = WebError(reason(error))
            if isinstance(inner, (ssl.SSLError, socket.gaierror, ConnectionRefusedError, ValueError, str)):
                raise failed from error
            pause = attempt * random.uniform(0.5, 1.5)
        if attempt == attempts or not patience.wait(pause):
            raise failed
    raise WebError("no answer")
