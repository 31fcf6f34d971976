"""The board and the lines: what they make of ansible-runner's events."""

import io
from pathlib import Path

import yaml
from rich.console import Console

from verl_provision.cli.board import draw
from verl_provision.cli.progress import PHASES, Run
from verl_provision.plan.steps import AT, STEPS, VERIFICATION

ROOT = Path(__file__).resolve().parents[3]


def start(name):
    return {"event": "playbook_on_play_start", "event_data": {"name": name}}


def task(name, *hosts, action="command"):
    for host in hosts:
        yield {"event": "runner_on_start", "event_data": {"host": host, "task": name, "task_action": action}}


def facts(*hosts):
    yield from task("Gather the host's facts in one round trip", *hosts, action="verl.provision.verl_host_facts")


def step(name, *hosts):
    """What a host's step begins with, as Ansible tells it."""
    for host in hosts:
        yield from task("Tell the role what was planned", host, action="set_fact")
        told = {"ansible_facts": {AT: name, f"{name}_key": "1"}}
        yield {"event": "runner_on_ok", "event_data": {"host": host, "task_action": "set_fact", "res": told}}


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
    start("a name that nobody reads"),
    *facts("gpu-1", "gpu-2"),
    start("a name that nobody reads"),
    *step("container_image", "gpu-1", "gpu-2"),
    *task("Pull the image by digest", "gpu-1", "gpu-2"),
    said(PULL),
    bad("gpu-2", message="manifest\nunknown"),
]


def test_lines_are_phases_with_hosts_progress_and_failures():
    _run, lines = play(STORY)
    assert [line.split("] ", 1)[1] for line in lines] == [
        "facts: Gather the facts",
        "image: Pull the image",
        "gpu-1: 1.2 GB of 2.1 GB downloaded (45.0 MB/s), 0.9 GB unpacked, 3 of 9 layers done",
        "gpu-2: FAILED: Pull the image by digest: manifest unknown",
    ]
    assert lines[0].startswith("[   10 s] ")


def test_the_board_shows_hosts_by_phases_what_each_does_and_failures():
    run, _lines = play(STORY)
    text = drawn(run)
    head, *rest = text.splitlines()
    assert "2 hosts  1 failed  image" in head
    assert any("facts" in line and "image" in line and "engine" not in line for line in rest)
    one = next(line for line in rest if line.startswith("gpu-1"))
    assert "✓" in one and "●" in one and "1.2 GB of 2.1 GB downloaded (45.0 MB/s)" in one
    assert "✗" in next(line for line in rest if line.startswith("gpu-2"))
    assert "gpu-2: image: manifest unknown" in text


def test_where_it_is_narrow_only_what_a_host_does_is_cut():
    run, _lines = play(STORY)
    head, *rest = drawn(run, width=60).splitlines()[2:]
    assert head.split() == ["host", "facts", "image", "now"]
    assert next(line for line in rest if "1.2 GB of 2.1 GB" in line).startswith("gpu-1 ")


def test_a_big_fleet_fits_and_shows_those_that_are_busy_or_failed_first():
    names = [f"gpu-{number:04}" for number in range(1000)]
    run, _lines = play([*step("container_image", *names), *task("Pull", *names), bad("gpu-0900")], every=0)
    run.finish()
    text = drawn(run, height=30)
    assert len(text.splitlines()) <= 30
    assert "and 979 more hosts" in text
    assert "gpu-0900" in text.splitlines()[3]


def test_what_is_ignored_is_no_failure_and_an_unreachable_host_is():
    run, lines = play([*facts("a", "b"), bad("a", ignore_errors=True),
                       bad("b", "unreachable", "no route")])  # fmt: skip
    assert [host.failed for host in run.hosts.values()] == [False, True]
    assert len(run.failures) == 1
    assert "b: unreachable: Gather the host's facts in one round trip: no route" in lines[-1]


def test_the_reports_last_play_adds_no_failures_of_its_own():
    run, lines = play(
        [*task("Write it", "a", action="verl_report_files"), *task("Fail where a host is not done", "a"), bad("a")]
    )
    assert (lines, run.failures) == ([], [])
    assert run.hosts["a"].failed


def test_nothing_in_a_name_or_message_is_markup():
    run, _lines = play([*facts("[b]"), *task("[red]x[/nope]", "[b]"), bad("[b]", message="[/x] :smile:")])
    assert "[/x] :smile:" in drawn(run)


def test_each_host_is_shown_in_its_own_step():
    run, lines = play([*step("container_image", "a", "b"), *step("training_container", "a"), *task("Start it", "a")])
    assert run.hosts["a"].phases == {"image": "done", "container": "running"}
    assert run.hosts["b"].phases == {"image": "running"}
    assert [line.split("] ", 1)[1] for line in lines] == [
        "image: Pull the image", "container: Start the training container",
    ]  # fmt: skip


def test_every_step_of_the_table_has_a_column_of_its_own():
    assert list(PHASES)[1:] == [*STEPS, VERIFICATION]
    assert len(set(PHASES.values())) == len(PHASES)


def test_the_site_does_every_part_of_a_plan_and_nothing_is_known_of_single_steps():
    """The table is the only list of steps: a playbook that named one would be a second."""
    site = yaml.safe_load((ROOT / "playbooks/site.yml").read_text())
    done = [
        play.get("vars", {}).get("__verl_play") or Path(play["ansible.builtin.import_playbook"]).stem for play in site
    ]
    assert done == ["gather", "before", "disturb", "after", "ray", "prove", "report"]
    for path in (ROOT / "playbooks").glob("*.yml"):
        assert not [name for name in STEPS if f"steps.{name}" in path.read_text()], path
