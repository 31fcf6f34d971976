"""The generated pages say what the code says."""

from verl_provision.docs.__main__ import pages


def test_generated_pages_are_up_to_date():
    stale = [str(path) for path, text in pages().items() if not path.is_file() or path.read_text() != text]
    assert stale == [], "run: make docs"
