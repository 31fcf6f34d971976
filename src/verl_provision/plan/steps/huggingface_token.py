"""Plan role huggingface_token: keep a token that is given; one that isn't given any more stays where it is."""

from verl_provision.facts import Host
from verl_provision.plan.keys import step_key
from verl_provision.plan.steps.step import TOKEN, Context, Step
from verl_provision.select.decision import Decision
from verl_provision.variables import Request

NAME = "huggingface_token"


def plan(host: Host, request: Request, decision: Decision, context: Context) -> Step | None:
    """Write it where there is none, or another one."""
    state = context.secrets.get(TOKEN)
    if state is None or (state == "kept" and host.huggingface_token):
        return None
    path = token_path(context)
    args = context.args(NAME, path=path)
    reason = f"{path} holds another token" if host.huggingface_token else f"there is no token at {path}"
    return Step(args, step_key(NAME, args), reason)


def token_path(context: Context) -> str:
    """Where the host keeps it."""
    return f"{context.prefix}/secrets/huggingface_token"
