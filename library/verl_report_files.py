#!/usr/bin/python
"""Documentation of verl_report_files; all of its work is the action plugin's, on the controller."""

DOCUMENTATION = r"""
module: verl_report_files
short_description: Writes the files of one run's report on the controller
version_added: "0.1.0"
author: verl-provision authors (@verl-provision)
description:
  - Writes a directory O(run) below O(directory) on the controller and points the link C(latest) there at it. Each file,
    and the link, is put in place in one go, so that whoever reads meanwhile sees the old or the new one.
  - Does so in check mode too, and never counts as a change, since the report is no part of a host.
options:
  directory:
    description: Where the reports lie; a relative path is relative to the playbook.
    type: str
    required: true
  run:
    description: The run's id, which names its directory.
    type: str
    required: true
  documents:
    description: Files to write as JSON, by their names.
    type: dict
    required: true
  views:
    description: Files to write as text, by their names.
    type: dict
    required: true
  keep:
    description: How many runs stay, V(0) all. Older ones are removed, but none that a link in O(directory) points to.
    type: int
    default: 0
extends_documentation_fragment: [verl_attributes]
attributes:
  check_mode:
    support: none
    details: Writes in check mode too.
  diff_mode:
    support: none
"""

EXAMPLES = r"""
- name: Write the report's files
  verl_report_files:
    directory: reports
    run: 20261129T120000Z
    documents:
      report.json:
        hosts: {}
    views:
      report.md: "# No host"
"""

RETURN = r"""
path:
  description: The run's directory.
  type: str
  returned: always
"""
