"""Ways to the outside that ask for a login or count: a proxy and a mirror on this machine, a registry in the lab."""

import base64
import contextlib
import io
import select
import socket
import sys
import tarfile
import threading
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import docker
import requests

from lab import engine, machine, network, settings, topology
from lab.build import rootfs
from lab.waiting import until

HOP = ("proxy-authorization", "proxy-connection", "connection", "keep-alive", "transfer-encoding", "upgrade")


class _Forward(BaseHTTPRequestHandler):
    """CONNECT and plain http, with Basic authentication; what was asked for is counted by host."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def _refused(self) -> bool:
        if self.server.basic is None or self.headers.get("Proxy-Authorization") == self.server.basic:
            return False
        self.server.refused += 1
        self.close_connection = True
        self.send_response(407)
        self.send_header("Proxy-Authenticate", 'Basic realm="lab"')
        self.send_header("Content-Length", "0")
        self.end_headers()
        return True

    def do_CONNECT(self):
        """A tunnel."""
        if self._refused():
            return
        host, _, port = self.path.rpartition(":")
        self.server.counts[host] += 1
        try:
            upstream = socket.create_connection((host.strip("[]"), int(port)), timeout=30)
        except OSError:
            self.send_error(502)
            return
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        ends = {self.connection: upstream, upstream: self.connection}
        with upstream, contextlib.suppress(OSError):
            while True:
                readable, _, _ = select.select(list(ends), [], [], 120)
                for end in readable:
                    data = end.recv(1 << 16)
                    if not data:
                        return
                    ends[end].sendall(data)
                if not readable:
                    return

    def _plain(self):
        if self._refused():
            return
        parts = urllib.parse.urlsplit(self.path)
        self.server.counts[parts.hostname] += 1
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
        upstream = HTTPConnection(parts.hostname, parts.port or 80, timeout=120)
        self.close_connection = True
        with contextlib.closing(upstream), contextlib.suppress(OSError):
            path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
            upstream.request(self.command, path, body=body, headers=headers)
            answer = upstream.getresponse()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in HOP:
                    self.send_header(name, value)
            self.send_header("Connection", "close")
            self.end_headers()
            while block := answer.read(1 << 16):
                self.wfile.write(block)

    do_GET = do_HEAD = do_POST = _plain


class Proxy(ThreadingHTTPServer):
    """A forward proxy; `counts` has the requests by host, `refused` those without the login."""

    daemon_threads = True

    def __init__(self, username: str | None = None, password: str = ""):
        super().__init__((network.address(1), 0), _Forward)
        pair = base64.b64encode(f"{username}:{password}".encode()).decode()
        self.basic = f"Basic {pair}" if username else None
        self.counts: Counter = Counter()
        self.refused = 0
        self.url = f"http://{self.server_address[0]}:{self.server_port}"

    def handle_error(self, request, client_address):
        """A client that goes away is nobody's fault."""


@contextlib.contextmanager
def proxy(username: str | None = None, password: str = "") -> Iterator[Proxy]:
    """A proxy that runs."""
    server = Proxy(username, password)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class _Mirror(BaseHTTPRequestHandler):
    """Files that the test gave, and below /simple the package index that this machine's pip uses."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.asked.append(self.path)
        status, kind, body = 404, "text/plain", b"not here\n"
        if self.path in self.server.files:
            status, kind, body = 200, "application/octet-stream", self.server.files[self.path]
        elif self.path.startswith("/simple/"):
            url = f"{package_index()}/{self.path.removeprefix('/simple/')}"
            answer = requests.get(url, headers={"Accept": self.headers.get("Accept", "*/*")}, timeout=120)
            # Links of the index may be relative to where it is.
            body = answer.content.replace(b"<head>", f'<head><base href="{answer.url}">'.encode(), 1)
            status, kind = answer.status_code, answer.headers["Content-Type"]
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET


class Mirror(ThreadingHTTPServer):
    """A site's own mirror: `files` has what lies at which path, `asked` the paths of the requests."""

    daemon_threads = True

    def __init__(self):
        super().__init__((network.address(1), 0), _Mirror)
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.url = f"http://{self.server_address[0]}:{self.server_port}"


@contextlib.contextmanager
def mirror() -> Iterator[Mirror]:
    """A mirror that runs."""
    server = Mirror()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def package_index() -> str:
    """The index that this machine's pip asks: of its settings, or pip's own."""
    own = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"
    return (machine.pip_settings().get("index-url") or machine.output(sys.executable, "-c", own).strip()).rstrip("/")


CONFIG = """version: 0.1
log: {level: warn}
storage:
  filesystem: {rootdirectory: /var/lib/registry}
  maintenance: {readonly: {enabled: true}}
http: {addr: ":5000"}
auth:
  htpasswd: {realm: lab, path: /htpasswd}
"""


@contextlib.contextmanager
def locked_registry(username: str, password: str, last: int = 12) -> Iterator[str]:
    """The lab's images once more, behind a login; gives HOST:PORT."""
    client = engine.client()
    name = f"{settings.NETWORK}-locked"
    with contextlib.suppress(docker.errors.NotFound):
        client.containers.get(name).remove(force=True)
    container = client.containers.create(
        rootfs.image("services"),
        ["docker-registry", "serve", "/locked.yml"],
        name=name,
        hostname="locked",
        labels=settings.OURS,
        volumes={topology.REGISTRY: {"bind": "/var/lib/registry", "mode": "ro"}},
        **network.attach(last),
    )
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path, text in {"locked.yml": CONFIG, "htpasswd": f"{username}:{_bcrypt(password)}\n"}.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    client.api.put_archive(container.id, "/", packed.getvalue())
    container.start()
    address = f"{network.address(last)}:5000"

    def answers() -> bool:
        try:
            return requests.get(f"http://{address}/v2/", timeout=2).status_code == 401
        except requests.RequestException:
            return False

    try:
        until("the locked registry to answer", answers, 30)
        yield address
    finally:
        container.remove(force=True)


def _bcrypt(password: str) -> str:
    """The only hash that the registry takes; the lab's own Debian has it."""
    words = ["perl", "-e", "print crypt(shift, '$2b$05$' . 'x' x 21 . 'u')", password]
    return engine.client().containers.get(topology.WEB).exec_run(words).output.decode()
