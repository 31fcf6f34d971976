"""verl_preflight against a server of our own: registry, packages, keys, git, and their faults."""

import gzip
import hashlib
import json
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

CONFIG = json.dumps({"os": "linux", "architecture": "amd64"}).encode()
CONFIG_DIGEST = "sha256:" + hashlib.sha256(CONFIG).hexdigest()
MANIFEST = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {"digest": CONFIG_DIGEST, "size": len(CONFIG)},
        "layers": [{"size": 1000}, {"size": 2000}],
    }
).encode()
LIST = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [
            {"platform": {"os": "linux", "architecture": "arm64"}},
            {"platform": {"os": "unknown", "architecture": "unknown"}},
        ],
    }
).encode()
DIGEST = "sha256:" + hashlib.sha256(MANIFEST).hexdigest()
PACKAGES = "Package: nvidia-container-toolkit\nVersion: 1.20.0-1\n\nPackage: other\nVersion: 2\n"
COMMIT = "c" * 40


class Handler(BaseHTTPRequestHandler):
    """The server; `server.faults` holds statuses to answer first, by path prefix."""

    def log_message(self, *args):
        """Be quiet."""

    def answer(self, status, body=b"", **headers):
        """Send one answer."""
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        """Answer."""
        self.server.seen.append(self.path)
        for prefix, statuses in self.server.faults.items():
            if self.path.startswith(prefix) and statuses:
                return self.answer(statuses.pop(0), Retry_After="0")
        if self.path.startswith("/token"):
            assert "scope=repository%3Averlai%2Fverl%3Apull" in self.path
            return self.answer(200, b'{"token": "t0"}')
        if self.path.startswith("/v2/verlai/verl/") and self.headers.get("Authorization") != "Bearer t0":
            challenge = (
                f'Bearer realm="http://{self.headers["Host"]}/token",service="r",scope="repository:verlai/verl:pull"'
            )
            return self.answer(401, WWW_Authenticate=challenge)
        if self.path in (
            f"/v2/{name}/manifests/{tag}" for name in ("verlai/verl", "open/verl") for tag in ("x", DIGEST)
        ):
            return self.answer(200, MANIFEST, Docker_Content_Digest=DIGEST)
        if self.path == "/v2/open/verl/manifests/arm":
            return self.answer(200, LIST)
        if self.path.endswith(CONFIG_DIGEST):
            return self.answer(200, CONFIG)
        if self.path == "/v2/private/verl/manifests/x":
            return self.answer(401, WWW_Authenticate='Basic realm="r"')
        if self.path == "/repo/Packages.gz":
            return self.answer(200, gzip.compress(PACKAGES.encode()))
        if self.path == "/plain/Packages":
            return self.answer(200, PACKAGES.encode())
        if self.path == "/login":
            return self.answer(200, b"<html>please sign in</html>")
        if self.path.startswith("/git/info/refs"):
            lines = f"{COMMIT} refs/tags/v0.9.0\n"
            packet = b"001e# service=git-upload-pack\n0000" + f"{len(lines) + 4:04x}{lines}".encode() + b"0000"
            return self.answer(200, packet)
        return self.answer(404)


@pytest.fixture
def server():
    """The server, running."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.faults, server.seen = {}, []
    server.address = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def ask(module):
    """Ask for one thing."""

    def one(kind, **fields):
        answer = module("verl_preflight", {"requests": [{"id": "i", "kind": kind, **fields}], "timeout": 5})
        assert not answer["failed"]
        assert not answer["changed"]
        return answer["answers"][0]

    return one


@pytest.mark.parametrize("name", ["verlai/verl", "open/verl"])
def test_a_tag_is_resolved_with_and_without_token(ask, server, name):
    answer = ask("registry_manifest", ref=f"{server.address}/{name}:x", arch="x86_64")
    assert answer["ok"], answer
    assert answer["data"]["digest"] == DIGEST
    assert answer["data"]["platforms"] == ["linux/amd64"]
    assert answer["data"]["compressed_bytes"] == 3000 + len(CONFIG)


def test_a_digest_is_looked_up(ask, server):
    assert ask("registry_manifest", ref=f"{server.address}/open/verl:x", digest=DIGEST)["ok"]
    missing = ask("registry_manifest", ref=f"{server.address}/open/verl:x", digest="sha256:" + "0" * 64)
    assert not missing["ok"]
    assert "no digest" in missing["found"]


def test_limits_and_hiccups_are_waited_out(ask, server):
    server.faults["/v2/open"] = [429, 503, 429, 503]
    assert ask("registry_manifest", ref=f"{server.address}/open/verl:x")["ok"]


def test_a_registry_that_stays_down_is_said_so(ask, server):
    server.faults["/v2/"] = [503] * 10
    answer = ask("registry_manifest", ref=f"{server.address}/open/verl:x")
    assert "503" in answer["found"]


@pytest.mark.parametrize(
    ("ref", "says", "fix"),
    [
        ("{}/open/verl:nope", "no tag nope in open/verl", "verl_image"),
        ("{}/private/verl:x", "refuses access", "verl_registry_logins"),
        ("127.0.0.1:1/open/verl:x", "connection refused", "verl_mirror_registry"),
        ("no-such-host.invalid/open/verl:x", "can't be resolved", "verl_proxy"),
    ],
)
def test_what_is_wrong_with_an_image(ask, server, ref, says, fix):
    answer = ask("registry_manifest", ref=ref.format(server.address))
    assert not answer["ok"]
    assert says in answer["found"]
    assert fix in answer["fix"]


def test_an_image_for_another_platform(ask, server):
    answer = ask("registry_manifest", ref=f"{server.address}/open/verl:arm", arch="x86_64")
    assert not answer["ok"]
    assert (answer["found"], answer["needed"]) == ("only for linux/arm64", "linux/amd64")
    assert ask("registry_manifest", ref=f"{server.address}/open/verl:arm", arch="aarch64")["ok"]


def test_a_mirror_of_docker_hub_is_asked_first(ask, server):
    answer = ask("registry_manifest", ref="open/verl:x", mirrors=[f"http://{server.address}/"])
    assert answer["ok"], answer


@pytest.mark.parametrize("base", ["repo", "plain"])
def test_packages_that_are_there(ask, server, base):
    packages = [{"name": "nvidia-container-toolkit", "version": "1.20.0-1"}, {"name": "other"}]
    assert ask("apt_package", url=f"http://{server.address}/{base}", packages=packages)["ok"]


def test_a_package_version_may_end_in_anything(ask, server):
    for version, there in (("1.20*", True), ("1.2", False), ("1.21*", False)):
        packages = [{"name": "nvidia-container-toolkit", "version": version}]
        assert ask("apt_package", url=f"http://{server.address}/repo", packages=packages)["ok"] is there


def test_packages_that_are_not(ask, server):
    packages = [{"name": "nvidia-container-toolkit", "version": "9-1"}, {"name": "absent", "version": "1"}]
    answer = ask("apt_package", url=f"http://{server.address}/repo", packages=packages)
    assert "nvidia-container-toolkit 9-1 (it has 1.20.0-1)" in answer["found"]
    assert "absent 1 (it has none)" in answer["found"]
    assert "404" in ask("apt_package", url=f"http://{server.address}/none", packages=packages)["found"]


def test_a_login_page_is_no_key(ask, server):
    answer = ask("gpg_key", url=f"http://{server.address}/login", fingerprint="A" * 40)
    assert not answer["ok"]
    assert "please sign in" in answer["found"]


def test_git_tags_without_git(ask, server, fake, monkeypatch):
    from ansible.module_utils.verl_container import cli

    monkeypatch.setattr(cli, "which", lambda name: None)
    repo = f"http://user:pw@{server.address}/git".replace("user:pw@", "")
    assert ask("git_ref", repo=repo, version="v0.9.0")["data"] == {"commit": COMMIT}
    assert "no tag v9" in ask("git_ref", repo=repo, version="v9")["found"]


def test_git_tags_with_git(ask, tmp_path):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=n@example.org"]
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "m"], ["tag", "-a", "v1", "-m", "t"]):
        subprocess.run(git + command, check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert ask("git_ref", repo=f"file://{tmp_path}", version="v1")["data"]["commit"] == head
    assert ask("git_ref", repo=f"file://{tmp_path}", version=head)["ok"]
    assert ask("git_ref", repo=f"file://{tmp_path}", version="v1", commit=head)["ok"]
    other = ask("git_ref", repo=f"file://{tmp_path}", version="v1", commit="e" * 40)
    assert not other["ok"] and head in other["found"] and "e" * 40 in other["needed"] and "verl_commit" in other["fix"]
    missing = ask("git_ref", repo=f"file://{tmp_path}", version="v2")
    assert "it has v1" in missing["found"]
    assert "can't be asked" in ask("git_ref", repo=f"file://{tmp_path}/none", version="v1")["found"]


@pytest.fixture
def pip(fake):
    """A Python whose pip answers from a list."""
    python = fake("python3.9")
    python.says(["-m", "pip", "--version"], out="pip 25\n")
    return python


def test_a_version_on_the_package_index(ask, pip):
    out = "verl (0.9.1)\nAvailable versions: 0.9.1, 0.9.0, 0.8.0+cpu\n"
    pip.says(["-m", "pip", "index", "versions", "verl"], out=out)
    python = str(pip.folder / "python3.9")
    assert ask("pypi", name="verl", version="0.9.0", python=python)["ok"]
    assert ask("pypi", name="verl", version="0.8.0", python=python)["ok"]
    answer = ask(
        "pypi", name="verl", version="0.9.2", indexes=[None, "https://u:secret@m.example/simple"], python=python
    )
    assert "0.9.1, 0.9.0" in answer["found"]
    assert "verl_mirror_pypi" in answer["fix"]
    assert "secret" not in json.dumps(answer)
    assert "--index-url" in pip.calls[-1]


def test_an_index_that_does_not_answer(ask, pip):
    pip.says(["-m", "pip", "index"], err="ERROR: No matching distribution found for verl\n", rc=1)
    answer = ask("pypi", name="verl", version="0.9.0", python=str(pip.folder / "python3.9"))
    assert not answer["ok"]
    assert "No matching distribution" in answer["found"]


def test_a_manager_comes_from_the_index_or_from_its_own_address(ask, pip, server):
    there = f"http://{server.address}/login"
    python = str(pip.folder / "python3.9")
    request = {"kind": "manager", "name": "uv", "version": "0.12.1", "package": True, "url": there, "python": python}
    pip.says(["-m", "pip", "index"], out="Available versions: 0.13.0, 0.12.1\n", times=1)
    pip.says(["-m", "pip", "index"], out="Available versions: 0.13.0\n")
    assert ask(**request)["found"] == "uv 0.12.1"
    assert ask(**request)["found"] == "HTTP 200", "an index that lacks it isn't the end"
    missing = ask(**{**request, "url": f"http://{server.address}/none"})
    assert missing["ok"] is False
    assert "uv 0.12.1 is on no index" in missing["found"] and "404" in missing["found"]
    assert "verl_mirror_downloads" in missing["fix"]


def test_one_odd_thing_does_not_hide_the_others(module, server):
    requests = [
        {"id": "a", "kind": "registry_manifest"},
        {"id": "b", "kind": "apt_package", "url": f"http://{server.address}/repo", "packages": [{"name": "other"}]},
        {"id": "c", "kind": "gpg_key", "url": f"http://{server.address}/none", "fingerprint": "A" * 40},
    ]
    answers = module("verl_preflight", {"requests": requests})["answers"]
    assert [(answer["id"], answer["ok"]) for answer in answers] == [("a", False), ("b", True), ("c", False)]


def test_an_unknown_kind_is_bad_usage(module):
    assert module("verl_preflight", {"requests": [{"id": "a", "kind": "moon"}]})["failed"]
