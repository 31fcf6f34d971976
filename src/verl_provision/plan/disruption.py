"""The ladder: reload, then live-restore and restart, then a disruption; never further than needed."""

from dataclasses import dataclass

from verl_provision.facts import Host
from verl_provision.plan.daemon_json import RESTART_IDLE
from verl_provision.variables import Request

NONE, RELOAD, LIVE_RESTORE, RESTART = "none", "reload", "live_restore_restart", "restart"
DEFER = "defer"  # only a plain restart would do, and somebody works on the host


@dataclass(frozen=True, slots=True)
class Rung:
    """What makes a change take effect here, and how GPUs are asked for afterwards."""

    action: str
    gpu_request: str
    because: str


def climb(host: Host, request: Request, idle: bool, needs: str, gpus_flag_missing: bool, fresh_engine: bool) -> Rung:
    """The rung for a change that `needs` what daemon_json.py calls its effect, on an idle or a busy host.

    `gpus_flag_missing`: dockerd was started before the toolkit arrived, so that `--gpus` needs a restart.
    `fresh_engine`: the engine is installed in this very run, so nobody's containers depend on it.
    """
    may_restart = idle or request.disrupt or fresh_engine
    if needs == NONE and not gpus_flag_missing:
        return Rung(NONE, "gpus_all", "")
    if may_restart:
        if needs in (RESTART, RESTART_IDLE) or gpus_flag_missing:
            why = "the toolkit arrived after dockerd started: --gpus is known after a restart"
            return Rung(RESTART, "gpus_all", why if gpus_flag_missing else "a setting of daemon.json needs a restart")
        return Rung(RELOAD, "gpus_all", "settings of daemon.json take effect by a reload")
    if needs == RESTART_IDLE:
        return Rung(
            DEFER,
            "gpus_all",
            "a setting of daemon.json needs a restart that running containers don't outlive, live-restore or not",
        )
    if needs == RESTART:
        if host.docker.swarm:
            return Rung(
                DEFER,
                "gpus_all",
                "a setting of daemon.json needs a restart, and live-restore is not to be had in a swarm",
            )
        return Rung(
            LIVE_RESTORE,
            "gpus_all",
            "the host is busy: live-restore is switched on by a reload, then dockerd "
            "restarts and the containers keep running",
        )
    request = "runtime_env" if gpus_flag_missing else "gpus_all"
    if needs == NONE:
        return Rung(NONE, request, "the host is busy: GPUs are asked for by --runtime=nvidia, which needs no restart")
    return Rung(
        RELOAD,
        request,
        "the host is busy: a reload is enough with GPUs asked for by --runtime=nvidia"
        if gpus_flag_missing
        else "settings of daemon.json take effect by a reload",
    )
