"""What a user has in the training container: whose it is, what is kept for the files in it, what isn't mounted yet."""

import posixpath
import shlex
from typing import Any

from verl_provision.decide.junk import mapping, text
from verl_provision.facts import Host, Kept
from verl_provision.plan.steps.step import Notes, warn
from verl_provision.variables import Request

HOME_TARGETS = ("/root/.cache/huggingface", "/root/data", "/data")  # the role's training_container_home_mounts


def notes(host: Host, args: dict[str, Any]) -> Notes:
    """All that is to say about it."""
    command = f"{'sudo ' * bool(args['become'])}{args['engine']}"
    found = foreign(host, args, command)
    for one in host.kept:
        if one.engine == host.engine:
            found += Notes(warnings=(kept_warning(one, command),))
    inside = [place for place in HOME_TARGETS if host.container and not _mounted(place, host.container.mounts)]
    if inside and args["home"] and "home_mounts" not in args:
        found += warn(
            "home_mounts",
            f"the container {args['name']} holds {', '.join(inside)} itself: it was made before these were mounts. "
            f"They are copied to {args['home']} when it is next made anew; nothing needs doing",
            "",
        )
    return found


def foreign(host: Host, args: dict[str, Any], command: str) -> Notes:
    """Refuse a container of our name that is the user's own: neither a label nor the last run's id says it's ours."""
    container = host.container
    made = text(mapping(host.stamps.get("training_container")).get("id")) or ""
    if container is None or container.ours or args.get("replace_foreign") is True:
        return Notes()
    if made and made[:12] == container.id[:12]:
        return Notes()
    name = args["name"]
    return Notes(
        errors=(
            {
                "rule": "foreign_container",
                "found": f"a container {name} that we did not make, of image {container.image_ref or 'unknown'}",
                "needed": "that name free, or a container of ours",
                "where": None,
                "fix": f"Keep it under another name: {command} rename {name} {name}-own; or set verl_container_name.",
            },
        )
    )


def to_discard(host: Host, request: Request, name: str) -> str:
    """Which kept container of that name this run is told to remove, as a reason."""
    kept = [one.name for one in host.kept if one.engine == host.engine and one.name.startswith(f"{name}-before-")]
    if not (request.discard_changes and kept):
        return ""
    return f"{kept[0]} is still there, and verl_discard_container_changes is set"


def kept_warning(kept: Kept, command: str) -> dict[str, str]:
    """Name a container that is kept, with its size and the commands that bring its files back."""
    size = "" if kept.size_gb is None else f"{kept.size_gb:.1f} GB" if kept.size_gb > 0.1 else f"{kept.size_gb:.3f} GB"
    files = f"files: {kept.files}" if kept.files else ""
    held = ", ".join(part for part in (size, files) if part) or "not looked through yet"
    path = kept.path or "/PATH"
    fetch = f"{command} cp {kept.name}:{shlex.quote(path)} -"
    return {
        "rule": "kept_container",
        "message": f"{kept.name} is kept for what was changed in it outside its mounts ({held})",
        "fix": f"List it: {command} diff {kept.name}. Bring a file back: {fetch} | {command} cp - "
        f"{kept.name.partition('-before-')[0]}:{shlex.quote(posixpath.dirname(path))}. When you have all you need, "
        f"verl_discard_container_changes=true removes it, or {command} rm {kept.name}.",
    }


def _mounted(target: str, mounts: tuple[str, ...]) -> bool:
    return any(f"{target}/".startswith(f"{place.rstrip('/')}/") for place in mounts if place)
