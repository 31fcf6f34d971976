"""A small OCI registry in this process: token authentication, 404, 429 with Retry-After, multi-platform indexes."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Registry(ThreadingHTTPServer):
    """`with Registry() as registry:`; `registry.base` is its address."""

    daemon_threads = True

    def __init__(self, auth: str | None = "token"):
        super().__init__(("127.0.0.1", 0), Handler)
        self.auth = auth
        self.blobs: dict[tuple[str, str], bytes] = {}
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.limits: list[str] = []  # Retry-After values of the next answers
        self.requests: list[tuple[str, str]] = []
        self.tokens: list[str] = []
        self.without_digest = False
        self.built: dict[str, Any] = {}  # `Env` and `history` of the images that are added

    @property
    def base(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> "Registry":
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def add(
        self, ref: str, arch: str = "amd64", layers: tuple[int, ...] = (7_000_000_000, 5_000_000_000), **labels: str
    ) -> str:
        """Put an image under repository:tag; returns its digest. Layers are only numbers: nobody pulls them."""
        name, _, tag = ref.partition(":")
        media_type, content = self.image(name, arch, layers, labels)
        return self._tag(name, tag, media_type, content)

    def add_index(self, ref: str, arches: tuple[str, ...] = ("amd64", "arm64")) -> str:
        """Put a multi-platform image, with an attestation beside it as buildkit makes them."""
        name, _, tag = ref.partition(":")
        entries = []
        for arch in arches:
            media_type, content = self.image(name, arch, (3_000_000_000,), {"arch": arch})
            digest = self._tag(name, digest_of(content), media_type, content)
            entries.append(
                {
                    "mediaType": media_type,
                    "digest": digest,
                    "size": len(content),
                    "platform": {"os": "linux", "architecture": arch},
                }
            )
        entries.append(
            {
                "mediaType": MANIFEST,
                "digest": digest_of(b"-"),
                "size": 1,
                "platform": {"os": "unknown", "architecture": "unknown"},
            }
        )
        content = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()
        return self._tag(name, tag, INDEX, content)

    def image(self, name: str, arch: str, layers: tuple[int, ...], labels: dict[str, str]) -> tuple[str, bytes]:
        inner = {"Labels": labels or None, "Env": self.built.get("Env")}
        about_it = {"os": "linux", "architecture": arch, "config": inner, "history": self.built.get("history")}
        config = json.dumps(about_it).encode()
        self.blobs[name, digest_of(config)] = config
        parts = [
            {
                "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                "digest": digest_of(b"%d" % size),
                "size": size,
            }
            for size in layers
        ]
        about = {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest_of(config),
            "size": len(config),
        }
        return MANIFEST, json.dumps(
            {"schemaVersion": 2, "mediaType": MANIFEST, "config": about, "layers": parts}
        ).encode()

    def _tag(self, name: str, tag: str, media_type: str, content: bytes) -> str:
        digest = digest_of(content)
        self.manifests[name, tag] = self.manifests[name, digest] = (media_type, content)
        return digest


class Handler(BaseHTTPRequestHandler):
    server: Registry
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        split = urlsplit(self.path)
        self.server.requests.append((self.command, split.path))
        if split.path == "/token":
            scope = parse_qs(split.query)["scope"][0]
            self.server.tokens.append(scope)
            return self._send(200, json.dumps({"token": f"for {scope}"}).encode())
        name, _, rest = split.path.removeprefix("/v2/").rpartition("/")
        name, _, kind = name.rpartition("/")
        if not self._allowed(name):
            return None
        if kind and self.server.limits:
            after = self.server.limits.pop(0)
            return self._send(429, b"{}", **({"Retry-After": after} if after else {}))
        if split.path == "/v2/":
            return self._send(200, b"{}")
        if kind == "blobs" and (name, rest) in self.server.blobs:
            return self._send(200, self.server.blobs[name, rest])
        if kind == "manifests" and (name, rest) in self.server.manifests:
            media_type, content = self.server.manifests[name, rest]
            accepted = self.headers.get("Accept", "")
            if media_type not in accepted:
                return self._send(404, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}')
            more = {} if self.server.without_digest else {"Docker-Content-Digest": digest_of(content)}
            return self._send(200, content, media_type, **more)
        return self._send(404, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}')

    def _allowed(self, name: str) -> bool:
        auth = self.server.auth
        given = self.headers.get("Authorization", "")
        if auth == "token":
            scope = f"repository:{name}:pull"
            if given == f"Bearer for {scope}":
                return True
            challenge = f'Bearer realm="http://{self.server.base}/token",service="test",scope="{scope}"'
        elif auth == "basic":
            if given == "Basic dXNlcjpzZWNyZXQ=":
                return True
            challenge = 'Basic realm="test"'
        else:
            return True
        self._send(401, b'{"errors": [{"code": "UNAUTHORIZED"}]}', **{"WWW-Authenticate": challenge})
        return False

    def _send(self, code: int, content: bytes, media_type: str = "application/json", **headers: str) -> None:
        self.send_response(code)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(content)))
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
