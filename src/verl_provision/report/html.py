"""report.html: one file that needs no other, readable on a phone and in the dark. Pure.

Everything shown is escaped; no script or style comes from outside, and nothing is fetched.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2

from verl_provision.boundary.text import visible
from verl_provision.report.view import duration, names, view

TEMPLATES = Path(__file__).resolve().parent / "templates"
LIMIT = 1_000_000
FULL = 60  # descriptions of hosts; further ones only where something is wrong, and then in short


def render(report: dict[str, Any], previous: dict[str, Any] | None = None) -> str:
    """The report as one HTML file of less than a megabyte."""
    seen = view(report, previous)
    groups = seen["groups"]
    for full in (FULL, 10, 0):
        seen["groups"] = groups[:full]
        seen["left_out"] = len(groups) - len(seen["groups"])
        text = template().render(**seen)
        if len(text.encode()) < LIMIT:
            return text
    seen["todo"] = seen["todo"][:50]
    return template().render(**seen)


@lru_cache(maxsize=1)
def template() -> jinja2.Template:
    """The page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"duration": duration, "names": names}
    return environment.get_template("report.html.j2")
