"""Plan role verl_shell: one command for people that opens the environment, whatever the backend."""

from verl_provision.facts import Host
from verl_provision.plan.gpus import visible
from verl_provision.plan.keys import step_key
from verl_provision.plan.steps.huggingface_token import token_path
from verl_provision.plan.steps.step import Context, Step, applied_hash
from verl_provision.plan.steps.training_container import container_env
from verl_provision.select.decision import Decision
from verl_provision.variables import Request

NAME = "verl_shell"
SHELL = ".local/bin/verl-shell"  # in the login user's home


def plan(host: Host, request: Request, decision: Decision, context: Context) -> Step | None:
    """Install it where it is missing or opens another environment."""
    backend = decision.backend
    apptainer = backend == "apptainer"
    usual = f"{host.home.rstrip('/')}/{SHELL}"
    args = context.args(
        NAME,
        path=usual,
        backend=backend,
        become=context.become,
        container=request.container,
        workdir="/workspace/verl",
        prefix=context.prefix,
        image=f"{context.prefix}/images/{decision.candidate.image.id}.sif" if apptainer else "",
        binds=[f"{context.prefix}/src:/workspace/verl"] if apptainer else [],
        gpu=decision.profile == "gpu",
        env={},
    )
    if context.head:
        args["ray"] = request.ray_container
        if backend == "source":  # Ray's own container has it already
            args["ray_token"] = f"{context.state_dir}/ray/token"
    if backend in ("source", "apptainer"):  # a container has it already
        token = {"HF_TOKEN_PATH": token_path(context)} if context.token else {}
        args["env"] = {**container_env(request, context), **token, **visible(host)}
    if apptainer and context.token:
        args["binds"] = [*args["binds"], f"{context.prefix}/secrets"]
    step = Step(args, step_key(NAME, args))
    found = host.shell_key if args["path"] == usual else applied_hash(host, NAME)
    if found == step.config_hash:
        return step
    there = "is for another environment" if found else "is not there"
    return step.because(f"{args['path']} {there}")
