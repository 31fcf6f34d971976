"""report.md and report.html: what to do first, everything escaped, small for a thousand hosts."""

import copy
import json
import re
from html.parser import HTMLParser

import pytest

from verl_provision.report import html, latest, markdown, view

from . import fleets

NASTY = '<script>alert("x")</script> [a](javascript:b) | `c` @everyone {{ 7 * 7 }} </details>'


@pytest.fixture(scope="module")
def small():
    return fleets.report(40)


@pytest.fixture(scope="module")
def big():
    return fleets.report(1000)


class Page(HTMLParser):
    """The text of a page, its tags, and whether details and tables are closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.addresses = [], [], []
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        self.words.append(data)


def test_what_to_do_comes_first_and_each_thing_once(small):
    seen = view.view(small)
    assert not seen["ok"]
    shm = next(entry for entry in seen["todo"] if entry["id"] == "devices.shm")
    assert shm["found"] == "/dev/shm has 64 MB"
    assert "training_container_shm_size" in shm["fix"]
    driver = next(entry for entry in seen["todo"] if entry["id"] == "driver_state")
    assert driver["state"] == "refused"
    page = Page(html.render(small))
    assert page.text.index("To do") < page.text.index("Hosts") < page.text.index("Plans, why, and checks")
    text = markdown.render(small)
    assert text.index("### To do") < text.index("### Hosts")
    for needed in (shm["found"], "driver\\_state", "of 40 hosts need attention"):
        assert needed in text


def test_every_host_has_a_row_and_a_description(small):
    seen = view.view(small)
    assert {row["name"] for row in seen["hosts"]} == set(small["hosts"])
    described = [name for group in seen["groups"] for name in group["hosts"]]
    assert sorted(described) == sorted(small["hosts"])
    page = Page(html.render(small))
    for name, host in small["hosts"].items():
        assert name in page.text
        for why in (host["plan"] or {}).get("why", []):
            assert " ".join(why.split()) in page.text


def test_the_page_needs_nothing_from_elsewhere(small):
    text = html.render(small)
    page = Page(text)
    assert all(address.startswith("#") for address in page.addresses)
    assert "@import" not in text
    assert "url(" not in text
    assert 'name="viewport"' in text
    assert "prefers-color-scheme:dark" in text


@pytest.mark.parametrize("size", [1, 1000])
def test_it_is_small(size, small):
    report = fleets.report(size)
    previous = fleets.report(size, healthy=True)
    page, text = html.render(report, previous), markdown.render(report, previous)
    assert len(page.encode()) < 1_000_000
    assert len(text) < 65_536


def test_it_is_small_even_where_every_host_is_another_story(big):
    """Messages, checks and reasons that no two hosts share, and long ones."""
    report = copy.deepcopy(big)
    for number, host in enumerate(report["hosts"].values()):
        host |= {
            "state": "failed",
            "failure": {"step": "container_image", "task": "Pull", "message": f"{number} " + "x" * 9000},
        }
        host["checks"] = [
            {**item, "ok": False, "found": f"{number} " * 100, "fix": "y" * 3000} for item in fleets.CHECKS
        ]
    page, text = html.render(report), markdown.render(report)
    assert len(page.encode()) < 1_000_000
    assert len(text) < 65_536
    assert "gpu-1000" in page


def test_nothing_shown_is_markup(small):
    report = copy.deepcopy(small)
    name, host = next((name, host) for name, host in report["hosts"].items() if host["plan"]["ok"])
    host |= {"state": "failed", "reason": NASTY, "failure": {"step": NASTY, "task": NASTY, "message": NASTY}}
    host["plan"]["why"] = host["plan"]["deferred"] = []
    host["plan"] |= {
        "why": [NASTY],
        "verl_version": NASTY,
        "deferred": [{"step": NASTY, "action": NASTY, "because": NASTY, "disruption": NASTY, "fix": NASTY}],
        "warnings": [{"rule": NASTY, "message": NASTY, "fix": NASTY}],
    }
    host["checks"] = [{"id": NASTY, "ok": False, "found": NASTY, "needed": NASTY, "fix": NASTY, "seconds": 1}]
    report["hosts"][NASTY] = report["hosts"].pop(name)
    report["run"]["limit"] = NASTY
    page = html.render(report, small)
    assert page.count("<script") == 1
    assert "javascript:b" not in [address for address in Page(page).addresses]
    assert "{{ 7 * 7 }}" in page
    text = markdown.render(report, small)
    assert "<script" not in text
    assert "[a](" not in text
    assert "@everyone" not in text
    assert text.count("</details>") == text.count("<details>")


def test_differences_tell_each_change_once(small):
    before = fleets.report(40, healthy=True)
    changes = {entry["text"]: entry["hosts"] for entry in view.differences(small, before)}
    assert changes["verified -> failed"] == ["gpu-0004"]
    assert changes["check devices.shm: passed -> failed"] == ["gpu-0004"]
    assert view.differences(small, small) == []
    assert view.differences(small, None) == []
    other = copy.deepcopy(small)
    gone = other["hosts"].pop("gpu-0001")
    other["hosts"]["new"] = {**gone, "plan": {**gone["plan"], "verl_version": "0.8.0"}}
    told = {entry["text"]: entry["hosts"] for entry in view.differences(other, small)}
    assert told == {"not in this run": ["gpu-0001"], "not in the run before": ["new"]}
    other["run"]["limit"] = "gpu-0002"
    assert [entry["text"] for entry in view.differences(other, small)] == ["not in the run before"]


def test_a_run_of_nothing_and_hosts_without_a_plan_render():
    empty = fleets.report(1)
    empty |= {"hosts": {}, "ok": False}
    assert "no host was in this run" in html.render(empty)
    unlooked = fleets.report(1)
    unlooked["hosts"] = {"a": {"state": "unreachable", "reason": "no route to host", "plan": None, "checks": [],
                               "failure": None, "verified_at": None}}  # fmt: skip
    assert "no route to host" in html.render(unlooked, fleets.report(1))
    assert "no route to host" in markdown.render(unlooked)


def test_where_the_time_went_is_the_runs_own_timeline_where_it_has_one(small):
    assert view.timeline(small)[0]["name"] == "import.engine"
    timed = copy.deepcopy(small)
    timed["run"]["timeline"] = [
        {"name": "look", "start": 0, "seconds": 4},
        {"name": "container_image", "start": 4, "seconds": 36},
    ]
    bars = view.timeline(timed)
    assert [(bar["name"], bar["left"], bar["width"]) for bar in bars] == [("look", 0, 10), ("container_image", 10, 90)]


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0 s"), (59, "59 s"), (0.42, "0.4 s"), (849, "14 min 9 s"), (7260, "2 h 1 min")]
)
def test_durations(seconds, said):
    assert view.duration(seconds) == said


def test_the_run_before_is_the_newest_with_a_host_in_common(tmp_path, small):
    def keep(run, hosts):
        (tmp_path / run).mkdir()
        about = {"schema_version": 1, "run": {"id": run}, "hosts": dict.fromkeys(hosts)}
        (tmp_path / run / "report.json").write_text(json.dumps(about))

    assert latest.before(tmp_path / "nothing", small) is None
    keep("20261124T090000Z", ["gpu-0001"])
    keep("20261124T093000Z", ["another"])
    keep("20261124T110000Z", ["gpu-0001"])  # later than the run
    (tmp_path / "20261124T094000Z").mkdir()
    (tmp_path / "20261124T094000Z/report.json").write_text("{")
    assert latest.before(tmp_path, small)["run"]["id"] == "20261124T090000Z"
    assert latest.runs(tmp_path)[-1] == "20261124T110000Z"


LEADS = [
    "https://evil.example/login?x=1|2",
    "http://evil.example/`a`(b)",
    "www.evil.example/login",
    "ftp://evil.example",
    "<https://evil.example>",
    "mailto:me@evil.example",
    "me@evil.example",
    "org/repo#12",
    "GH-12",
    "\u202egpj.evil.example\u2066",
    "x\\https://evil.example/\\",
]


@pytest.mark.parametrize("lead", LEADS)
def test_nothing_in_a_comment_leads_anywhere(small, lead):
    report = copy.deepcopy(small)
    name = next(name for name, host in report["hosts"].items() if host["plan"]["ok"])
    report["hosts"][name] |= {
        "state": "failed",
        "reason": lead,
        "failure": {"step": lead, "task": lead, "message": lead},
    }
    text = markdown.render(report, small)
    rest = re.sub(r"`[^`\n]*`", "", text)
    assert text.count("`") % 2 == 0
    assert not re.search(r"://|www\.|mailto:|[@#]\w|GH-\d|[\u202a-\u202e\u2066-\u2069]", rest), rest
    for line in text.splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) in (4, 7), line
