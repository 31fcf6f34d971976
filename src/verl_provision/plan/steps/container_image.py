"""Plan role container_image: pull what isn't there."""

from typing import Any

from verl_provision.plan import disruption
from verl_provision.plan.keys import step_key
from verl_provision.plan.steps.planner import Planner
from verl_provision.select.wanted import Wishes


def pull_reference(image: Any, wishes: Wishes, engine: str | None = "docker") -> str:
    """What is pulled: the image's own registry, or the user's mirror of it. Only Docker knows where short names are."""
    mirror = wishes.mirrors.get("registry")
    name = image.ref
    for prefix in ("docker.io/", f"{image.registry}/"):
        name = name.removeprefix(prefix)
    if mirror:
        return f"{mirror.removeprefix('https://').removeprefix('http://').rstrip('/')}/{name}"
    return name if image.registry == "docker.io" and engine == "docker" else f"{image.registry}/{name}"


def wanted_image(planner: Planner) -> tuple[dict[str, Any], bool]:
    """The step's arguments, and whether the image is on the host."""
    host, decision = planner.host, planner.decision
    image = decision.candidate.image
    pull_ref = pull_reference(image, planner.wishes, decision.backend)
    args = planner.args(
        "container_image",
        ref=image.ref,
        pull_ref=pull_ref,
        digest=image.digest or "",
        become=planner.become,
        size_gb=image.size_gb or 0,
        engine=decision.backend,
    )
    there = image.local(host.image_refs, host.image_digests) or (not image.digest and pull_ref in host.image_refs)
    if decision.backend == "apptainer":
        args["file"] = f"{planner.prefix}/images/{image.id}.sif"
        there = args["file"] in host.sif_images
    if decision.backend != "docker":
        there = there and planner.stamp("container_image") == step_key("container_image", args)
    return args, bool(there)


def container_image(planner: Planner) -> dict[str, Any]:
    """Pull what isn't there."""
    args, there = wanted_image(planner)
    if there:
        return args
    wanted = f"{args['pull_ref']}@{args['digest']}" if args["digest"] else args["pull_ref"]
    if planner.blocked:
        planner.defer("container_image", f"pull {wanted}", disruption.RESTART, planner.blocked)
    else:
        planner.add("container_image", f"{wanted} is not on the host", args)
    return args
