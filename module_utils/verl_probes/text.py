# Copyright the verl-provision authors
# SPDX-License-Identifier: Apache-2.0
"""Small helpers for text that commands print and files hold."""

from __future__ import annotations

import re

VERSION = re.compile(r"\d+(?:\.\d+)+")
_USERINFO = re.compile(r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*://)[^/@\s]+@")
_SECRET = r"(?:token|password|passwd|secret|api[_-]?key|credential)"
_SECRET_NAME = re.compile(_SECRET, re.IGNORECASE)
_SECRET_VALUE = re.compile(r"(?P<name>[\w-]*%s[\w-]*[= ])\S+" % _SECRET, re.IGNORECASE)
MASK = "***"


def version(text):
    """The first dotted version in a text, or None."""
    match = VERSION.search(text or "")
    return match.group(0) if match else None


def numbers(text):
    """A version as a tuple that compares: '29.2.1' -> (29, 2, 1)."""
    match = VERSION.search(text or "")
    return tuple(int(part) for part in match.group(0).split(".")) if match else ()


def redact(value):
    """The same data with passwords in URLs and values of secret-looking names masked."""
    if isinstance(value, dict):
        return {
            key: MASK if isinstance(item, str) and _SECRET_NAME.search(str(key)) else redact(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [redact(item) for item in value]
    if isinstance(value, str):
        value = _USERINFO.sub(lambda match: match.group("scheme") + MASK + "@", value)
        return _SECRET_VALUE.sub(lambda match: match.group("name") + MASK, value)
    return value
