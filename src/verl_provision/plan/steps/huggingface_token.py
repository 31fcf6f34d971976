"""Plan role huggingface_token: keep a token that is given."""

from verl_provision.plan.steps.planner import TOKEN, Planner


def token_path(planner: Planner) -> str:
    """Where the host keeps it."""
    return f"{planner.prefix}/secrets/huggingface_token"


def huggingface_token(planner: Planner) -> None:
    """Keep a token that is given; one that isn't given any more stays where it is."""
    state = planner.secrets.get(TOKEN)
    if state is None or (state == "kept" and planner.host.huggingface_token):
        return
    path = token_path(planner)
    reason = f"{path} holds another token" if planner.host.huggingface_token else f"there is no token at {path}"
    planner.add("huggingface_token", reason, planner.args("huggingface_token", path=path))
