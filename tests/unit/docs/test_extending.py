"""docs/extending.md names files that are there, and a page for each thing that people add."""

import json
import re
from pathlib import Path

import pytest

from verl_provision.select.backend import ORDER
from verl_provision.select.rules import RULES

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs/extending.md").read_text()
ROWS = [line.split("|")[1] for line in TEXT.splitlines() if line.startswith("| `")]
# One of the things that the placeholders stand for.
EXAMPLES = {
    "<about>": "gpu",
    "<what it leaves behind>": "training_container",
    "<step>": "training_container",
    "<level>": "devices",
    "<target>": "slurm",
}


def named():
    """Every path in the first column of the tables."""
    for row in ROWS:
        for path in re.findall(r"`([^`]+/[^`]*)`", row):
            for placeholder, example in EXAMPLES.items():
                path = path.replace(placeholder, example)
            yield path


@pytest.mark.parametrize("path", sorted(set(named())))
def test_the_files_to_touch_are_there(path):
    assert any(ROOT.glob(path)) or any((ROOT / "src/verl_provision/report").glob(path))


@pytest.mark.parametrize("what", ["An image", "A rule", "A backend", "A step", "A check", "Something in the report"])
def test_there_is_a_part_for(what):
    assert f"\n## {what}\n" in TEXT


def test_what_it_says_of_a_rule_holds_for_all_rules():
    assert all(rule.scope in ("host", "image", "pair") and rule.doc for rule in RULES)


def test_every_backend_is_a_value_of_the_request():
    request = json.loads((ROOT / "catalog/schema/variables.json").read_text())["properties"]["verl_backend"]
    assert set(ORDER) | {"auto"} == set(request["enum"])
