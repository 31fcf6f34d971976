"""The board and the lines: what they make of ansible-runner's events."""

import io
from pathlib import Path

import yaml
from rich.console import Console

from verl_provision.cli.board import draw
from verl_provision.cli.progress import PHASES, QUIET, Run

ROOT = Path(__file__).resolve().parents[3]


def start(name):
    return {"event": "playbook_on_play_start", "event_data": {"name": name}}


def task(name, *hosts):
    yield {"event": "playbook_on_task_start", "event_data": {"name": name}}
    for host in hosts:
        yield {"event": "runner_on_start", "event_data": {"host": host}}


def bad(host, kind="failed", message="boom", **more):
    return {"event": f"runner_on_{kind}", "event_data": {"host": host, "res": {"msg": message}, **more}}


def said(text):
    return {"event": "verbose", "stdout": f"\x1b[1;34m{text}\x1b[0m"}


def play(events, every=10):
    run, lines = Run(0.0), []
    for number, event in enumerate(events):
        lines += run.take(event, number * every)
    return run, lines


def drawn(run, now=100.0, height=40, width=110):
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=False)
    console.print(draw(run, now, height))
    return console.file.getvalue()


PULL = "gpu-1: Pull the image: 1.2 GB of 2.1 GB downloaded (45.0 MB/s), 0.9 GB unpacked, 3 of 9 layers done"
STORY = [
    start("Check the wishes before any host is touched"),
    start("Look at the hosts"),
    *task("Look at the host in one round trip", "gpu-1", "gpu-2"),
    start("Install or configure the container engine"),  # nobody's plan has it
    start("Pull the image"),
    *task("Pull the image by digest", "gpu-1", "gpu-2"),
    said(PULL),
    bad("gpu-2", message="manifest\nunknown"),
]


def test_lines_are_phases_with_hosts_progress_and_failures():
    _run, lines = play(STORY)
    assert [line.split("] ", 1)[1] for line in lines] == [
        "look: Look at the hosts",
        "image: Pull the image",
        "gpu-1: 1.2 GB of 2.1 GB downloaded (45.0 MB/s), 0.9 GB unpacked, 3 of 9 layers done",
        "gpu-2: FAILED: Pull the image by digest: manifest unknown",
    ]
    assert lines[0].startswith("[   30 s] ")


def test_the_board_shows_hosts_by_phases_what_each_does_and_failures():
    run, _lines = play(STORY)
    text = drawn(run)
    head, *rest = text.splitlines()
    assert "2 hosts  1 failed  image" in head
    assert any("look" in line and "image" in line and "engine" not in line for line in rest)
    one = next(line for line in rest if line.startswith("gpu-1"))
    assert "✓" in one and "●" in one and "1.2 GB of 2.1 GB downloaded (45.0 MB/s)" in one
    assert "✗" in next(line for line in rest if line.startswith("gpu-2"))
    assert "gpu-2: image: manifest unknown" in text


def test_where_it_is_narrow_only_what_a_host_does_is_cut():
    run, _lines = play(STORY)
    head, *rest = drawn(run, width=60).splitlines()[2:]
    assert head.split() == ["host", "look", "image", "now"]
    assert next(line for line in rest if "1.2 GB of 2.1 GB" in line).startswith("gpu-1 ")


def test_a_big_fleet_fits_and_shows_those_that_are_busy_or_failed_first():
    names = [f"gpu-{number:04}" for number in range(1000)]
    run, _lines = play([start("Pull the image"), *task("Pull", *names), bad("gpu-0900")], every=0)
    run.finish()
    text = drawn(run, height=30)
    assert len(text.splitlines()) <= 30
    assert "and 979 more hosts" in text
    assert "gpu-0900" in text.splitlines()[3]


def test_what_is_ignored_is_no_failure_and_an_unreachable_host_is():
    run, lines = play([start("Look at the hosts"), *task("Look", "a", "b"), bad("a", ignore_errors=True),
                       bad("b", "unreachable", "no route")])  # fmt: skip
    assert [host.failed for host in run.hosts.values()] == [False, True]
    assert len(run.failures) == 1
    assert "b: unreachable: Look: no route" in lines[-1]


def test_the_reports_last_play_adds_no_failures_of_its_own():
    run, lines = play([start("Write the report"), *task("Fail where a host isn't well", "a"), bad("a")])
    assert (lines, run.failures) == ([], [])
    assert run.hosts["a"].failed


def test_nothing_in_a_name_or_message_is_markup():
    run, _lines = play([start("Look at the hosts"), *task("[red]x[/nope]", "[b]"), bad("[b]", message="[/x] :smile:")])
    assert "[/x] :smile:" in drawn(run)


def test_every_play_of_the_site_has_its_column():
    books = [ROOT / "playbooks/look.yml", ROOT / "playbooks/report.yml", *(ROOT / "playbooks/steps").glob("*.yml")]
    names = {play["name"] for book in books for play in yaml.safe_load(book.read_text()) if "hosts" in play}
    assert names == set(PHASES) | set(QUIET)
