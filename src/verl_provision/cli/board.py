"""The live board of `verl-provision up`: hosts by phases, what each does now, failures as they come."""

from collections.abc import Callable

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from verl_provision.cli.progress import DONE, FAILED, PHASES, RUNNING, UNREACHABLE, Host, Run
from verl_provision.report.view import duration

SIGN = {RUNNING: ("●", "bold cyan"), DONE: ("✓", "green"), FAILED: ("✗", "bold red"), UNREACHABLE: ("?", "bold red")}
ORDER = {RUNNING: 0, FAILED: 1, UNREACHABLE: 1}
REST = 9  # lines that aren't hosts
NAME = 30  # columns that a host's name gets in any case


def draw(run: Run, now: float, height: int = 40) -> RenderableType:
    """The board; where there are more hosts than lines, the busy and the failed ones, and the rest counted."""
    used = set().union(*(host.phases for host in run.hosts.values()))
    labels = [label for label in PHASES.values() if label in used]
    ordered = sorted(
        run.hosts.values(), key=lambda host: min([ORDER.get(state, 2) for state in host.phases.values()] or [2])
    )
    shown = ordered[: max(3, height - REST)]
    # Where it is narrow, what a host does is cut, and nothing else.
    table = Table(box=None, pad_edge=False, padding=(0, 1), expand=False)
    widest = max((len(host.name) for host in shown), default=0)
    table.add_column("host", no_wrap=True, style="bold", min_width=min(widest, NAME))
    for label in labels:
        table.add_column(label, justify="center", no_wrap=True, min_width=len(label))
    table.add_column("now", overflow="ellipsis", no_wrap=True)
    for host in shown:
        cells = [Text(*SIGN[host.phases[label]]) if label in host.phases else Text("·", "dim") for label in labels]
        table.add_row(Text(host.name), *cells, doing(host, now))
    parts: list[RenderableType] = [heading(run, now), Text(), table]
    if len(ordered) > len(shown):
        parts.append(Text(f"and {len(ordered) - len(shown)} more hosts", "dim"))
    parts += [Text(failure[:300], "red") for failure in run.failures[-3:]]
    return Group(*parts)


def heading(run: Run, now: float) -> Text:
    """How long, how many, and which phase."""
    failed = sum(host.failed for host in run.hosts.values())
    text = Text(
        f"{duration(int(now - run.started))}  {len(run.hosts)} host{'' if len(run.hosts) == 1 else 's'}", "bold"
    )
    if failed:
        text.append(f"  {failed} failed", "bold red")
    text.append(f"  {run.phase}", "cyan")
    return text.append("  (Ctrl-C stops)", "dim")


def doing(host: Host, now: float) -> Text:
    """What a host does now, and for how long."""
    if RUNNING not in host.phases.values() or not host.task:
        return Text("")
    return Text.assemble(host.said or host.task, (f"  {duration(int(now - host.since))}", "dim"))


class Board:
    """The board on a terminal. Use as a context; `show` gives it a run, and it redraws itself."""

    def __init__(self, console: Console, clock: Callable[[], float]):
        self.console, self.clock, self.run = console, clock, None
        self.live = Live(console=console, get_renderable=self._now, refresh_per_second=2, transient=True)

    def _now(self) -> RenderableType:
        return draw(self.run, self.clock(), self.console.height) if self.run else Text("starts ...")

    def __enter__(self) -> "Board":
        self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()
