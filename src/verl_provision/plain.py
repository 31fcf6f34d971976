"""The edge between Ansible's values and ours: plain JSON types only inside."""

from collections.abc import Mapping
from typing import Any


def to_plain(value: Any) -> Any:
    """Return `value` as plain dict/list/str/int/float/bool/None.

    Ansible hands filters tagged subclasses (`_AnsibleTaggedStr` and friends); decisions see plain types, so that
    they compare, hash and serialise like anyone's. Anything unknown becomes its text.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, Mapping):
        return {str(key): to_plain(value[key]) for key in value}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_plain(item) for item in value]
    return str(value)
