"""Every change that isn't released is a file that the changelog is made from."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_a_fragment_has_a_kind_and_a_sentence():
    for path in (ROOT / "changelog.d").iterdir():
        if path.name == "README.md":
            continue
        assert re.fullmatch(r"(\+[\w-]+|\d+)\.(added|changed|fixed)\.md", path.name)
        text = path.read_text()
        assert text.strip().endswith("."), path
        assert not text.startswith("-"), path
