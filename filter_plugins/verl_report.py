"""Filter verl_report: what became of every host of the run."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))  # the package lies beside the filters

from verl_provision import paths, timeline
from verl_provision.plain import to_plain
from verl_provision.report import build, html, latest, markdown, text

DOCUMENTATION = r"""
name: verl_report
short_description: Says what became of every host of the run
version_added: "0.1.0"
author: verl-provision authors (@verl-provision)
description:
  - Builds the report (C(catalog/schema/report.json)), its terminal text, its Markdown and HTML views, and for each host
    whether the run is well there and the sentence that says so.
options:
  _input:
    description: Ansible's C(hostvars), or any mapping of host name to variables.
    type: dict
    required: true
  run:
    description: What P(verl_load_inputs#filter) returned.
    type: dict
    required: true
  fleet:
    description: What P(verl_plan#filter) returned.
    type: dict
    required: true
  finished:
    description: When the run ended, UTC, ISO 8601.
    type: str
    required: true
  directory:
    description:
      - Where earlier reports are; the views say what is different from the newest that has a host in common. Empty
        means C(reports) of this repository, or of the folder you are in where this is installed.
    type: path
    default: ""
"""

EXAMPLES = r"""
- name: Report a machine that could not be reached
  ansible.builtin.debug:
    msg: "{{ hosts | verl_report(run, hosts | verl_plan(run), '2026-11-24T10:00:09Z') }}"
  vars:
    hosts: {gpu-1: {__verl_facts: {unreachable: true, msg: "no route to host"}}}
    about: {mode: plan, ansible: 2.19.14, started: "2026-11-24T10:00:00Z"}
    run: "{{ hosts | verl_load_inputs(['gpu-1'], about) }}"
"""

RETURN = r"""
_value:
  description: C(directory), C(document), C(text), C(markdown), C(html) and C(verdicts).
  type: dict
"""


def verl_report(hostvars, run, fleet, finished, directory=""):
    """Return the report, its views and the verdicts; see DOCUMENTATION."""
    about = {**to_plain(run), "timeline": timeline.run.parts(time.monotonic())}
    document = build.build(hostvars, about, to_plain(fleet), str(finished))
    directory = str(directory) or str(paths.reports())
    previous = latest.before(directory, document)
    return {
        "directory": directory,
        "document": document,
        "text": "\n".join(text.report_lines(document, latest.shown(directory, document["run"]["id"]))),
        "markdown": shown(markdown, document, previous),
        "html": shown(html, document, previous),
        "verdicts": build.verdicts(document),
    }


def shown(kind, document, previous):
    """A view of the report. A fault of ours in it must not cost the report itself."""
    try:
        return kind.render(document, previous)
    except Exception as error:
        return f"This view of the report failed ({type(error).__name__}: {error}). report.json has everything.\n"


class FilterModule:
    """Ansible's entry point."""

    def filters(self):
        """Return this file's filter."""
        return {"verl_report": verl_report}
