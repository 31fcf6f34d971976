"""One check for each kind of document that comes from a host. One that doesn't fit is refused with a sentence."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from verl_provision.boundary import schema
from verl_provision.boundary.answer import Reader, Unreadable, kind
from verl_provision.boundary.text import visible

FACTS = {"values": 50_000, "letters": 1_000_000}  # a full host's have 1,000 values and 20,000 letters


class Refused(ValueError):
    """A document that is none; the message is one sentence that says where and how."""


def facts(said: Any, given_only: bool = False) -> dict[str, Any]:
    """A host's facts (catalog/schema/facts.json); `given_only`: it was asked for some of them."""
    return _read(said, "facts", "", given_only, "this host's facts are not facts", Reader(**FACTS))


def outcome(said: Any) -> dict[str, Any]:
    """What verification came to (verification.json, `outcome`); empty where there was none."""
    if said is None or said == {}:
        return {}
    return _read(said, "verification", "outcome", False, "this host's checks are not checks", Reader())


def answers(said: Any) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """`(preflight's answers by the id of their request, why the others are none)` (preflight.json)."""
    listed = said.get("answers") if isinstance(said, Mapping) else None
    found: dict[str, dict[str, Any]] = {}
    odd: dict[str, str] = {}
    for answer in listed if isinstance(listed, list | tuple) else []:
        identity = answer.get("id") if isinstance(answer, Mapping) else None
        if not isinstance(identity, str):
            continue  # of no request of ours
        try:
            found[identity] = _read(answer, "preflight", "", False, "an answer that is none", Reader(letters=100_000))
        except Refused as why:
            odd[identity] = str(why)
    return found, odd


def note(said: Any, *needed: str) -> dict[str, Any]:
    """What a play noted of a host (`__verl_failure`, `__verl_deferred`): texts and booleans, made harmless."""
    if not isinstance(said, Mapping):
        return {}
    found = {visible(key): value if isinstance(value, bool) else line(value) for key, value in said.items()}
    return dict.fromkeys(needed, "") | found if found else {}


def line(said: Any, limit: int = 20_000) -> str:
    """A message that a host had a part in."""
    text = visible(said).strip()
    return text if len(text) <= limit else f"{text[:limit]} [...]"


def _read(said: Any, name: str, part: str, given_only: bool, what: str, reader: Reader) -> dict[str, Any]:
    try:
        read = reader.plain(said)
    except Unreadable as error:
        raise Refused(f"{what}: {error}") from None
    if not isinstance(read, dict):
        raise Refused(f"{what}: they are {kind(read)}")
    if not _check(name, part, given_only)(read):
        raise Refused(f"{what}: {schema.fault(name, read, part, given_only)}")
    return read


@cache
def _check(name: str, part: str, given_only: bool) -> schema.Check:
    return schema.compiled(name, part, given_only)
