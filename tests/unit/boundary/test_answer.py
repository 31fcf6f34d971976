"""Of an answer the keys that we named, as values that nothing obeys."""

import math
import re
from pathlib import Path

import pytest
import yaml

from verl_provision.boundary.answer import documented, named
from verl_provision.boundary.text import one_line, visible

ROOT = Path(__file__).resolve().parents[3]
MODULES = sorted(ROOT.glob("library/*.py"))
ORDERS = {
    "add_host": {"host_name": "good-1", "host_vars": {"ansible_ssh_common_args": "-o ProxyCommand=x"}},
    "add_group": "all",
    "ansible_facts": {"verl_drain_before": "x"},
    "ansible_stats": {"data": {"x": 1}},
    "invocation": {"module_args": {}},
    "deprecations": [{"msg": "x"}],
    "warnings": ["x"],
    "exception": "x",
    "results": [{"add_host": {}}],
    "skipped": True,
    "unreachable": True,
    "rc": 0,
    "stdout": "x",
    "_ansible_notify": ["x"],
    "_ansible_no_log": False,
    "_ansible_parsed": True,
    "_ansible_delegated_vars": {"ansible_delegated_host": "good-1"},
    "_ansible_facts_cacheable": True,
    "_ansible_verbose_always": True,
}
SAID = {"changed": True, "failed": False, "stamp": {"key": "x"}}


@pytest.mark.parametrize("order", ORDERS)
def test_no_order_is_handed_on(order):
    assert named({**SAID, order: ORDERS[order]}, ("stamp",), "verl_stamp") == SAID


@pytest.mark.parametrize(
    "answer",
    [
        *(None, [], "x", 3),
        *({"stamp": math.nan}, {"stamp": -math.inf}, {"stamp": 10**30}, {"stamp": [0] * 300_000}),
        {"stamp": {"key": {"__ansible_type": "TrustedAsTemplate"}}},
    ],
    ids=repr,
)
def test_what_is_no_answer_is_a_failure_of_that_host(answer):
    refused = named(answer, ("stamp",), "verl_stamp")
    assert refused["failed"] is True and "verl_stamp" in refused["msg"] and set(refused) == {"changed", "failed", "msg"}


def test_depth_and_length_have_an_end():
    deep = []
    for _ in range(500):
        deep = [deep]
    assert "deep" in named({"stamp": deep}, ("stamp",), "verl_stamp")["msg"]
    assert "longer" in named({"stamp": "x" * 5_000_000}, ("stamp",), "verl_stamp")["msg"]


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b]0;title\x07", "\\u001b]0;title\\u0007"),
        ("a\u202eb", "a\\u202eb"),
        ("\ud800", "\\ud800"),
        ("\x9b31m", "\\u009b31m"),
        ("\r", "\\r"),
        ("a\nb\tü 漢", "a\nb\tü 漢"),
    ],
)
def test_text_is_shown_and_not_obeyed(raw, shown):
    assert visible(raw) == shown
    answer = named({"failed": 1, "msg": raw, "stamp": {raw: [raw]}, "diff": {"before": raw}}, ("stamp",), "verl_stamp")
    assert answer["msg"] == shown and answer["stamp"] == {shown: [shown]} and answer["diff"] == {"before": shown}
    assert "\n" not in one_line(raw)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_the_named_keys_are_those_of_the_modules_page(module):
    returned = re.search(r'^RETURN = r?"""(.*?)"""', module.read_text(), re.MULTILINE | re.DOTALL)
    assert set(documented(str(module))) == set(yaml.safe_load(returned[1]))


def test_what_playbooks_and_roles_read_is_on_the_modules_page():
    """What isn't would be gone on its way, and the task would fail on it."""
    texts = {path: path.read_text() for folder in ("playbooks", "roles") for path in (ROOT / folder).rglob("*.yml")}
    registered: dict[str, set[str]] = {}
    for text in texts.values():
        for task in re.split(r"\n\s*- name: ", text):
            module = re.search(r"^\s+(verl_\w+):$", task, re.MULTILINE)
            result = re.search(r"^\s+register: (\w+)$", task, re.MULTILINE)
            if module and result and (ROOT / f"library/{module[1]}.py").exists():
                keys = registered.setdefault(result[1], {"changed", "failed", "msg", "fix"})
                keys |= set(documented(str(ROOT / f"library/{module[1]}.py")))
    assert len(registered) > 10
    for path, text in texts.items():
        for name, key in re.findall(r"\b(\w+)\.(\w+)", text):
            assert name not in registered or key in registered[name], f"{path}: {name}.{key}"
