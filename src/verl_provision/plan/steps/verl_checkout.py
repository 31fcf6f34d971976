"""Plan role verl_checkout: clone or move the checkout that is mounted into the container, or built from."""

from verl_provision.decide.junk import mapping, text
from verl_provision.facts import Host
from verl_provision.plan.keys import step_key
from verl_provision.plan.steps import source_environment
from verl_provision.plan.steps.step import WHEN_IDLE, Context, Step, applied_hash, defer, in_use, works_inside
from verl_provision.select.decision import Decision
from verl_provision.select.wanted import Wishes

NAME = "verl_checkout"
REPOSITORY = "https://github.com/verl-project/verl.git"


def plan(host: Host, request: Wishes, decision: Decision, context: Context) -> Step | None:
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
    step = Step(args, step_key(NAME, args))
    wanted, path = str(args["version"]), args["path"]
    if found is None:
        return step.because(f"there is no checkout at {path}")
    commit, tag = text(found.get("commit")) or "", text(found.get("tag"))
    if tag == wanted or (commit and commit.startswith(wanted) and len(wanted) >= 7):
        return step
    left = text(mapping(host.stamps.get(NAME)).get("commit")) or commit
    if applied_hash(host, NAME) == step.config_hash and not tag and left == commit:
        return step  # a tag that a shallow clone doesn't show
    disturbs, fix = "code_in_use", WHEN_IDLE
    if in_use(host, request):
        because = f"{path} is mounted into our container, in which {host.container.processes[0]} runs"
    elif host.ray_busy and not request.disrupt:
        because = f"a Ray job or actor runs here, and may use {path}"
    elif found.get("dirty") is True:
        because = f"{path} has changes that are not committed ({tag or commit[:12]})"
        disturbs, fix = "local_changes", f"git -C {path} stash, or commit, then run again."
    else:
        reason = f"{path} is at {tag or commit[:12] or 'no commit'}, wanted is {wanted}"
        return step.because(reason, disturbs if works_inside(host) else "none")
    return step.noting(defer(NAME, f"check out {wanted}", disturbs, because, fix))
