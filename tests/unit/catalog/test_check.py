"""`verl-provision catalog check` against a registry in this process, and against Debian's where it's installed."""

import argparse
import copy
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.catalog.registry_server import INDEX, MANIFEST, Registry, digest_of
from verl_provision.catalog import load, logins
from verl_provision.catalog.check import check
from verl_provision.cli import catalog as command
from verl_provision.module_utils import registry as client
from verl_provision.module_utils import web
from verl_provision.paths import CATALOG

IMAGES = {image["id"]: image for image in load()["images"]}
VLLM, SGL = "verlai/verl:vllm024.latest", "verlai/verl:sgl0512.latest"


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Registry]:
    monkeypatch.setenv("HOME", str(tmp_path))  # nobody's docker logins
    with Registry() as server:
        yield server


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return Path(shutil.copytree(CATALOG, tmp_path / "catalog"))


def entry(name: str = "vllm024", **fields: Any) -> dict[str, Any]:
    image = copy.deepcopy(IMAGES[name])
    image.update(fields)
    return image


def one(image: dict[str, Any], server: Registry, **options: Any) -> Any:
    return check([image], server.base, **options)[0]


def run(*words: object) -> int:
    root = argparse.ArgumentParser()
    command.add_parser(root.add_subparsers())
    arguments = root.parse_args(["catalog", "check", *map(str, words)])
    return arguments.run(arguments)


def test_a_new_image_with_token_authentication(registry: Registry) -> None:
    digest = registry.add(VLLM, **{"org.opencontainers.image.version": "24"})
    found = one(entry(), registry)
    assert (found.state, found.ok, found.digest) == ("new", True, digest)
    assert found.platforms == ["linux/amd64"]
    assert found.compressed_gb == 12.0
    assert found.labels == {"org.opencontainers.image.version": "24"}
    assert registry.tokens == ["repository:verlai/verl:pull"], "one token serves all requests for a repository"


def test_a_token_for_each_repository(registry: Registry) -> None:
    registry.add(VLLM)
    registry.add(IMAGES["ocss884-sgl046p5"]["ref"])
    found = check([entry(), entry("ocss884-sgl046p5"), entry()], registry.base)
    assert [item.state for item in found] == ["new", "new", "new"]
    assert sorted(registry.tokens) == ["repository:ocss884/verl-sglang:pull", "repository:verlai/verl:pull"]


def test_an_expired_token_is_renewed(registry: Registry) -> None:
    registry.add(VLLM)
    asking = client.Registry(registry.base)
    asking.digest("verlai/verl", "vllm024.latest")
    asking.tokens["verlai/verl"] = "Bearer expired"
    assert asking.digest("verlai/verl", "vllm024.latest")
    assert len(registry.tokens) == 2


def test_unchanged_is_one_request_when_quick(registry: Registry) -> None:
    digest = registry.add(VLLM)
    image = entry(digest=digest, size_gb={**IMAGES["vllm024"]["size_gb"], "compressed": 12.0})
    assert one(image, registry, thorough=False).state == "same"
    asked = [request for request in registry.requests if "/manifests/" in request[1]]
    assert [method for method, _ in asked] == ["HEAD", "HEAD"], (
        "once without and once with the token; no pull is counted"
    )


def test_a_moving_tag_moved_and_a_fixed_one_changed(registry: Registry) -> None:
    registry.add(VLLM)
    registry.add(IMAGES["vllm020-dev1"]["ref"])
    old = f"sha256:{'0' * 64}"
    moved, changed = check([entry(digest=old), entry("vllm020-dev1", digest=old)], registry.base)
    assert (moved.state, changed.state) == ("moved", "changed")
    assert not moved.ok and "--update" in moved.fix and moved.catalog_digest == old


def test_missing(registry: Registry) -> None:
    found = one(entry("vllm020-dev1"), registry)
    assert (found.state, found.ok) == ("missing", False)
    assert "404" in found.notes[0] and "vllm020.dev1" in found.notes[0]
    assert "--registry" in found.fix


def test_an_index(registry: Registry) -> None:
    digest = registry.add_index(SGL)
    found = one(entry("sgl0512"), registry)
    assert (found.state, found.digest) == ("new", digest), "the index's digest, not that of one platform"
    assert found.platforms == ["linux/amd64", "linux/arm64"], "without attestations"
    assert (found.compressed_gb, found.labels) == (3.0, {"arch": "amd64"})
    assert found.notes == ["the registry has it for aarch64 too: the catalog doesn't say so"]


def test_an_index_without_our_platform(registry: Registry) -> None:
    registry.add_index(SGL, arches=("arm64",))
    found = one(entry("sgl0512"), registry)
    assert (found.state, found.ok) == ("other_platform", False)
    assert found.notes[0] == "the catalog says x86_64, the registry has linux/arm64"


def test_an_aarch64_image(registry: Registry) -> None:
    registry.add_index(SGL)
    assert one(entry("sgl0512", arch=["aarch64"]), registry).labels == {"arch": "arm64"}
    registry.add(VLLM, arch="arm64")
    assert one(entry(), registry).state == "other_platform"


def test_a_registry_that_sends_no_digest(registry: Registry) -> None:
    registry.without_digest = True
    digest = registry.add(VLLM)
    assert one(entry(digest=digest), registry).state == "same"


def test_retry_after_is_honoured(registry: Registry) -> None:
    registry.add(VLLM)
    registry.limits = ["3", "2"]
    slept: list[float] = []
    assert one(entry(), registry, patience=web.Patience(60, slept.append)).state == "new"
    assert slept == [3.0, 2.0]


def test_a_date_in_retry_after(registry: Registry) -> None:
    registry.add(VLLM)
    registry.limits = [formatdate(1_000_020, usegmt=True)]
    slept: list[float] = []
    assert one(entry(), registry, patience=web.Patience(60, slept.append, lambda: 1_000_000.0)).state == "new"
    assert slept == [20.0]


@pytest.mark.parametrize(("text", "seconds"), [("7", 7.0), (None, None), ("", None), ("soon", None), ("-1", None)])
def test_reading_retry_after(text: str | None, seconds: float | None) -> None:
    assert web.retry_after(text, 0) == seconds


def test_patience_ends(registry: Registry) -> None:
    """More than --max-wait: said, and the registry isn't asked any more."""
    registry.add(VLLM)
    registry.limits = ["3600"]
    slept: list[float] = []
    found = check([entry(), entry("vllm017"), entry("vllm012")], registry.base, patience=web.Patience(60, slept.append))
    assert [item.state for item in found] == ["limited"] * 3
    assert "3600 s" in found[0].notes[0] and "--max-wait" in found[0].fix
    assert slept == []
    assert len([request for request in registry.requests if "/manifests/" in request[1]]) == 2


def test_waits_add_up(registry: Registry) -> None:
    registry.limits = ["8"] * 20
    slept: list[float] = []
    assert one(entry(), registry, patience=web.Patience(20, slept.append)).state == "limited"
    assert slept == [8.0, 8.0]


def test_a_login_from_dockers_configuration(registry: Registry, tmp_path: Path) -> None:
    registry.auth = "basic"
    registry.add(VLLM)
    found = one(entry(), registry)
    assert found.state == "denied" and "docker login" in found.fix
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text(json.dumps({"auths": {registry.base: {"auth": "dXNlcjpzZWNyZXQ="}}}))
    found = one(entry(), registry)
    assert found.state == "new"
    assert "secret" not in json.dumps(found.notes)


def test_nobody_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = time.monotonic()
    found = check([entry(), entry("vllm017")], f"127.0.0.1:{port}")
    assert [item.state for item in found] == ["unreachable"] * 2
    assert "refused" in found[0].notes[0]
    assert time.monotonic() - start < 10, "without a library's own patience"


def test_a_registry_that_hangs() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        assert check([entry()], f"127.0.0.1:{deaf.getsockname()[1]}", timeout=0.3)[0].state == "unreachable"


def test_nonsense_instead_of_a_manifest(registry: Registry) -> None:
    registry.manifests["verlai/verl", "vllm024.latest"] = (MANIFEST, b"<html>")
    assert one(entry(), registry).state == "odd"
    registry.manifests["verlai/verl", "vllm024.latest"] = (INDEX, b'{"manifests": ["x", {"platform": {}}]}')
    assert one(entry(), registry).state == "new"


@pytest.mark.parametrize(
    ("text", "host", "prefix", "schemes"),
    [
        ("docker.io", "registry-1.docker.io", "", ["https"]),
        ("127.0.0.1:5000", "127.0.0.1:5000", "", ["https", "http"]),
        ("localhost:5000/hub", "localhost:5000", "hub", ["https", "http"]), ("quay.io", "quay.io", "", ["https"]),
        ("https://mirror.example/hub/", "mirror.example", "hub", ["https"]), ("http://m:5000", "m:5000", "", ["http"]),
    ],
)  # fmt: skip
def test_reading_a_registry(text: str, host: str, prefix: str, schemes: list[str]) -> None:
    read = client.Registry(text)
    assert (read.host, read.prefix, read.schemes) == (host, prefix, schemes)


@pytest.mark.parametrize("text", ["", "ftp://x", "https://", "http://user:secret@x"])
def test_not_a_registry(text: str) -> None:
    with pytest.raises(ValueError, match="needed a registry"):
        client.Registry(text)


def test_a_login_from_a_credential_helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = tmp_path / "docker-credential-lab"
    helper.write_text('#!/bin/sh\nread name\necho "{\\"Username\\": \\"$name\\", \\"Secret\\": \\"s\\"}"\n')
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (tmp_path / "config.json").write_text('{"credHelpers": {"quay.io": "lab"}, "auths": {"ghcr.io": {"auth": "?"}}}')
    assert logins.login("quay.io") == {"username": "quay.io", "password": "s"}
    assert logins.login("ghcr.io") is None
    (tmp_path / "config.json").write_text('{"credsStore": "lab"}')
    assert logins.login("docker.io") == {"username": "https://index.docker.io/v1/", "password": "s"}
    (tmp_path / "config.json").write_text('{"credsStore": "absent"}')
    assert logins.login("quay.io") is None


def test_a_mirror_below_a_path(registry: Registry) -> None:
    registry.add(f"hub/{VLLM}")
    assert check([entry()], f"http://{registry.base}/hub")[0].state == "new"


def test_update_writes_digests_and_nothing_else(registry: Registry, own: Path, capsys: pytest.CaptureFixture) -> None:
    digest, index = registry.add(VLLM), registry.add_index(SGL)
    before = (own / "images.yml").read_text().splitlines()
    assert run("--registry", registry.base, "--catalog", own, "--only", "vllm024", "--only", "sgl0512", "--update") == 0
    after = (own / "images.yml").read_text().splitlines()
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert changed == [
        ("    digest: null", f"    digest: {digest}"), ("      compressed: null", "      compressed: 12"),
        ("    digest: null", f"    digest: {index}"), ("      compressed: null", "      compressed: 3"),
    ]  # fmt: skip
    assert "written to images.yml: vllm024, sgl0512" in capsys.readouterr().out
    images = {image["id"]: image for image in load(own)["images"]}
    assert images["vllm024"]["digest"] == digest and images["vllm024"]["size_gb"]["compressed"] == 12
    assert run("--registry", registry.base, "--catalog", own, "--only", "vllm024", "--update") == 0
    assert "up to date" in capsys.readouterr().out


def test_update_after_a_tag_moved(registry: Registry, own: Path) -> None:
    registry.add(VLLM)
    words = ("--registry", registry.base, "--catalog", own, "--only", "vllm024")
    assert run(*words, "--update") == 0
    newer = registry.add(VLLM, layers=(1_000_000_000,))
    assert run(*words) == 1
    assert run(*words, "--update") == 0
    assert run(*words) == 0
    assert {image["id"]: image for image in load(own)["images"]}["vllm024"]["digest"] == newer


def test_update_leaves_what_it_could_not_see(registry: Registry, own: Path) -> None:
    before = (own / "images.yml").read_text()
    assert run("--registry", registry.base, "--catalog", own, "--only", "vllm024", "--update") == 1
    assert (own / "images.yml").read_text() == before


def test_update_refuses_another_layout(registry: Registry, own: Path, capsys: pytest.CaptureFixture) -> None:
    registry.add(VLLM)
    content = {"schema_version": 1, "images": [IMAGES["vllm024"]]}
    content["images"][0] = {key: value for key, value in content["images"][0].items()}
    (own / "images.yml").write_text(yaml.safe_dump(content, default_flow_style=True))
    before = (own / "images.yml").read_text()
    assert run("--registry", registry.base, "--catalog", own, "--update") == 2
    assert "layout" in capsys.readouterr().err
    assert (own / "images.yml").read_text() == before


def test_json(registry: Registry, own: Path, capsys: pytest.CaptureFixture) -> None:
    registry.add(VLLM)
    assert run("--registry", registry.base, "--only", "vllm024", "--only", "vllm017", "--json") == 1
    result = json.loads(capsys.readouterr().out)
    assert (result["ok"], result["counts"]) == (False, {"new": 1, "missing": 1})
    assert [(item["id"], item["ok"]) for item in result["images"]] == [("vllm024", True), ("vllm017", False)]


def test_text(registry: Registry, capsys: pytest.CaptureFixture) -> None:
    registry.add(VLLM)
    run("--registry", registry.base, "--only", "vllm024", "--only", "vllm017")
    out = capsys.readouterr().out
    assert "vllm024  new" in out and "12 GB  linux/amd64" in out
    assert "vllm017  missing" in out and "2 images: 1 new, 1 missing" in out


def test_bad_usage(own: Path, capsys: pytest.CaptureFixture) -> None:
    assert run("--only", "nope") == 2
    assert "nope" in capsys.readouterr().err
    assert run("--registry", "ftp://x") == 2
    assert run("--catalog", own, "--extra", "/does/not/exist.yml") == 2
    assert "No such file" in capsys.readouterr().err


def test_an_overlays_image_is_asked_at_its_own_registry(registry: Registry, tmp_path: Path) -> None:
    registry.add("lab/verl:mine")
    extra = tmp_path / "extra.yml"
    image = {"id": "vllm024", "ref": "lab/verl:mine", "registry": registry.base}
    extra.write_text(yaml.safe_dump({"images": [image]}))
    assert run("--extra", extra, "--only", "vllm024") == 0


@pytest.mark.lab
@pytest.mark.skipif(not shutil.which("docker-registry"), reason="Debian's docker-registry is not installed")
def test_debians_registry(tmp_path: Path) -> None:
    """The same questions to the registry that the lab runs: pushed by the distribution API, then checked."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = tmp_path / "config.yml"
    config.write_text(yaml.safe_dump({
        "version": 0.1, "storage": {"filesystem": {"rootdirectory": str(tmp_path / "data")}},
        "http": {"addr": f"127.0.0.1:{port}"}, "log": {"level": "error"},
    }))  # fmt: skip
    base = f"http://127.0.0.1:{port}"
    with subprocess.Popen(["docker-registry", "serve", str(config)], stderr=subprocess.DEVNULL) as server:
        try:
            _wait(f"{base}/v2/")
            digest = _push(base, "verlai/verl", "vllm024.latest")
            found = check([entry(), entry("vllm017")], base)
            assert [item.state for item in found] == ["new", "missing"]
            assert found[0].digest == digest and found[0].platforms == ["linux/amd64"]
            assert check([entry(digest=digest)], base)[0].state == "same"
        finally:
            server.terminate()


def _wait(url: str) -> None:
    for _ in range(100):
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the registry doesn't answer")


def _push(base: str, name: str, tag: str) -> str:
    blobs = [b'{"os": "linux", "architecture": "amd64", "config": {}}', b"a layer"]
    for blob in blobs:
        start = urllib.request.Request(f"{base}/v2/{name}/blobs/uploads/", method="POST", data=b"")
        with urllib.request.urlopen(start) as answer:
            place = answer.headers["Location"]
        place = place if place.startswith("http") else base + place
        put = urllib.request.Request(
            f"{place}{'&' if '?' in place else '?'}digest={digest_of(blob)}", method="PUT", data=blob,
            headers={"Content-Type": "application/octet-stream"},
        )  # fmt: skip
        urllib.request.urlopen(put).close()
    parts = [{"digest": digest_of(blob), "size": len(blob)} for blob in blobs]
    config = {"mediaType": "application/vnd.docker.container.image.v1+json", **parts[0]}
    layer = {"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", **parts[1]}
    media_type = "application/vnd.docker.distribution.manifest.v2+json"
    content = json.dumps({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": [layer]}).encode()
    put = urllib.request.Request(
        f"{base}/v2/{name}/manifests/{tag}", method="PUT", data=content, headers={"Content-Type": media_type}
    )
    with urllib.request.urlopen(put) as answer:
        return answer.headers["Docker-Content-Digest"]
