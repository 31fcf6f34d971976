"""What the planners of the steps share: the host, what was asked for, and the steps entered so far."""

from dataclasses import dataclass, field
from typing import Any

from verl_provision.catalog.model import World
from verl_provision.decide.junk import mapping, text
from verl_provision.facts import Host
from verl_provision.plan import idle, steps
from verl_provision.plan.keys import step_key
from verl_provision.select.decision import Decision
from verl_provision.select.wanted import Wishes

TOKEN = "verl_huggingface_token"
SECRETS = "/run/verl-secrets"  # in the container


@dataclass(slots=True)
class Steps:
    """What a plan says about steps."""

    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    deferred: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[dict[str, Any]] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    verification: dict[str, Any] | None = None
    shell: str | None = None  # the command that opens the environment
    content: dict[str, str] = field(default_factory=dict)  # keys of the steps that make up the environment
    container: dict[str, Any] | None = None  # how the training container is made, whether or not it has a step
    verl: str | None = None  # the tag or commit of the checkout


class Planner:
    """Plans the steps of one host; lives as long as one call of `plan`."""

    def __init__(
        self,
        host: Host,
        wishes: Wishes,
        decision: Decision,
        world: World,
        settings: dict[str, Any],
        secrets: dict[str, Any],
        head: bool = False,
    ):
        self.host, self.wishes, self.decision, self.world = host, wishes, decision, world
        self.head = head  # of a Ray cluster
        self.settings, self.secrets = settings, secrets
        self.prefix = expand(wishes.prefix, host)
        self.state_dir = expand(wishes.state_dir, host)
        self.become = decision.choice.become
        self.idle, self.busy = idle.idle(host, wishes)
        self.token = bool(secrets.get(TOKEN)) or host.huggingface_token
        self.blocked: str | None = None  # why no image can be pulled now
        self.shm_mb: int | None = None  # what the container's /dev/shm must have; MiB
        self.out = Steps()

    def args(self, step: str, **args: Any) -> dict[str, Any]:
        """A step's arguments: the plan's, then what the user set himself."""
        own = self.settings.get(step, {})
        return {**args, **own, "state_dir": self.state_dir}

    def add(self, step: str, reason: str, args: dict[str, Any], disturbs: str = "none") -> None:
        """Enter a step that has work to do; it needs those entered before it."""
        needs = [other for other in self.out.steps if other in steps.STEPS[step].needs]
        self.out.steps[step] = {
            "needs": needs,
            "reason": reason,
            "disruption": disturbs,
            "key": step_key(step, args),
            "args": args,
        }

    def defer(self, step: str, action: str, disturbs: str, because: str) -> None:
        """List what only an idle host may see."""
        self.out.deferred.append(
            {
                "step": step,
                "action": action,
                "disruption": disturbs,
                "because": because,
                "fix": "It is done by the next run that finds the host idle; or set verl_allow_disruption.",
            }
        )

    def stamp(self, step: str) -> str | None:
        """The key that the step's last success left."""
        return text(mapping(self.host.stamps.get(step)).get("key"))


def plain_settings(settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """`{role: {role_variable: value}}` as `{role: {variable: value}}`."""
    return {
        str(role): {str(name).removeprefix(f"{role}_"): value for name, value in mapping(values).items()}
        for role, values in mapping(settings).items()
    }


def expand(path: str, host: Host) -> str:
    """`~` is the login user's home."""
    if path == "~" or path.startswith("~/"):
        return host.home.rstrip("/") + path[1:] if host.home != "~" else path
    return path


def works_inside(planner: Planner) -> bool:
    """Whether something runs in our container."""
    container = planner.host.container
    return bool(container and container.running and container.processes)


def in_use(planner: Planner) -> bool:
    """Whether something runs in our container that may not be disturbed."""
    return works_inside(planner) and not planner.wishes.disrupt
