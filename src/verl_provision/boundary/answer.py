"""Of a module's answer the keys that we named, as plain values; nothing that Ansible would act on.

Ansible takes orders from results: `add_host` and `add_group` change the inventory, `ansible_facts` set variables,
`ansible_stats`, `diff`, `warnings` and others are shown or kept. A host can print any of them.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from verl_provision.boundary.text import visible

DEPTH, VALUES, LETTERS, DIGITS = 24, 200_000, 4_000_000, 2**63
NUMBERS, LISTS = (int, float), (list, tuple)
SHOWN = ("before", "after", "before_header", "after_header")  # of a diff


class Unreadable(ValueError):
    """Something that no module of ours says; `path` leads to it, the innermost first."""

    def __init__(self, what: str):
        super().__init__(what)
        self.path: list[str] = []

    def __str__(self) -> str:
        path = ".".join(visible(part)[:60] for part in reversed(self.path[-8:])) or "it"
        return f"{path} {self.args[0]}"


def named(answer: Any, keys: Iterable[str], who: str) -> dict[str, Any]:
    """An answer as it is handed on: `changed`, `failed`, `msg` and `fix`, a diff, and `keys`."""
    try:
        return _named(answer, keys)
    except Unreadable as error:
        return {"changed": False, "failed": True, "msg": f"the answer of {who} from this host is no answer: {error}"}


def _named(answer: Any, keys: Iterable[str]) -> dict[str, Any]:
    if not isinstance(answer, Mapping):
        raise Unreadable(f"is {kind(answer)}")
    reader = Reader()
    kept = reader.plain({key: answer[key] for key in keys if key in answer})
    kept |= {key: reader.text(answer[key]) for key in ("msg", "fix") if answer.get(key) is not None}
    if isinstance(answer.get("diff"), Mapping):
        kept["diff"] = {key: reader.text(answer["diff"][key]) for key in SHOWN if key in answer["diff"]}
    return {**kept, "changed": answer.get("changed") is True, "failed": bool(answer.get("failed", False))}


class Reader:
    """Values as plain ones, as long as they are not too many."""

    def __init__(self, values: int = VALUES, letters: int = LETTERS) -> None:
        self.values, self.letters = values, letters

    def plain(self, value: Any, depth: int = DEPTH) -> Any:
        """A JSON value without tags, unsafe characters and numbers that JSON doesn't have."""
        mapping = type(value) is dict  # these first: they are most
        if not mapping and type(value) is not list:
            if isinstance(value, str):
                return self.text(value)
            if value is None or isinstance(value, bool):
                return value
            if isinstance(value, NUMBERS):
                if not -DIGITS < value < DIGITS:  # NaN and infinity, too
                    raise Unreadable("is a number beyond all bounds")
                return int(value) if isinstance(value, int) else float(value)
            mapping = isinstance(value, Mapping)
            if not mapping and not isinstance(value, LISTS):
                return self.text(value)
        self.values -= len(value)
        if self.values < 0:
            raise Unreadable("holds more than any honest one")
        if not depth:
            raise Unreadable(f"is nested more than {DEPTH} deep")
        key: Any = ""
        try:
            if not mapping:
                return [self.plain(item, depth - 1) for item in value]
            found = {}
            for key, item in value.items():
                name = key if type(key) is str and key.isascii() and key.isprintable() else visible(key)
                if name.startswith("__ansible"):  # Ansible writes its own types so
                    raise Unreadable("is a key of Ansible's own")
                self.letters -= len(name)
                if item is None or item is True or item is False or (type(item) is int and -DIGITS < item < DIGITS):
                    found[name] = item
                elif type(item) is str and item.isascii() and item.isprintable():
                    self.letters -= len(item)
                    found[name] = item
                else:
                    found[name] = self.plain(item, depth - 1)
            self.text("")  # are they too many?
            return found
        except Unreadable as error:
            error.path.append(str(key) or "[]")
            raise

    def text(self, value: Any) -> str:
        """Text in which nothing is left that a terminal would obey."""
        text = value if type(value) is str and value.isascii() and value.isprintable() else visible(value)
        self.letters -= len(text)
        if self.letters < 0:
            raise Unreadable("is longer than any honest one")
        return text


def kind(value: Any) -> str:
    """What a value is, in the words of JSON."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    for types, word in (((int, float), "a number"), (str, "text"), (Mapping, "an object"), ((list, tuple), "a list")):
        if isinstance(value, types):
            return word
    return type(value).__name__


@cache
def documented(module: str) -> tuple[str, ...]:
    """The keys that a module's own documentation (RETURN) names; `module` is its file."""
    block = re.search(r'^RETURN = r?"""\n(.*?)^"""', Path(module).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return tuple(re.findall(r"^(\w+):", block[1], re.MULTILINE)) if block else ()
