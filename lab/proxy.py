"""A registry that misbehaves: a proxy before the lab's own, on this machine's side of the lab's network."""

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from lab import network

HOP = {"connection", "keep-alive", "transfer-encoding", "host"}  # of one line, never passed on


class Registry:
    """What the proxy does: passes all on, until it's told otherwise."""

    def __init__(self) -> None:
        self.address = ""  # HOST:PORT that lab hosts reach it at
        self.refusals: list[tuple[int, dict[str, str]]] = []  # (status, headers) of the next answers to pulls
        self.refused: list[int] = []
        self.carried = 0  # bytes of blobs
        self._limit, self._then = 0, None
        self._lock = threading.Lock()

    def after(self, count: int, then: Callable[[], None]) -> None:
        """Call `then` once, when so many more bytes of blobs went through."""
        with self._lock:
            self._limit, self._then = self.carried + count, then

    def carry(self, size: int) -> None:
        """Count, and do what was to be done then."""
        with self._lock:
            self.carried += size
            then = self._then if self._then and self.carried >= self._limit else None
            if then:
                self._then = None
        if then:
            then()

    def refusal(self, path: str) -> tuple[int, dict[str, str]] | None:
        """The refusal that waits for a request of a manifest or blob."""
        with self._lock:
            if not self.refusals or ("/manifests/" not in path and "/blobs/" not in path):
                return None
            refusal = self.refusals.pop(0)
            self.refused.append(refusal[0])
            return refusal


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: Registry

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        refusal = self.registry.refusal(self.path)
        if refusal:
            self._answer(refusal[0], {**refusal[1], "Content-Length": "0"})
            return
        self.close_connection = True  # whatever happens below, the other side sees it as the registry's
        with suppress(OSError, http.client.HTTPException):
            upstream = http.client.HTTPConnection(network.registry(), timeout=30)
            upstream.putrequest(self.command, self.path, skip_accept_encoding=True)
            for name, value in self.headers.items():  # docker's client gives several Accept headers
                if name.lower() not in HOP:
                    upstream.putheader(name, value)
            upstream.endheaders()
            answer = upstream.getresponse()
            self._answer(answer.status, dict(answer.getheaders()) | {"Connection": "close"})
            while self.command == "GET" and (part := answer.read1(1 << 16)):
                self.wfile.write(part)
                if "/blobs/" in self.path:
                    self.registry.carry(len(part))

    do_HEAD = do_GET

    def _answer(self, status: int, headers: dict[str, str]) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in HOP or name == "Connection":
                self.send_header(name, value)
        self.end_headers()


@contextmanager
def registry() -> Iterator[Registry]:
    """Run the proxy; hosts reach it at `.address`, by plain http."""
    state = Registry()
    handler = type("Handler", (_Handler,), {"registry": state})
    gateway = network.address(1)
    server = ThreadingHTTPServer((gateway, 0), handler)
    server.daemon_threads = True
    state.address = f"{gateway}:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
