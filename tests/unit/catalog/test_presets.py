"""The presets of inventories/presets are requests, and the documentation says where each comes from."""

from pathlib import Path

import pytest
import yaml

from verl_provision import variables as listed

ROOT = Path(__file__).resolve().parents[3]
PRESETS = sorted((ROOT / "inventories/presets").glob("*.yml"))


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_a_preset_is_valid_and_documented(path):
    variables = yaml.safe_load(path.read_text())["all"]["vars"]
    parsed = listed.parse(variables)
    assert parsed.errors == ()
    assert variables.items() <= parsed.values.items()
    page = (ROOT / "docs/mirrors.md").read_text()
    assert [name for name in variables if f"| `{name}` |" not in page.partition("## In mainland China")[2]] == []


def test_china_has_a_mirror_of_everything_that_has_one():
    variables = yaml.safe_load((ROOT / "inventories/presets/china.yml").read_text())["all"]["vars"]
    mirrors = {name for name in listed.entries() if name.startswith("verl_mirror_")}
    assert mirrors - set(variables) == {"verl_mirror_downloads"}


def test_every_mirror_is_on_its_page():
    page = (ROOT / "docs/mirrors.md").read_text()
    ways = [name for name in listed.entries() if name.startswith(("verl_mirror_", "verl_proxy"))]
    assert [name for name in ways if f"`{name}`" not in page] == []
