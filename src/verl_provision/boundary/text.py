"""The one escape: what a terminal, a log line or a page would obey instead of show becomes visible."""

import json
import re
from typing import Any

# Control characters but newline and tab; what turns the direction of writing or breaks a line; half characters; tags.
UNSAFE = (
    "\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u2069"
    "\\ud800-\\udfff\\ufeff\\ufff9-\\ufffb\\U000e0000-\\U000e007f"
)
_unsafe = re.compile(f"[{UNSAFE}]")


def visible(value: Any) -> str:
    """`value` as text in which every unsafe character is spelled out as JSON does: ESC becomes `\\u001b`."""
    text = value if type(value) is str else str.__str__(value) if isinstance(value, str) else str(value)
    return text if text.isascii() and text.isprintable() else _unsafe.sub(_spelled, text)


def one_line(value: Any) -> str:
    """The same in one line, so that nobody adds a row to a table or a line to a log."""
    return " ".join(visible(value).split())


def _spelled(found: re.Match) -> str:
    return json.dumps(found[0])[1:-1]
