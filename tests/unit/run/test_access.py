"""The way that secrets take: from the inventory to the task that needs them, and a token told from another."""

import pytest

from verl_provision import access, fleet

CANARY = "c4n4ry"


def of(variables):
    """The ways of a host of a run."""
    run = fleet.begin({"a": variables}, ["a"], {"mode": "apply", "started": "2026-11-24T10:00:00Z"})
    assert run["look_at"] == ["a"]
    return access.of(variables, run["hosts"]["a"])


def test_a_host_s_ways():
    ways = of(
        {
            "verl_proxy": "http://proxy:3128/",
            "verl_no_proxy": "a.example, 10.0.0.0/8",
            "verl_proxy_login": {"username": "me", "password": CANARY},
            "verl_registry_logins": {"r:5000": {"username": "me", "password": CANARY}},
            "verl_huggingface_token": CANARY,
            "other": 1,
        }
    )
    assert ways == {
        "proxy": {
            "url": "http://proxy:3128",
            "no_proxy": ["a.example", "10.0.0.0/8"],
            "username": "me",
            "password": CANARY,
        },
        "registry_logins": {"r:5000": {"username": "me", "password": CANARY}},
        "huggingface_token": CANARY,
        "no_log": True,
    }


@pytest.mark.parametrize(
    ("variables", "hidden"),
    [
        ({}, False),
        ({"verl_proxy": "http://proxy:3128"}, False),
        ({"verl_huggingface_token": ""}, False),
        ({"verl_huggingface_token": "x"}, True),
        ({"verl_huggingface_token": "x", "verl_no_log": "false"}, False),
    ],
)
def test_output_is_hidden_only_where_there_is_a_secret(variables, hidden):
    assert of(variables)["no_log"] is hidden


def test_a_login_without_a_proxy_goes_nowhere():
    assert of({"verl_proxy_login": {"username": "me", "password": CANARY}})["proxy"] == {}
