"""The steps of a plan, in the order in which they are done; a step is named as its role."""

from dataclasses import dataclass
from types import ModuleType
from typing import Any

from verl_provision.catalog.model import World
from verl_provision.facts import Host
from verl_provision.plan import verification
from verl_provision.plan.steps import (
    container_image,
    disruption,
    docker_engine,
    huggingface_token,
    nvidia_container_toolkit,
    source_environment,
    training_container,
    verl_checkout,
    verl_shell,
)
from verl_provision.plan.steps.planner import Planner, plain_settings
from verl_provision.select.decision import Decision
from verl_provision.select.wanted import Wishes


@dataclass(frozen=True, slots=True)
class Row:
    """One step: which steps it needs done before it, where a plan has them, and what a person calls it."""

    needs: tuple[str, ...]
    title: str
    module: ModuleType | None


STEPS: dict[str, Row] = {
    "docker_engine": Row((), "Install or configure the container engine", docker_engine),
    "nvidia_container_toolkit": Row(("docker_engine",), "Install the container toolkit", nvidia_container_toolkit),
    "disruption": Row(
        ("docker_engine", "nvidia_container_toolkit"), "Make the changes take effect", disruption
    ),
    "container_image": Row(("docker_engine",), "Pull the image", container_image),
    "verl_checkout": Row((), "Check verl out", verl_checkout),
    "huggingface_token": Row((), "Keep the Hugging Face token", huggingface_token),
    "training_container": Row(
        (
            "docker_engine", "nvidia_container_toolkit", "disruption", "container_image", "verl_checkout",
            "huggingface_token",
        ),
        "Start the training container",
        training_container,
    ),
    "source_environment": Row(("verl_checkout",), "Build the source environment", source_environment),
    "verl_shell": Row((), "Install verl-shell", verl_shell),
    "ray_cluster": Row(
        (
            "docker_engine", "nvidia_container_toolkit", "disruption", "container_image", "verl_checkout",
            "source_environment",
        ),
        "Start Ray on the nodes of a cluster",
        None,  # planned over the whole cluster: plan/cluster.py
    ),
}  # fmt: skip


def plan(
    host: Host,
    wishes: Wishes,
    decision: Decision,
    world: World,
    settings: dict[str, Any],
    secrets: dict[str, Any],
    head: bool = False,
) -> Planner:
    """The steps (`out`) of a host whose decision is made; `head`: Ray's head runs there."""
    planner = Planner(host, wishes, decision, world, plain_settings(settings), secrets, head)
    if decision.backend == "source":
        huggingface_token.huggingface_token(planner)
        source_environment.source_environment(planner)
    else:
        container_path(planner)
    if not planner.out.errors:
        planner.out.verification = verification.plan(
            host, wishes, decision, planner.out.steps, planner.out.content, planner.prefix, planner.become,
            planner.settings.get("verification", {}), {item["step"] for item in planner.out.deferred}, ray(planner),
        )  # fmt: skip
        if planner.shm_mb:
            planner.out.verification["expected"]["shm_mb"] = planner.shm_mb
        verl_shell.verl_shell(planner)  # after it: a command for people changes nothing that is verified
    return planner


def ray(planner: Planner) -> dict[str, Any] | None:
    """The Ray cluster of which this host is the head."""
    if not planner.head:
        return None
    port = planner.settings.get("ray_cluster", {}).get("dashboard_port", 8265)
    return {
        "nodes": planner.wishes.nnodes,
        "dashboard": f"http://127.0.0.1:{port}",
        "token": f"{planner.state_dir}/ray/token",
    }


def container_path(planner: Planner) -> None:
    """Engine, toolkit, what makes them take effect, image, checkout, container."""
    docker = planner.decision.backend == "docker"
    request = "none"
    if docker:
        engine_needs = docker_engine.docker_engine(planner)
        request = disruption.toolkit_and_effect(planner, engine_needs)
    elif planner.decision.profile == "gpu":
        request = "cdi"
    image_args = container_image.container_image(planner)
    checkout = verl_checkout.verl_checkout(planner)
    huggingface_token.huggingface_token(planner)
    if planner.decision.backend == "apptainer":
        # No container stays: every command starts in the image, through verl-shell, with the checkout mounted.
        planner.out.content["image"] = f"{image_args['pull_ref']}@{image_args['digest']}"
        return
    training_container.training_container(planner, image_args, checkout, request)
