"""apt's sources are read as apt reads them."""

import base64
import hashlib
import shutil
from pathlib import Path

import pytest
from ansible.module_utils.verl_probes import apt

from .recorded import RecordedHost

BODY = b"\x04" + bytes(4) + b"\x01" + bytes(8)  # a public key's packet, as far as a fingerprint goes
FINGERPRINT = hashlib.sha1(b"\x99" + len(BODY).to_bytes(2, "big") + BODY).hexdigest().upper()
ARMORED = (
    "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n"
    + base64.b64encode(bytes([0xC6, len(BODY)]) + BODY).decode()
    + "\n-----END PGP PUBLIC KEY BLOCK-----\n"
)
SIGNED = "signed-by=/etc/apt/keyrings/docker.asc"
DOCKER = "https://download.docker.com/linux/ubuntu"


@pytest.fixture
def host(tmp_path):
    found = RecordedHost("h100x8_580")
    found.layers = [tmp_path]
    (tmp_path / "files/etc/apt/sources.list.d").mkdir(parents=True)
    found.write = lambda path, text: _write(tmp_path / "files" / path.lstrip("/"), text)
    return found


def _write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def sources(host):
    return [(Path(row["file"]).name, row["uri"], row["suite"], row["signed_by"]) for row in apt.probe(host)["sources"]]


LISTS = {
    "one line": f"deb [arch=amd64 {SIGNED}] {DOCKER} noble stable\n",
    "a comment behind, tabs, a slash": f"deb\t[{SIGNED}]\t{DOCKER}/ noble stable # ours\n",
    "options in another order": f"deb [ {SIGNED} arch=amd64,arm64 ] {DOCKER} noble stable\n",
    "sources of sources too": (f"deb [{SIGNED}] {DOCKER} noble stable\ndeb-src [{SIGNED}] {DOCKER} noble stable\n"),
}
STANZAS = {
    "a stanza": f"Types: deb\nURIs: {DOCKER}\nSuites: noble\nSigned-By: /etc/apt/keyrings/docker.asc\n",
    "names in any case, comments": (
        f"# Docker\ntypes: deb\nuris: {DOCKER}/\n# here\nSUITES: noble\nsigned-by: /etc/apt/keyrings/docker.asc\n"
    ),
}


@pytest.mark.parametrize("name", [*LISTS, *STANZAS])
def test_a_source(host, name):
    file = "docker.list" if name in LISTS else "docker.sources"
    host.write(f"/etc/apt/sources.list.d/{file}", {**LISTS, **STANZAS}[name])
    assert sources(host) == [(file, DOCKER, "noble", "/etc/apt/keyrings/docker.asc")]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("docker.list", f"# deb [signed-by=/x] {DOCKER} noble stable\n"),
        ("docker.list.save", f"deb {DOCKER} noble stable\n"),
        ("docker.sources", f"Types: deb\nEnabled: no\nURIs: {DOCKER}\nSuites: noble\n"),
        ("ubuntu.sources", "Types: deb\nURIs: http://archive.ubuntu.com/ubuntu/\nSuites: noble noble-updates\n"),
    ],
)
def test_what_apt_does_not_read_or_the_distribution_brought(host, file, text):
    host.write(f"/etc/apt/sources.list.d/{file}", text)
    assert sources(host) == []


def test_several_stanzas_and_suites(host):
    host.write(
        "/etc/apt/sources.list.d/x.sources",
        f"Types: deb\nURIs: {DOCKER}\nSuites: jammy noble\n\n\nTypes: deb\nURIs: https://x.invalid/a\nSuites: /\n",
    )
    assert sources(host) == [
        ("x.sources", DOCKER, "jammy", None), ("x.sources", DOCKER, "noble", None),
        ("x.sources", "https://x.invalid/a", "/", None),
    ]  # fmt: skip


def test_the_architecture_is_the_hosts_own(host):
    host.write("/etc/apt/sources.list.d/n.list", "deb [signed-by=/k.gpg] https://x.invalid/stable/deb/$(ARCH) /\n")
    assert sources(host) == [("n.list", "https://x.invalid/stable/deb/amd64", "/", "/k.gpg")]


def keys(host):
    return [row["keys"] for row in apt.probe(host)["sources"]]


def test_the_keys_that_a_source_trusts(host):
    named = f"deb [{SIGNED}] {DOCKER} noble stable\n"
    host.write("/etc/apt/sources.list.d/a.list", named)
    assert keys(host) == [[]], "the key is not there"
    host.write("/etc/apt/keyrings/docker.asc", "<html>Sign in</html>")
    assert keys(host) == [[]], "it is no key"
    host.write("/etc/apt/keyrings/docker.asc", ARMORED)
    assert keys(host) == [[FINGERPRINT]]
    inside = "\n".join(f" {line or '.'}" for line in ARMORED.splitlines())
    host.write("/etc/apt/sources.list.d/a.list", "")
    host.write("/etc/apt/sources.list.d/b.sources", f"URIs: {DOCKER}\nSuites: noble\nSigned-By:\n{inside}\n")
    assert keys(host) == [[FINGERPRINT]]


def test_the_keys_that_a_source_without_a_key_trusts(host):
    host.write("/etc/apt/sources.list.d/b.sources", f"URIs: {DOCKER}\nSuites: noble\n")
    assert keys(host) == [[]]
    host.write("/etc/apt/trusted.gpg.d/docker.asc", ARMORED)
    assert keys(host) == [[FINGERPRINT]]
    host.write("/etc/apt/sources.list.d/b.sources", f"URIs: {DOCKER}\nSuites: noble\nTrusted: yes\n")
    assert keys(host) == [[]], "nothing is checked there"


def test_sources_that_contradict_each_other(host):
    host.write("/etc/apt/sources.list.d/a.list", f"deb [signed-by=/a.gpg] {DOCKER} noble stable\n")
    host.write("/etc/apt/sources.list.d/b.list", f"deb [signed-by=/a.gpg] {DOCKER}/ noble edge\n")
    assert "conflicts" not in apt.probe(host)
    host.write("/etc/apt/sources.list.d/c.list", f"deb {DOCKER} noble test\n")
    assert apt.probe(host)["conflicts"] == [
        {"uri": DOCKER, "suite": "noble", "files": [f"/etc/apt/sources.list.d/{name}.list" for name in "abc"]}
    ]


def test_an_interrupted_dpkg(host):
    host.write("/var/lib/dpkg/updates/0001", "")
    assert apt.probe(host)["interrupted"] is True


def test_a_host_without_apt(host, tmp_path):
    shutil.rmtree(tmp_path / "files/etc/apt")
    assert apt.probe(host) is None
