"""How modules get at what they fetch: the proxy by the environment only, a secret from a file of its owner's alone."""

import json
import os
import stat
import urllib.request

import pytest

from verl_provision import access

CANARY = "c4n4ry"
TOKEN = "verl_huggingface_token"


@pytest.fixture
def keep(module, tmp_path):
    """Run verl_secret_file."""
    args = {"path": str(tmp_path / "secrets/token"), "stamp": str(tmp_path / "state/token.json"), "key": "k"}
    return lambda value, **more: module("verl_secret_file", {**args, "value": value}, **more)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_the_file_is_its_owner_s_alone(keep, tmp_path):
    answer = keep(CANARY)
    assert answer["changed"] is True
    assert CANARY not in str(answer)
    path = tmp_path / "secrets/token"
    assert (path.read_text(), mode(path), mode(path.parent)) == (CANARY, 0o600, 0o700)
    assert CANARY not in (tmp_path / "state/token.json").read_text()
    assert keep(CANARY)["changed"] is False


def test_looser_rights_are_taken_back(keep, tmp_path):
    keep(CANARY)
    (tmp_path / "secrets/token").chmod(0o644)
    assert keep(CANARY)["changed"] is True
    assert mode(tmp_path / "secrets/token") == 0o600


def test_check_mode_writes_nothing(keep, tmp_path):
    assert keep(CANARY, check=True)["changed"] is True
    assert list(tmp_path.iterdir()) == []


def test_another_token_is_told_by_the_stamp_of_the_first(keep, tmp_path):
    keep("one")
    stamps = {"huggingface_token": json.loads((tmp_path / "state/token.json").read_text())}
    assert access.states([TOKEN], {TOKEN: "one"}, stamps) == {TOKEN: "kept"}
    assert access.states([TOKEN], {TOKEN: "two"}, stamps) == {TOKEN: "new"}
    assert access.states([TOKEN], {TOKEN: "one"}, {}) == {TOKEN: "new"}
    assert access.states([], {}, stamps) == {}


def test_the_login_is_in_the_proxy_s_address_and_nothing_of_it_breaks_the_address():
    from ansible.module_utils.verl_access import proxy

    found = proxy.environment(
        {"url": "http://proxy:3128", "no_proxy": ["a.example"], "username": "me", "password": "p@ss/w:rd%"}
    )
    assert found["https_proxy"] == "http://me:p%40ss%2Fw%3Ard%25@proxy:3128"
    assert found["NO_PROXY"] == "localhost,127.0.0.1,::1,a.example"
    assert proxy.environment({}) == {}
    assert proxy.environment({"url": "", "username": "me"}) == {}


@pytest.mark.parametrize(
    ("url", "direct"),
    [("http://10.1.2.3:5000/v2/", True), ("http://11.1.2.3/", False), ("http://name.example/", False)],
)
def test_networks_are_reached_without_the_proxy(monkeypatch, url, direct):
    from ansible.module_utils.verl_access import proxy

    monkeypatch.setenv("no_proxy", "localhost,10.0.0.0/8")
    assert proxy.bypassed(url) is direct


def test_a_module_without_a_proxy_leaves_the_host_s_own(module, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://the-host-s:3128")
    module("verl_preflight", {"requests": []})
    assert urllib.request.getproxies()["https"] == "http://the-host-s:3128"
    assert "HTTP_PROXY" not in os.environ


@pytest.mark.parametrize(
    ("reference", "login"),
    [
        ("r.example:5000/a/b:c", "one"),
        ("verlai/verl:x", "hub"),
        ("docker.io/verlai/verl:x", "hub"),
        ("other/x/y:z", None),
    ],
)
def test_a_registry_s_login(reference, login):
    from ansible.module_utils.verl_access import logins
    from ansible.module_utils.verl_container import registry

    given = [
        {"key": "r.example:5000", "value": {"username": "one"}},
        {"key": "docker.io", "value": {"username": "hub"}},
    ]
    place = registry.parse(reference.replace("other/", "o.example/"))[0]
    assert (logins.login_for(place, given) or {}).get("username") == login
