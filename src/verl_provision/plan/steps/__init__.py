"""The steps of a plan, in the order in which they are done. A step is named as its role, and planned by a function."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from verl_provision.catalog.model import Catalog
from verl_provision.facts import Host
from verl_provision.plan import verification
from verl_provision.plan.steps import (
    container_image,
    disruption,
    docker_engine,
    huggingface_token,
    nvidia_container_toolkit,
    ray_cluster,
    source_environment,
    training_container,
    verl_checkout,
    verl_shell,
)
from verl_provision.plan.steps.step import Context, Notes, Step, context
from verl_provision.select.decision import Decision
from verl_provision.variables import Request

Plan = Callable[[Host, Request, Decision, Context], Step | None]


@dataclass(frozen=True, slots=True)
class Row:
    """One step of the table."""

    title: str  # what a person reads
    short: str  # on the board
    plan: Plan  # what it says of a host; None where the host's backend has no such step
    needs: tuple[str, ...] = ()  # steps that come before it, where a plan has them


STEPS: dict[str, Row] = {
    "docker_engine": Row("Install or configure the container engine", "engine", docker_engine.plan),
    "nvidia_container_toolkit": Row(
        "Install the container toolkit", "toolkit", nvidia_container_toolkit.plan, ("docker_engine",)
    ),
    "disruption": Row(
        "Make the changes take effect", "effect", disruption.plan, ("docker_engine", "nvidia_container_toolkit")
    ),
    "container_image": Row("Pull the image", "image", container_image.plan, ("docker_engine",)),
    "verl_checkout": Row("Check verl out", "verl", verl_checkout.plan),
    "huggingface_token": Row("Keep the Hugging Face token", "token", huggingface_token.plan),
    "training_container": Row(
        "Start the training container",
        "container",
        training_container.plan,
        (
            "docker_engine", "nvidia_container_toolkit", "disruption", "container_image", "verl_checkout",
            "huggingface_token",
        ),
    ),
    "source_environment": Row(
        "Build the source environment", "environment", source_environment.plan, ("verl_checkout",)
    ),
    "verl_shell": Row("Install verl-shell", "shell", verl_shell.plan),
    "ray_cluster": Row(
        "Start Ray on the nodes of a cluster",
        "ray",
        ray_cluster.plan,
        (
            "docker_engine", "nvidia_container_toolkit", "disruption", "container_image", "verl_checkout",
            "source_environment",
        ),
    ),
}  # fmt: skip
AT = "__verl_at"  # the variable that names the step that a host is in
VERIFICATION = "verification"  # the role that proves the result; no step of a plan
UNVERIFIED = ("verl_shell",)  # a command for people changes nothing that is verified


def title(step: str) -> str:
    """What a person calls a step, or the proof of the result."""
    return STEPS[step].title if step in STEPS else "Verify where verl will run"


def labels() -> dict[str, str]:
    """The board's columns: step -> what is above it, in order."""
    return {**{name: row.short for name, row in STEPS.items()}, VERIFICATION: "verify"}


@dataclass(frozen=True, slots=True)
class Planned:
    """The steps of one host whose decision is made."""

    host: Host
    request: Request
    decision: Decision
    context: Context  # with all steps in `before`
    verification: dict[str, Any] | None

    @property
    def notes(self) -> Notes:
        """What a person is told."""
        return sum((step.notes for step in self.context.before.values()), Notes())

    @property
    def shell(self) -> str | None:
        """The command that opens the environment."""
        step = self.context.before.get("verl_shell")
        return str(step.args["path"]) if step else None

    def arguments(self, step: str) -> dict[str, Any] | None:
        """A step's arguments, whether or not it has work to do; None where the host has no such step."""
        return self.context.before[step].args if step in self.context.before else None

    def entries(self) -> dict[str, dict[str, Any]]:
        """The steps with work to do, as in a plan."""
        found: dict[str, dict[str, Any]] = {}
        for name, step in self.context.before.items():
            if step.reason:
                found[name] = entry(name, step, found)
        return found


def plan(
    host: Host, request: Request, decision: Decision, catalog: Catalog, settings: Any, secrets: Any, head: bool = False
) -> Planned:
    """Plan every step of a host whose decision is made; `head`: Ray's head runs there."""
    told = context(host, request, decision, catalog, settings, secrets, head)
    for name, row in STEPS.items():
        step = row.plan(host, request, decision, told)
        if step:
            told = replace(told, before={**told.before, name: step})
    planned = Planned(host, request, decision, told, None)
    return planned if planned.notes.errors else replace(planned, verification=verify(planned))


def entry(name: str, step: Step, before: dict[str, Any]) -> dict[str, Any]:
    """A step as in a plan (catalog/schema/plan.json); it needs what was entered before it."""
    return {
        "needs": [other for other in before if other in (*STEPS[name].needs, *step.needs)],
        "reason": step.reason,
        "disruption": step.disruption,
        "key": step.config_hash,
        "args": step.args,
    }


def verify(planned: Planned) -> dict[str, Any]:
    """Whether the result has to be proved again, and against what."""
    told = planned.context
    steps = {name: step for name, step in told.before.items() if name not in UNVERIFIED}
    wanted = verification.plan(
        planned.host,
        planned.request,
        planned.decision,
        [name for name, step in steps.items() if step.reason],
        content(planned),
        told.prefix,
        told.become,
        told.settings.get("verification", {}),
        {item["step"] for item in planned.notes.deferred},
        ray(planned),
    )
    container = planned.arguments("training_container")
    shm_mb = training_container.mebibytes(container["shm_size"]) if container else None
    if shm_mb:
        wanted["expected"]["shm_mb"] = shm_mb
    return wanted


def content(planned: Planned) -> dict[str, str]:
    """What makes up the environment: the hashes of its steps, needed or not, and the image."""
    found = {
        name: planned.context.before[name].config_hash
        for name in ("verl_checkout", "training_container", "source_environment")
        if name in planned.context.before
    }
    image, container = planned.arguments("container_image"), planned.arguments("training_container")
    if image:
        found["image"] = container_image.named(image) if container else f"{image['pull_ref']}@{image['digest']}"
    return found


def ray(planned: Planned) -> dict[str, Any] | None:
    """The Ray cluster of which this host is the head."""
    told = planned.context
    if not told.head:
        return None
    port = told.settings.get("ray_cluster", {}).get("dashboard_port", 8265)
    return {
        "nodes": planned.request.nnodes,
        "dashboard": f"http://127.0.0.1:{port}",
        "token": f"{told.state_dir}/ray/token",
    }
