# Copyright the verl-provision authors
# SPDX-License-Identifier: Apache-2.0
"""Small helpers for text that commands print and files hold."""

from __future__ import annotations

import json
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


def json_object(text):
    """The object that JSON text holds; ValueError where a writer could lose something of it, such as a repeated key."""
    if not text.strip():
        raise ValueError("it is empty: what was in it may have been lost, as on a full disk")
    try:
        found = json.loads(text, object_pairs_hook=_once, parse_constant=_constant)
    except json.JSONDecodeError as error:
        error.args = ("it is not valid JSON: %s" % error,)
        raise
    except (ValueError, RecursionError) as error:
        raise ValueError("it is not valid JSON: %s" % error) from None
    if not isinstance(found, dict):
        raise ValueError("it holds %s, needed is an object" % type(found).__name__)
    return found


def _once(pairs):
    found = {}
    for key, value in pairs:
        if key in found:  # Docker merges the two, Python would drop one
            raise ValueError("the key %r is there twice" % key)
        found[key] = value
    return found


def _constant(name):
    raise ValueError("%s is no number" % name)
