"""examples/ holds what `verl-provision render` writes today, by the command that each README names."""

import shlex
from pathlib import Path

import pytest

from verl_provision.cli import main
from verl_provision.render import TARGETS

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
RENDERED = sorted(path.parent.name for path in EXAMPLES.glob("*/README.md"))


def test_every_target_has_an_example():
    assert sorted(TARGETS) == RENDERED


@pytest.mark.parametrize("name", RENDERED)
def test_an_example_is_what_its_command_writes(name, tmp_path, monkeypatch):
    (line,) = [
        line
        for line in (EXAMPLES / name / "README.md").read_text().splitlines()
        if "verl-provision render" in line and line.startswith("    ")
    ]
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(line)[1:]) == 0
    kept = {path.name: path.read_text() for path in (EXAMPLES / name).iterdir()}
    assert {path.name: path.read_text() for path in (tmp_path / "examples" / name).iterdir()} == kept
