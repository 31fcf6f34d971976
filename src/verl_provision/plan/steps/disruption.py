"""Plan role disruption: what makes changes of the engine and the toolkit take effect."""

from verl_provision.plan import daemon_json, disruption, legacy_hook
from verl_provision.plan.steps.nvidia_container_toolkit import nvidia_container_toolkit
from verl_provision.plan.steps.planner import Planner


def toolkit_and_effect(planner: Planner, engine_needs: str) -> str:
    """The toolkit, then the rung of the ladder that makes all of it take effect. Returns how GPUs are asked for."""
    host, choice = planner.host, planner.decision.choice
    fresh = choice.install_engine and not host.docker.installed
    needs, flag_missing = engine_needs, False
    if planner.decision.profile == "gpu":
        changed = nvidia_container_toolkit(planner)
        if changed and choice.configure_runtime and needs == daemon_json.NOTHING:
            needs = daemon_json.RELOAD
        arrives = changed and host.toolkit_version is None
        flag_missing = arrives or host.docker.gpus_flag is False
    if planner.out.errors:
        return "none"
    rung = disruption.climb(host, planner.wishes, planner.idle, needs, flag_missing and host.rights, fresh)
    request = rung.gpu_request
    if flag_missing and not host.rights:
        request = "runtime_env"
    if planner.decision.profile == "cpu":
        request = "none"
    elif host.docker.cdi_ready and not choice.configure_runtime and legacy_hook.cdi_instead(host):
        request = "cdi"
    if rung.action == disruption.DEFER:
        planner.defer(
            "disruption", disruption.RESTART, disruption.RESTART, f"{rung.because}; {'; '.join(planner.busy)}"
        )
    elif rung.action != disruption.NONE:
        args = planner.args(
            "disruption",
            action=rung.action,
            allowed=planner.wishes.disrupt or fresh,  # an idle host is looked at again right before
            because=rung.because,
            become=not host.root,
        )
        # An engine that this very run installs disturbs nobody.
        planner.add("disruption", rung.because, args, disruption.NONE if fresh else rung.action)
    return request
