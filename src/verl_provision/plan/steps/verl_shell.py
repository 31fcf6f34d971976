"""Plan role verl_shell: the command that opens the environment."""

from verl_provision.plan.keys import step_key
from verl_provision.plan.steps.huggingface_token import token_path
from verl_provision.plan.steps.planner import Planner
from verl_provision.plan.steps.training_container import container_env

SHELL = ".local/bin/verl-shell"  # in the login user's home


def verl_shell(planner: Planner) -> None:
    """One command for people, whatever carries the environment: written where it isn't, or says something else."""
    host, wishes, backend_name = planner.host, planner.wishes, planner.decision.backend
    apptainer = backend_name == "apptainer"
    args = planner.args(
        "verl_shell",
        path=f"{host.home.rstrip('/')}/{SHELL}",
        backend=backend_name,
        become=planner.become,
        container=wishes.container,
        workdir="/workspace/verl",
        prefix=planner.prefix,
        image=f"{planner.prefix}/images/{planner.decision.candidate.image.id}.sif" if apptainer else "",
        binds=[f"{planner.prefix}/src:/workspace/verl"] if apptainer else [],
        gpu=planner.decision.profile == "gpu",
        env={},
    )
    if planner.head:
        args["ray"] = wishes.ray_container
        if backend_name == "source":  # Ray's own container has it already
            args["ray_token"] = f"{planner.state_dir}/ray/token"
    if backend_name in ("source", "apptainer"):  # a container has it already
        args["env"] = {**container_env(planner), **({"HF_TOKEN_PATH": token_path(planner)} if planner.token else {})}
    if apptainer and planner.token:
        args["binds"] = [*args["binds"], f"{planner.prefix}/secrets"]
    planner.out.shell = str(args["path"])
    key = step_key("verl_shell", args)
    usual = args["path"] == f"{host.home.rstrip('/')}/{SHELL}"
    found = host.shell_key if usual else planner.stamp("verl_shell")
    if found != key:
        there = "is for another environment" if found else "is not there"
        planner.add("verl_shell", f"{args['path']} {there}", args)
