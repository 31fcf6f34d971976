"""Plan role container_image: pull what isn't there."""

from typing import Any

from verl_provision.facts import Host
from verl_provision.plan import daemon_json, disruption
from verl_provision.plan.keys import step_key
from verl_provision.plan.steps.step import Context, Step, applied_hash, defer
from verl_provision.select.decision import Decision
from verl_provision.variables import Request

NAME = "container_image"


def plan(host: Host, request: Request, decision: Decision, context: Context) -> Step | None:
    """Pull what isn't there."""
    if decision.backend == "source":
        return None
    args = arguments(host, request, decision, context)
    step = Step(args, step_key(NAME, args))
    if there(host, decision, args):
        return step
    wanted = named(args)
    if context.blocked:
        return step.noting(defer(NAME, f"pull {wanted}", disruption.RESTART, context.blocked))
    # A setting of the engine may say where from, through what and whereto: it takes effect first.
    engine = context.before.get("docker_engine")
    later = bool(engine and engine.effect != daemon_json.NOTHING)
    return step.because(f"{wanted} is not on the host", needs=("disruption",) if later else ())


def arguments(host: Host, request: Request, decision: Decision, context: Context) -> dict[str, Any]:
    """The step's arguments."""
    image = decision.candidate.image
    args = context.args(
        NAME,
        ref=image.ref,
        pull_ref=pull_reference(image, request, decision.backend),
        digest=image.digest or "",
        become=context.become,
        size_gb=image.size_gb or 0,
        engine=decision.backend,
    )
    if decision.backend == "apptainer":
        args["file"] = f"{context.prefix}/images/{image.id}.sif"
    return args


def there(host: Host, decision: Decision, args: dict[str, Any]) -> bool:
    """Whether the image is on the host."""
    image = decision.candidate.image
    pull_ref = args["pull_ref"]
    found = image.local(host.image_refs, host.image_digests) or (not image.digest and pull_ref in host.image_refs)
    if decision.backend == "apptainer":
        found = args["file"] in host.sif_images
    if decision.backend != "docker":
        found = found and applied_hash(host, NAME) == step_key(NAME, args)
    return bool(found)


def named(args: dict[str, Any]) -> str:
    """The image, by its digest where that is known."""
    return f"{args['pull_ref']}@{args['digest']}" if args["digest"] else args["pull_ref"]


def pull_reference(image: Any, request: Request, engine: str | None = "docker") -> str:
    """What is pulled: the image's own registry, or the user's mirror of it. Only Docker knows where short names are."""
    mirror = request.mirrors.get("registry")
    name = image.ref
    for prefix in ("docker.io/", f"{image.registry}/"):
        name = name.removeprefix(prefix)
    if mirror:
        return f"{mirror.removeprefix('https://').removeprefix('http://').rstrip('/')}/{name}"
    return name if image.registry == "docker.io" and engine == "docker" else f"{image.registry}/{name}"
