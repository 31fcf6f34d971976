"""Ask a registry about images: the OCI distribution API, through oras (token or basic login, docker's own logins)."""

import hashlib
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

MISSING = "python3 -m pip install 'oras>=0.2.38'"
DOCKER_HUB = ("docker.io", "index.docker.io")
DOCKER_HUB_API = "registry-1.docker.io"  # the name docker.io is spoken to under
LOOPBACK = ("localhost", "127.", "[::1]")
INDEX = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
MANIFEST = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
ARCH = {"amd64": "x86_64", "arm64": "aarch64"}
BLOB_LIMIT = 4 * 1024 * 1024  # an image's configuration is a few KB


class RegistryError(Exception):
    """A registry that can't be asked: `kind` is missing, denied, limited, unreachable or odd."""

    def __init__(self, kind: str, message: str, retry_after: float | None = None):
        super().__init__(message)
        self.kind = kind
        self.retry_after = retry_after


@dataclass(slots=True)
class Found:
    """What a registry has under a tag."""

    digest: str
    media_type: str
    platforms: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    compressed_gb: float | None = None


@dataclass(frozen=True, slots=True)
class Base:
    """A registry as one writes it: `docker.io`, `127.0.0.1:5000`, `https://mirror.example/hub`."""

    host: str
    prefix: str
    insecure: bool

    @classmethod
    def of(cls, text: str) -> "Base":
        """Read it; a loopback address is spoken to without TLS, as Docker does."""
        scheme, separator, rest = text.partition("://")
        if not separator:
            rest, scheme = text, "http" if text.startswith(LOOPBACK) else "https"
        split = urlsplit(f"{scheme}://{rest}")
        if scheme not in ("http", "https") or not split.hostname or split.query or split.username:
            raise ValueError(f"found {text!r}, needed a registry such as 127.0.0.1:5000 or https://mirror.example/hub")
        host = DOCKER_HUB_API if split.netloc in DOCKER_HUB else split.netloc
        return cls(host, split.path.strip("/"), scheme == "http")


class Client:
    """One registry. It waits where the registry asks it to (`Retry-After`), at most `max_wait` seconds in all."""

    def __init__(
        self,
        base: Base,
        timeout: float = 30,
        max_wait: float = 60,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
    ):
        self.base, self.timeout, self.left = base, timeout, max_wait
        self._sleep, self._clock = sleep, clock
        self._backend: str | None = None
        self._registries: dict[str, Any] = {}
        self._limited: RegistryError | None = None

    def digest(self, name: str, tag: str) -> tuple[str | None, str]:
        """(digest, media type) of a tag, by HEAD: Docker Hub doesn't count those as pulls. The digest may be None."""
        answer = self._ask(name, f"manifests/{tag}", "HEAD", INDEX + MANIFEST)
        return answer.headers.get("Docker-Content-Digest"), _media_type(answer)

    def look(self, name: str, tag: str, arch: str = "amd64") -> Found:
        """Everything about a tag: digest, platforms, and the labels and download of the image for `arch`."""
        answer = self._ask(name, f"manifests/{tag}", "GET", INDEX + MANIFEST)
        digest = answer.headers.get("Docker-Content-Digest") or f"sha256:{hashlib.sha256(answer.content).hexdigest()}"
        content, media_type = _json(answer), _media_type(answer)
        found = Found(digest, media_type)
        if media_type in INDEX or "manifests" in content:
            entries = [entry for entry in content.get("manifests") or [] if isinstance(entry, dict)]
            places = [(entry, entry.get("platform") or {}) for entry in entries]
            places = [(entry, place) for entry, place in places if place.get("os") not in (None, "unknown")]
            found.platforms = list(dict.fromkeys(_platform(place) for _, place in places))
            fits = [
                entry for entry, place in places if place.get("os") == "linux" and place.get("architecture") == arch
            ]
            if not fits:
                return found
            content = _json(self._ask(name, f"manifests/{fits[0].get('digest')}", "GET", MANIFEST))
        self._image(name, content, found)
        return found

    def _image(self, name: str, manifest: dict[str, Any], found: Found) -> None:
        """Size, labels and (where no index said it) platform of one image."""
        config = manifest.get("config") or {}
        layers = [layer for layer in manifest.get("layers") or [] if isinstance(layer, dict)]
        sizes = [part.get("size") for part in [*layers, config]]
        if layers and all(isinstance(size, int) for size in sizes):
            found.compressed_gb = max(round(sum(sizes) / 1e9, 2), 0.01)
        if config.get("digest") and config.get("size", 0) <= BLOB_LIMIT:
            about = _json(self._ask(name, f"blobs/{config['digest']}", "GET", ()))
            if not found.platforms and about.get("os"):
                found.platforms = [_platform(about)]
            labels = (about.get("config") or {}).get("Labels") or {}
            found.labels = {str(key): str(value) for key, value in labels.items()}

    def _ask(self, name: str, path: str, method: str, accept: tuple[str, ...]) -> Any:
        """One request; waits and asks again where the registry says so."""
        if self._limited:
            raise self._limited
        full = "/".join(part for part in (self.base.prefix, name) if part)
        scheme = "http" if self.base.insecure else "https"
        url = f"{scheme}://{self.base.host}/v2/{full}/{path}"
        while True:
            answer = self._send(full, url, method, {"Accept": ", ".join(accept)} if accept else {})
            if answer.status_code < 300:
                return answer
            error = _refusal(answer, f"{self.base.host}/{full} {path}", self._clock())
            if error.kind != "limited":
                raise error
            wait = error.retry_after if error.retry_after is not None else 5.0
            if wait > self.left:
                self._limited = error
                raise error
            self.left -= max(wait, 0.5)
            self._sleep(wait)

    def _send(self, full: str, url: str, method: str, headers: dict[str, str]) -> Any:
        import requests

        registry = self._registry(full)
        # without oras's own retries: two minutes for a registry that isn't there
        request = type(registry).do_request.__wrapped__
        try:
            answer = request(registry, url, method, headers=dict(headers))
            if answer.status_code == 401 and getattr(registry.auth, "token", None):
                registry.auth.token = None  # expired: oras would send it for ever
                answer = request(registry, url, method, headers=dict(headers))
            return answer
        except requests.exceptions.SSLError as error:
            raise RegistryError("unreachable", f"{self.base.host}: TLS failed: {_why(error)}") from None
        except requests.exceptions.RequestException as error:
            raise RegistryError("unreachable", f"{self.base.host}: no answer: {_why(error)}") from None
        except (ValueError, AttributeError):  # oras, where it has no login to answer with
            raise RegistryError("denied", f"{self.base.host}/{full}: the registry wants a login") from None

    def _registry(self, full: str) -> Any:
        """oras's client for one repository: it keeps one token, and a token is for one repository."""
        if full not in self._registries:
            try:
                import oras.container
                import oras.provider
                from requests.adapters import HTTPAdapter
            except ImportError:
                raise RegistryError("odd", f"the Python package oras is missing. Run: {MISSING}") from None
            logging.getLogger("oras").setLevel(logging.CRITICAL)
            timeout = self.timeout

            class Adapter(HTTPAdapter):
                def send(self, request: Any, **kwargs: Any) -> Any:
                    return super().send(request, **{**kwargs, "timeout": kwargs.get("timeout") or timeout})

            def make(backend: str) -> Any:
                made = oras.provider.Registry(self.base.host, insecure=self.base.insecure, auth_backend=backend)
                for scheme in ("http://", "https://"):
                    made.session.mount(scheme, Adapter())
                return made

            if self._backend is None:
                self._backend = self._which(make("token"))
            registry = make(self._backend)
            host = DOCKER_HUB[0] if self.base.host == DOCKER_HUB_API else self.base.host
            registry.auth.load_configs(oras.container.Container(f"{host}/{full}"))
            self._registries[full] = registry
        return self._registries[full]

    def _which(self, registry: Any) -> str:
        """`basic` where the registry asks for a password itself, else `token`."""
        import requests

        try:
            answer = registry.session.get(f"{registry.prefix}://{self.base.host}/v2/")
        except requests.exceptions.RequestException as error:
            raise RegistryError("unreachable", f"{self.base.host}: no answer: {_why(error)}") from None
        return "basic" if answer.headers.get("WWW-Authenticate", "").lower().startswith("basic") else "token"


def _refusal(answer: Any, where: str, now: float) -> RegistryError:
    code = answer.status_code
    if code == 404:
        return RegistryError("missing", f"{where}: not there (404)")
    if code in (401, 403):
        return RegistryError("denied", f"{where}: refused ({code}): log in with `docker login`, or check the name")
    if code in (429, 503):
        after = retry_after(answer.headers.get("Retry-After"), now)
        told = "" if after is None else f", which asks for {after:.0f} s of patience"
        return RegistryError("limited", f"{where}: too many requests for the registry ({code}){told}", after)
    return RegistryError("odd", f"{where}: the registry answered {code}")


def retry_after(text: str | None, now: float) -> float | None:
    """Seconds to wait: the header holds seconds or a date."""
    if not text:
        return None
    if text.strip().isascii() and text.strip().isdigit():
        return float(text)
    try:
        return max(parsedate_to_datetime(text).timestamp() - now, 0.0)
    except (TypeError, ValueError):
        return None


def _media_type(answer: Any) -> str:
    return answer.headers.get("Content-Type", "").partition(";")[0].strip()


def _json(answer: Any) -> dict[str, Any]:
    try:
        content = json.loads(answer.content)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise RegistryError("odd", f"{urlsplit(answer.url).netloc}: the answer isn't a JSON object")
    return content


def _platform(place: dict[str, Any]) -> str:
    return "/".join(str(place[key]) for key in ("os", "architecture", "variant") if place.get(key))


def _why(error: Exception) -> str:
    """The innermost reason of requests' nested exceptions."""
    reason: Any = error
    while getattr(reason, "args", None) and isinstance(reason.args[0], Exception):
        reason = reason.args[0]
    text = str(getattr(reason, "reason", None) or reason)
    return " ".join(text.split())[-200:]
