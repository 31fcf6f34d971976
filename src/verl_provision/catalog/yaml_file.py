"""Read a YAML file that may be anything: a pipe, an endless file, aliases that unfold to gigabytes."""

import stat
from pathlib import Path
from typing import Any

import yaml

from verl_provision.catalog.errors import CatalogError, Fault

MAX_BYTES = 4_000_000
MAX_NODES = 200_000  # with aliases unfolded; catalog/images.yml has a fortieth of it


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """Safe YAML in which a date stays the string that was written."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read(path: Path) -> Any:
    """The content of one YAML file, or CatalogError."""
    loader = None
    try:
        loader = Loader(_bytes(path))
        node = loader.get_single_node()
        if node is None:
            return None
        _size(node, path, {})
        return loader.construct_document(node)
    except OSError as error:
        raise _refused(path, error.strerror or "nothing", "a file that can be read") from None
    except yaml.YAMLError as error:
        raise _refused(path, " ".join(str(error).split()), "valid YAML") from None
    except (ValueError, RecursionError) as error:  # such as a number that Python won't read
        raise _refused(path, str(error), "valid YAML") from None
    finally:
        if loader:
            loader.dispose()


def _bytes(path: Path) -> bytes:
    """The file's bytes. A pipe would wait for its writer, a device never end: what is no plain file isn't opened."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise _refused(path, "a folder", "a YAML file")
    if not stat.S_ISREG(mode):
        raise _refused(path, "no plain file (a pipe, a socket or a device)", "a YAML file")
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise _refused(path, f"more than {MAX_BYTES // 1_000_000} MB", "a catalog file of at most that size")
    return content


def _size(node: yaml.Node, path: Path, seen: dict[int, int]) -> int:
    """How many nodes this one is with its aliases unfolded. Refuses too many, a loop, and a key that comes twice."""
    if id(node) in seen:
        if not seen[id(node)]:
            raise _refused(path, f"an alias inside of what it stands for{_at(node)}", "valid YAML without such a loop")
        return seen[id(node)]
    seen[id(node)] = 0
    size = 1 + (len(node.value) // 100 if isinstance(node, yaml.ScalarNode) else 0)
    if isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in keys and key.value != "<<":
                    raise _refused(
                        path, f"the key `{key.value}` twice{_at(key)}", "each key once", "Remove one of the two"
                    )
                keys.add(key.value)
            size += _size(key, path, seen) + _size(value, path, seen)
    elif isinstance(node, yaml.SequenceNode):
        size += sum(_size(item, path, seen) for item in node.value)
    if size > MAX_NODES:
        raise _refused(path, f"aliases that unfold to more than {MAX_NODES} values{_at(node)}", "a catalog file")
    seen[id(node)] = size
    return size


def _at(node: yaml.Node) -> str:
    return f" (line {node.start_mark.line + 1})"


def _refused(path: Path, found: str, needed: str, fix: str = "") -> CatalogError:
    return CatalogError([Fault(str(path), "", "", found, needed, fix)])
