"""Whatever one host says: no exception, no other host's plan changed, and a report in every form."""

import contextlib
import copy
import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from verl_provision import fleet
from verl_provision.boundary import documents, schema
from verl_provision.boundary.text import UNSAFE
from verl_provision.paths import ROOT
from verl_provision.plan import preflight
from verl_provision.report import build, html, markdown, text

RECORDED = {name: json.loads((ROOT / f"tests/fixtures/facts/{name}.json").read_text())
            for name in ("h100x8_580", "h100x8_busy", "no_gpu", "mi300x")}  # fmt: skip
STATE = {"key": "a", "commit": None, "members": {"bad": "10.0.0.1"}, "waiting": ["debug"], "more": [1]}
PASS = {"key": "k", "level": "gpu", "passed_at": "2026-11-30T00:00:00Z", "backend": "docker", "versions": {}}
for _facts in RECORDED.values():
    _facts |= {"stamps": {"docker_engine": STATE, "ray_cluster": STATE, "drained": None}, "verification": PASS}
CHECK = {"id": "gpu.work", "ok": False, "found": "x", "needed": "y", "fix": "z", "seconds": 0.1}
OUTCOME = {"passed": False, "level": "gpu", "reached": None, "checks": [CHECK], "versions": {"torch": "2"},
           "verified_at": None, "by_stamp": False, "key": "k"}  # fmt: skip
FAILURE = {"step": "container_image", "task": "pull", "message": "no room", "unreachable": False}
ANSWER = {"id": "image", "kind": "registry_manifest", "ok": True, "found": "x", "needed": "y", "fix": None,
          "data": {"digest": "sha256:" + "0" * 64, "platforms": ["linux/amd64"]}}  # fmt: skip
ABOUT = {"mode": "apply", "started": "2026-11-30T00:00:00Z", "ansible": "2.19.14", "limit": None}
HOSTS = ("bad", "good-1", "good-2")
ODD = (
    *(None, True, False, 0, -1, 3, 1.0, 0.5, 10**30, float("nan"), float("inf"), "", "x", "9" * 5000, "\u0663.\u0664"),
    *("\x1b]0;owned\x07", "a\u202eb", "\ud800", "\n| good-1 | verified |", "<script>alert(1)</script>"),
    *("10.0.0.66 } flush ruleset", "sha256:x --privileged"),
    *([], {}, [None], {"": None}, [[]], ["x"], {"x": {"y": []}}),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def examples(number: int) -> settings:
    """So many, the same in every run."""
    return settings(max_examples=number, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def is_json(value: Any) -> bool:
    """Whether JSON has this value."""
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


def places(value: Any, path: tuple = ()) -> list[tuple]:
    """The path of every value in a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, item in inner for found in places(item, (*path, key)))]


def changed(document: Any, path: tuple, value: Any) -> Any:
    """The document with another value at a place."""
    if not path:
        return copy.deepcopy(value)
    document = copy.deepcopy(document)
    at = document
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = copy.deepcopy(value)
    return document


def grown(document: Any, path: tuple, value: Any) -> Any:
    """The document with one more key or item at a place."""
    document = copy.deepcopy(document)
    at = document
    for key in path:
        at = at[key]
    if isinstance(at, dict):
        at["odd"] = copy.deepcopy(value)
    elif isinstance(at, list):
        at.append(copy.deepcopy(value))
    return document


VALUES, CHANGES, TIMES = st.sampled_from(ODD) | JSON, st.sampled_from((changed, grown)), st.integers(1, 3)


def mutated(*good: Any) -> st.SearchStrategy:
    """A good document with up to three places changed."""
    known = st.sampled_from([(document, st.sampled_from(places(document))) for document in good])

    @st.composite
    def drawn(draw: Any) -> Any:
        document, where = draw(known)
        for _ in range(draw(TIMES)):
            with contextlib.suppress(KeyError, IndexError, TypeError):  # an earlier change took that place away
                document = draw(CHANGES)(document, draw(where), draw(VALUES))
        return document

    return drawn()


@pytest.mark.parametrize(
    ("name", "part", "good"),
    [
        ("facts", "", list(RECORDED.values())),
        ("verification", "outcome", [OUTCOME]),
        ("preflight", "", [ANSWER]),
    ],
)
def test_the_compiled_checks_say_what_jsonschema_says(name, part, good):
    whole = json.loads((ROOT / f"catalog/schema/{name}.json").read_text())
    oracle = Draft202012Validator({**whole["$defs"][part], "$defs": whole["$defs"]} if part else whole)
    check = schema.compiled(name, part)
    verdicts = set()

    @examples(250)
    @given(mutated(*good))
    def compare(value):
        assume(is_json(value))  # `named` refuses NaN and infinity before, and to jsonschema NaN has every minimum
        fits = oracle.is_valid(value)
        assert check(value) is fits
        verdicts.add(fits)
        if not fits:
            assert re.match(r"\S.* (is|has no) ", schema.fault(name, value, part))

    assert all(check(value) and oracle.is_valid(value) for value in good)
    compare()
    assert verdicts == {True, False}


def planned(variables: dict[str, dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The plan of three hosts, and the report."""
    plan = fleet.plan(variables, RUN)
    return plan, build.build(variables, {**RUN, "timeline": []}, plan, "2026-11-30T00:01:00Z")


def hosts(facts: Any, **more: Any) -> dict[str, dict[str, Any]]:
    """The variables of three hosts; the first says what it likes."""
    good = {name: {"__verl_facts": {"facts": RECORDED["h100x8_580"]}} for name in HOSTS[1:]}
    return {"bad": {"__verl_facts": {"facts": facts}, **more}, **good}


RUN = fleet.begin(hosts(None), list(HOSTS), dict(ABOUT))
PLAN, REPORT = planned(hosts(RECORDED["no_gpu"]))


def harmless(plan: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    """The other hosts are as they ever were, and every view can be written and shown."""
    for name in HOSTS[1:]:
        assert plan["hosts"][name] == PLAN["hosts"][name]
        assert document["hosts"][name] == REPORT["hosts"][name]
    lines = text.plan_lines(plan, RUN) + text.report_lines(document, "report.json")
    views = [markdown.render(document), html.render(document), "\n".join(lines)]
    views += [verdict["message"] for verdict in build.verdicts(document).values()]
    for view in views:
        view.encode()
        assert not re.search(f"[{UNSAFE}]", view)
    assert not re.search(r"^\s*\| good-1", "\n".join(lines), re.MULTILINE), "a line of its own in the terminal"
    json.dumps(document, allow_nan=False).encode()
    return document["hosts"]["bad"]


@examples(600)
@given(mutated(*RECORDED.values()))
def test_facts_are_facts_or_refused(facts):
    try:
        assert set(documents.facts(facts)) >= {"os", "nvidia"}
    except documents.Refused as why:
        assert str(why).startswith("this host's facts are not facts: ") and not re.search(f"[{UNSAFE}]", str(why))


@examples(60)
@given(mutated(*RECORDED.values()))
def test_a_run_with_odd_facts(facts):
    state = harmless(*planned(hosts(facts)))
    try:
        documents.facts(facts)
    except documents.Refused as why:
        assert state["state"] in ("refused", "failed") and (facts is None or str(why) in state["reason"])


@examples(100)
@given(mutated(OUTCOME), mutated(FAILURE, {}))
def test_a_run_with_odd_checks_and_failures(outcome, failure):
    variables = hosts(RECORDED["no_gpu"], verification_result=outcome, __verl_failure=failure)
    document = build.build(variables, {**RUN, "timeline": []}, PLAN, "2026-11-30T00:01:00Z")
    assert harmless(PLAN, document)["state"] in ("failed", "unreachable", "verified")


@examples(40)
@given(mutated(FAILURE), JSON | st.sampled_from(ODD))
def test_a_run_with_a_result_of_any_shape(deferred, said):
    harmless(*planned({**hosts(None), "bad": {"__verl_facts": said, "__verl_deferred": deferred}}))


@examples(300)
@given(mutated({"answers": [ANSWER]}))
def test_preflights_answers(said):
    found, odd = documents.answers(said)
    assert not set(found) & set(odd)
    for identity, answer in found.items():
        assert isinstance(identity, str) and isinstance(answer["ok"], bool)
        digest = (answer.get("data") or {}).get("digest") or "sha256:" + "0" * 64
        assert re.fullmatch("sha256:[0-9a-f]{64}", digest)
    read = preflight.read(said, ["image", "x"], "bad")
    assert set(read) == {"image", "x"} and not re.search(f"[{UNSAFE}]", json.dumps(read, ensure_ascii=False))
