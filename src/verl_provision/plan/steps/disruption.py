"""Plan role disruption: what makes changes of the engine and the toolkit take effect."""

from dataclasses import dataclass

from verl_provision.facts import Host
from verl_provision.plan import daemon_json, disruption, legacy_hook
from verl_provision.plan.keys import step_key
from verl_provision.plan.steps.step import Context, Step, defer
from verl_provision.select.decision import Decision
from verl_provision.variables import Request

NAME = "disruption"


@dataclass(frozen=True, slots=True)
class Effect(Step):
    """The step, and what the container has to know."""

    gpu_request: str = "none"  # how it asks for GPUs afterwards


def plan(host: Host, request: Request, decision: Decision, context: Context) -> Effect | None:
    """Reload or restart the engine, never further than needed, and only as far as running jobs allow."""
    if decision.backend != "docker":
        return None
    choice = decision.choice
    fresh = choice.install_engine and not host.docker.installed
    needs, flag_missing = context.before["docker_engine"].effect, False
    if decision.profile == "gpu":
        changed = context.has_work("nvidia_container_toolkit")
        if changed and choice.configure_runtime and needs == daemon_json.NOTHING:
            needs = daemon_json.RELOAD
        flag_missing = (changed and host.toolkit_version is None) or host.docker.gpus_flag is False
    rung = disruption.climb(host, request, context.idle, needs, flag_missing and host.rights, fresh)
    gpu_request = rung.gpu_request
    if flag_missing and not host.rights:
        gpu_request = "runtime_env"
    if decision.profile == "cpu":
        gpu_request = "none"
    elif host.docker.cdi_ready and not choice.configure_runtime and legacy_hook.cdi_instead(host):
        gpu_request = "cdi"
    args = context.args(
        NAME,
        action=rung.action,
        allowed=request.disrupt or fresh,  # an idle host is looked at again right before
        because=rung.because,
        become=not host.root,
    )
    step = Effect(args, step_key(NAME, args), gpu_request=gpu_request)
    if rung.action == disruption.NONE:
        return step
    if rung.action == disruption.DEFER:
        because = f"{rung.because}; {'; '.join(context.busy)}"
        return step.noting(defer(NAME, disruption.RESTART, disruption.RESTART, because))
    # An engine that this very run installs disturbs nobody.
    return step.because(rung.because, disruption.NONE if fresh else rung.action)
