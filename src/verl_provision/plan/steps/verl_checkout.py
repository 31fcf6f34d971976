"""Plan role verl_checkout: clone or move the checkout."""

from typing import Any

from verl_provision.decide.junk import mapping, text
from verl_provision.plan.keys import step_key
from verl_provision.plan.steps.planner import Planner, in_use, works_inside

REPOSITORY = "https://github.com/verl-project/verl.git"


def verl_checkout(planner: Planner) -> dict[str, Any]:
    """Clone or move the checkout that is mounted into the container."""
    wishes, release, found = planner.wishes, planner.decision.candidate.release, planner.host.checkout
    wanted = wishes.commit or release.git_tag or f"v{release.version}"
    args = planner.args(
        "verl_checkout",
        repo=wishes.mirrors.get("git") or REPOSITORY,
        version=wanted,
        path=f"{planner.prefix}/src",
        become=False,
    )
    planner.out.content["verl_checkout"] = step_key("verl_checkout", args)
    wanted = planner.out.verl = str(args["version"])
    if found is None:
        planner.add("verl_checkout", f"there is no checkout at {args['path']}", args)
        return args
    commit, tag = text(found.get("commit")) or "", text(found.get("tag"))
    if tag == wanted or (commit and commit.startswith(wanted) and len(wanted) >= 7):
        return args
    left = text(mapping(planner.host.stamps.get("verl_checkout")).get("commit")) or commit
    if planner.stamp("verl_checkout") == step_key("verl_checkout", args) and not tag and left == commit:
        return args  # a tag that a shallow clone doesn't show
    if in_use(planner):
        container = planner.host.container
        because = f"{args['path']} is mounted into our container, in which {container.processes[0]} runs"
        planner.defer("verl_checkout", f"check out {wanted}", "code_in_use", because)
        return args
    if planner.host.ray_busy and not wishes.disrupt:
        because = f"a Ray job or actor runs here, and may use {args['path']}"
        planner.defer("verl_checkout", f"check out {wanted}", "code_in_use", because)
        return args
    if found.get("dirty") is True:
        planner.defer(
            "verl_checkout",
            f"check out {wanted}",
            "local_changes",
            f"{args['path']} has changes that are not committed ({tag or commit[:12]})",
        )
        planner.out.deferred[-1]["fix"] = f"git -C {args['path']} stash, or commit, then run again."
        return args
    disturbs = "code_in_use" if works_inside(planner) else "none"
    reason = f"{args['path']} is at {tag or commit[:12] or 'no commit'}, wanted is {wanted}"
    planner.add("verl_checkout", reason, args, disturbs)
    return args
