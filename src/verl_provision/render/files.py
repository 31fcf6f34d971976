"""A job as files: the target's template filled in, and a README; each line knows where its value comes from."""

import json
import shlex
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from verl_provision.catalog import references
from verl_provision.render import targets
from verl_provision.render.model import Job, Refused

TEMPLATES = Path(__file__).resolve().parent / "templates"
MADE = "Made by `verl-provision render"  # what says that a file is ours
MARK = "\x1f"  # before a field's name, at the end of a line


def render(job: Job, made_by: str) -> dict[str, list[tuple[str, str]]]:
    """`{file: [(line, where its value comes from), ...]}`. Raises Refused with every reason."""
    errors = targets.errors(job)
    if errors:
        raise Refused(errors)
    target = targets.TARGETS[job.target]
    return {
        target.file: lines(job, f"{job.target}.j2", made_by),
        "README.md": lines(job, "README.md.j2", made_by),
    }


def lines(job: Job, template: str, made_by: str) -> list[tuple[str, str]]:
    """A template filled in, line by line."""
    text = environment().get_template(template).render(
        job=job, site=job.site, target=targets.TARGETS[job.target], made=MADE, made_by=made_by, made_token=targets.token
    )  # fmt: skip
    found = []
    for line in text.splitlines():
        line, *fields = line.split(MARK)
        said = [job.sources.get(name, name) if name in job.sources else name for name in fields]
        found.append((line.rstrip(), "; ".join(dict.fromkeys(said))))
    return found


def text(rows: list[tuple[str, str]]) -> str:
    """The file itself."""
    return "".join(f"{line}\n" for line, dummy in rows)


@cache
def environment() -> jinja2.Environment:
    """Templates in which a name that doesn't exist is an error."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        comment_start_string="{##",  # `{#` is the shell's
        comment_end_string="##}",
    )
    made.filters |= {
        "sh": lambda value: shlex.quote(str(value)),
        "command": shlex.join,
        "yaml": as_yaml,
        "block": block,
    }
    made.globals |= {
        "via": via, "enroot": enroot, "compose": compose, "wait_for_ray": wait_for_ray, "at_least": targets.at_least
    }  # fmt: skip
    return made


def via(*names: str) -> str:
    """Says of the line that ends here which fields its value comes from."""
    return "".join(MARK + name for name in names)


def as_yaml(value: Any) -> str:
    """Any value on one line, as JSON, which YAML reads."""
    return json.dumps(dict(value) if isinstance(value, Mapping) else value, ensure_ascii=False)


def enroot(image: str) -> str:
    """An image in Enroot's words: `#` behind the registry. It knows no digests."""
    registry = references.registry(image)
    return f"{registry}#{image.removeprefix(registry + '/')}" if image.startswith(registry + "/") else image


def compose(command: tuple[str, ...]) -> list[str]:
    """A command in which Compose replaces nothing."""
    return [word.replace("$", "$$") for word in command]


def wait_for_ray(job: Job) -> str:
    """The command that ends once Ray has all nodes and GPUs, or fails at the deadline."""
    ready = environment().get_template("ready.py.j2").render(job=job)
    return shlex.join(["python3", "-c", ready, str(job.nodes), str(job.gpus), str(job.site["deadline"])])


def block(value: str, width: int) -> str:
    """Text indented as a YAML block, but for its first line."""
    return value.replace("\n", "\n" + " " * width)
