"""Every change that isn't released is a file that the changelog is made from."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FRAGMENTS = sorted(path for path in (ROOT / "changelog.d").iterdir() if path.name != "README.md")


@pytest.mark.parametrize("path", FRAGMENTS, ids=lambda path: path.name)
def test_a_fragment_has_a_kind_and_a_sentence(path):
    assert re.fullmatch(r"(\+[\w-]+|\d+)\.(added|changed|fixed)\.md", path.name)
    text = path.read_text()
    assert text.strip().endswith(".")
    assert not text.startswith("-")
