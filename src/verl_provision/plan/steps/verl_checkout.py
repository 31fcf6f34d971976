"""Plan role verl_checkout: clone or move the checkout that is mounted into the container, or built from."""

import shlex
from dataclasses import replace
from typing import Any

from verl_provision.decide.junk import mapping, text
from verl_provision.facts import Host
from verl_provision.plan.keys import step_key
from verl_provision.plan.steps import source_environment
from verl_provision.plan.steps.step import (
    WHEN_IDLE,
    Context,
    Notes,
    Step,
    applied_hash,
    defer,
    in_use,
    warn,
    works_inside,
)
from verl_provision.select.decision import Decision
from verl_provision.variables import Request

NAME = "verl_checkout"
REPOSITORY = "https://github.com/verl-project/verl.git"


def plan(host: Host, request: Request, decision: Decision, context: Context) -> Step | None:
    """Clone it, or move it to the release that is wanted; not under a job's feet, and not over somebody's changes."""
    if decision.backend == "source" and source_environment.method(request, decision, context)[0] == "pypi":
        return None
    release, found = decision.candidate.release, host.checkout
    args = context.args(
        NAME,
        repo=request.mirrors.get("git") or REPOSITORY,
        version=request.commit or release.git_tag or f"v{release.version}",
        path=f"{context.prefix}/src",
        become=False,
    )
    key, tagged = step_key(NAME, args), args["version"] == release.git_tag
    known = release.git_commit if tagged else None
    step = Step(({"commit": known} if known else {}) | args, key)
    if tagged and not step.args.get("commit") and request.mirrors.get("git"):
        checked = {"code_sha256": release.code_sha256} if release.code_sha256 else {}
        step = replace(step, args=checked | step.args).noting(unchecked(args, bool(checked)))
    wanted, path = str(args["version"]), args["path"]
    if found is None:
        return step.because(f"there is no checkout at {path}")
    commit, tag = text(found.get("commit")) or "", text(found.get("tag"))
    own = bool(known and commit and commit != known)  # a mirror's own release
    if (tag == wanted and not own) or (commit and commit.startswith(wanted) and len(wanted) >= 7):
        return step
    left = text(mapping(host.stamps.get(NAME)).get("commit")) or commit
    if applied_hash(host, NAME) == step.config_hash and not tag and left == commit and not own:
        return step  # a tag that a shallow clone doesn't show
    disturbs, fix = "code_in_use", WHEN_IDLE
    if in_use(host, request):
        because = f"{path} is mounted into our container, in which {host.container.processes[0]} runs"
    elif host.ray_busy and not request.disrupt:
        because = f"a Ray job or actor runs here, and may use {path}"
    elif found.get("stuck"):
        return step.noting(others(host, path, found["stuck"]))
    elif found.get("dirty") is True:
        because = f"{path} has changes that are not committed ({tag or commit[:12]})"
        disturbs, fix = "local_changes", f"git -C {path} stash, or commit, then run again."
    else:
        at = f"{tag} ({commit[:12]})" if tag == wanted else tag or commit[:12] or "no commit"
        reason = f"{path} is at {at}, wanted is {wanted}{f' ({known[:12]})' if known and tag == wanted else ''}"
        return step.because(reason, disturbs if works_inside(host) else "none")
    return step.noting(defer(NAME, f"check out {wanted}", disturbs, because, fix))


def others(host: Host, path: str, stuck: dict[str, Any]) -> Notes:
    """Refuse to move a checkout in which root in a container left files: git would end half-way."""
    error = {
        "rule": "checkout_owner",
        "found": f"{stuck['count']} files and folders in {path} that belong to another user (as {stuck['path']})",
        "needed": f"all of them {host.user}'s, so that another version can be checked out",
        "where": None,
        "fix": f"sudo chown -R {host.user}: {shlex.quote(path) if not path.startswith('~') else path}",
    }
    return Notes(errors=(error,))


def unchecked(args: dict[str, Any], code: bool) -> Notes:
    """Say how much of a mirror's tag nobody can tell to be verl's own."""
    checked = " where its package is PyPI's, looked at when it is fetched; examples and scripts aren't" if code else ""
    return warn(
        "release_commit",
        f"which commit {args['version']} is in verl's own repository is not known here: what {args['repo']} has under "
        f"that tag is taken{checked}",
        "Set verl_commit, or give the release its git_commit in a file that verl_catalog_extra names.",
    )
