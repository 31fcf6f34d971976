"""The one registry client: what it trusts, and whom it gives a login."""

import json
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from ansible.module_utils.verl_container import preflight, registry, web

from tests.unit.catalog.registry_server import MANIFEST, Registry, digest_of

LOGIN = {"username": "u", "password": "secret-9"}
BASIC = "Basic dTpzZWNyZXQtOQ=="


class Answers(BaseHTTPRequestHandler):
    """A registry that says what its server's `say` says; keeps what it was asked and with which login."""

    def log_message(self, *args):
        """Be quiet."""

    def do_GET(self):
        """Answer."""
        given = self.headers.get("Authorization", "")
        self.server.seen.append((self.path, given))
        status, headers, body = self.server.say(self.path, given)
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1 that nobody trusts, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", "key.pem",
         "-out", "cert.pem", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture
def serve(certificate):
    """Serve `say(path, authorization) -> (status, headers, body)`, with TLS or without."""
    running = []

    def start(say, tls=True):
        server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        server.say, server.seen = say, []
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        server.address = f"127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        running.append(server)
        return server

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


@pytest.fixture
def elsewhere(monkeypatch):
    """Servers of this test count as other machines: nothing is loopback."""
    monkeypatch.setattr(registry, "loopback", lambda address: False)


def image(path, given=""):
    """One image under every name."""
    config = json.dumps({"os": "linux", "architecture": "amd64"}).encode()
    about = {"mediaType": MANIFEST, "config": {"digest": digest_of(config), "size": 1}, "layers": []}
    body = config if "/blobs/" in path else json.dumps(about).encode()
    return 200, {"Content-Type": MANIFEST, "Docker-Content-Digest": digest_of(body)}, body


def wants_token(realm):
    """A registry that sends to `realm` for its token, and takes `t`."""

    def say(path, given):
        if path.startswith("/token"):
            return 200, {}, b'{"token": "t"}'
        if given != "Bearer t":
            return 401, {"WWW-Authenticate": f'Bearer realm="{realm}",service="s",scope="x"'}, b""
        return image(path)

    return say


def client(server, **options):
    return registry.Registry(server.address, timeout=5, attempts=1, **options)


def test_a_wrong_certificate_never_ends_in_http(serve, elsewhere):
    server = serve(image)
    with pytest.raises(registry.RegistryError, match="certificate is not trusted") as caught:
        client(server, login=LOGIN).digest("verlai/verl", "x")
    assert caught.value.kind == "unreachable"
    assert server.seen == []


def test_a_registry_without_tls_gets_no_request_in_the_clear(serve, elsewhere):
    server = serve(image, tls=False)
    with pytest.raises(registry.RegistryError, match="doesn't speak TLS"):
        client(server, login=LOGIN).manifest("verlai/verl", "x")
    assert server.seen == []


@pytest.mark.parametrize("named", ["{}", "127.0.0.0/8"])
@pytest.mark.parametrize("tls", [True, False])
def test_a_registry_that_the_operator_named_insecure(serve, elsewhere, named, tls):
    server = serve(image, tls=tls)
    found = client(server, insecure=[named.format(server.address)]).manifest("verlai/verl", "x")
    assert registry.is_digest(found["digest"])


def test_its_certificate_is_trusted_where_docker_looks(serve, elsewhere, certificate, tmp_path, monkeypatch):
    server = serve(image)
    monkeypatch.setattr(registry, "CERTIFICATES", str(tmp_path))
    (tmp_path / server.address).mkdir()
    (tmp_path / server.address / "ca.crt").write_bytes(certificate[0].read_bytes())
    assert client(server).digest("verlai/verl", "x")


def trusted(monkeypatch, certificate):
    """Let every client trust the test's certificate."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))


def test_a_login_goes_to_no_foreign_token_service(serve, elsewhere, certificate, monkeypatch):
    """The token is fetched there without it, as a mirror of Docker Hub answers with the Hub's service."""
    trusted(monkeypatch, certificate)
    service = serve(wants_token(""))
    server = serve(wants_token(f"https://{service.address}/token"))
    monkeypatch.setattr(registry, "host_of", lambda address: "registry.example.org")
    assert client(server, login=LOGIN).digest("verlai/verl", "x")
    assert [given for path, given in service.seen] == [""]
    assert not any("Basic" in given for path, given in server.seen)


@pytest.mark.parametrize("realm", ["127.0.0.1", "auth.example.org, {}"])
def test_the_operator_may_name_the_token_service(serve, elsewhere, certificate, monkeypatch, realm):
    trusted(monkeypatch, certificate)
    service = serve(wants_token(""))
    server = serve(wants_token(f"https://{service.address}/token"))
    monkeypatch.setattr(registry, "host_of", lambda address: "registry.example.org")
    login = {**LOGIN, "realm": realm.format(service.address)}
    assert client(server, login=login).digest("verlai/verl", "x")
    assert [given for path, given in service.seen] == [BASIC]


def test_a_refusal_says_that_the_login_was_kept_back(serve, elsewhere, certificate, monkeypatch):
    trusted(monkeypatch, certificate)
    service = serve(lambda path, given: (401, {}, b""))
    server = serve(wants_token(f"https://{service.address}/token"))
    monkeypatch.setattr(registry, "host_of", lambda address: "registry.example.org")
    with pytest.raises(registry.RegistryError, match="did not get the login") as caught:
        client(server, login=LOGIN).digest("verlai/verl", "x")
    assert "secret-9" not in str(caught.value)


def test_a_token_service_without_tls_is_not_asked(serve, elsewhere, certificate, monkeypatch):
    trusted(monkeypatch, certificate)
    service = serve(wants_token(""), tls=False)
    server = serve(wants_token(f"http://{service.address}/token"))
    with pytest.raises(registry.RegistryError, match="not https"):
        client(server, login=LOGIN).digest("verlai/verl", "x")
    assert service.seen == []


def test_an_insecure_registry_may_send_to_itself_and_to_nobody_else(serve, elsewhere):
    service = serve(wants_token(""), tls=False)
    server = serve(wants_token("http://{}/token"), tls=False)
    server.say = wants_token(f"http://{server.address}/token")
    assert client(server, insecure=[server.address], login=LOGIN).digest("verlai/verl", "x")
    server.say = wants_token(f"http://{service.address}/token")
    with pytest.raises(registry.RegistryError, match="not https"):
        client(server, insecure=[server.address], login=LOGIN).digest("verlai/verl", "x")
    assert service.seen == []


def test_a_redirect_to_http_is_not_followed(serve, elsewhere, certificate, monkeypatch):
    trusted(monkeypatch, certificate)
    plain = serve(image, tls=False)
    server = serve(lambda path, given: (302, {"Location": f"http://{plain.address}{path}"}, b""))
    with pytest.raises(registry.RegistryError, match="redirects from https"):
        client(server).digest("verlai/verl", "x")
    assert plain.seen == []


@pytest.mark.parametrize(
    ("service", "name", "same"),
    [
        ("auth.docker.io", "docker.io", True), ("evildocker.io", "docker.io", False), ("evil.io", "docker.io", False),
        ("gitlab.com", "registry.gitlab.com", True), ("auth.example.co.uk", "example.co.uk", True),
        ("evil.co.uk", "example.co.uk", False), ("co.uk", "example.co.uk", False), ("com", "example.com", False),
        ("dockerauth.cn-hangzhou.aliyuncs.com", "registry.cn-hangzhou.aliyuncs.com", True),
        ("bucket.oss-cn-hangzhou.aliyuncs.com", "registry.cn-hangzhou.aliyuncs.com", False),
        ("10.0.0.5", "10.0.0.5", True), ("10.0.0.6", "10.0.0.5", False), ("0.0.5", "10.0.0.5", False),
        ("registry", "registry", True), ("x.registry", "registry", False),
    ],
)  # fmt: skip
def test_which_token_services_are_of_a_registrys_domain(service, name, same):
    assert registry.same_site(service, name) is same


@pytest.mark.parametrize(
    ("address", "here"),
    [
        ("localhost:5000", True), ("127.8.0.1:5000", True), ("[::1]:5000", True), ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False), ("10.0.0.1:5000", False),
    ],
)  # fmt: skip
def test_what_is_on_this_machine(address, here):
    assert registry.loopback(address) is here


def test_a_manifest_is_what_its_digest_says(serve):
    other = "sha256:" + "0" * 64
    server = serve(image, tls=False)
    with pytest.raises(registry.RegistryError, match="says") as caught:
        client(server).manifest("verlai/verl", other)
    assert caught.value.kind == "odd"
    with pytest.raises(registry.RegistryError, match="it answers"):
        client(server).digest("verlai/verl", other)


@pytest.mark.parametrize(
    "claimed", ["sha256:x --privileged", "sha256:" + "A" * 64, "sha256:" + "0" * 64 + "0", "md5:1"]
)
def test_a_digest_that_is_none(serve, claimed):
    server = serve(
        lambda path, given: (200, {**image(path)[1], "Docker-Content-Digest": claimed}, image(path)[2]), False
    )
    for ask in (client(server).digest, client(server).manifest):
        with pytest.raises(registry.RegistryError) as caught:
            ask("verlai/verl", "x")
        assert caught.value.kind == "odd"


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b"[" * 100000, b'{"config": [], "layers": 3, "manifests": {}}'])
def test_a_manifest_that_is_none(serve, body):
    server = serve(lambda path, given: (200, {"Content-Type": MANIFEST}, body), tls=False)
    try:
        found = client(server).manifest("verlai/verl", "x")
    except registry.RegistryError as error:
        assert error.kind == "odd"
    else:
        assert found["platforms"] == []


def test_patience_is_kept_within_its_bound():
    with Registry(auth=None) as server:
        server.add("verlai/verl:x")
        slept = []
        server.limits = ["7", "3600"]
        waits = web.Patience(60, slept.append)
        with pytest.raises(registry.RegistryError, match="3600 s of patience") as caught:
            registry.Registry(server.base, patience=waits).digest("verlai/verl", "x")
        assert (slept, caught.value.kind, caught.value.retry_after) == ([7.0], "limited", 3600.0)


def test_who_is_named_insecure_on_a_host(tmp_path, monkeypatch):
    docker, rootless, podman = tmp_path / "daemon.json", tmp_path / "rootless.json", tmp_path / "registries.conf"
    docker.write_text('{"insecure-registries": ["a:5000", 3], "registry-mirrors": ["http://m:1"]}')
    rootless.write_text('{"insecure-registries": ["b:5000"], "registry-mirrors": ["http://n:1"]}')
    podman.write_text(
        'unqualified-search-registries = ["docker.io"]\n[[registry]]\nlocation = "c:5000/verl"\ninsecure = true\n'
        '[[registry]]\nlocation = "d:5000"\n[[registry.mirror]]\nlocation = "e:5000"\ninsecure = false\n'
    )
    monkeypatch.setattr(preflight, "DAEMON_JSON", (str(docker), str(rootless), str(tmp_path / "none.json")))
    monkeypatch.setattr(preflight, "REGISTRIES_CONF", (str(podman),))
    assert preflight.insecure_registries() == ["a:5000", "b:5000", "c:5000"]
    assert preflight.daemon_json("registry-mirrors") == ["http://m:1", "http://n:1"]
    docker.write_text("[]")
    assert preflight.insecure_registries() == ["b:5000", "c:5000"]
