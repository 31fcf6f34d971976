"""What the planner of a step is told, and what it says."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from verl_provision.catalog.model import Catalog
from verl_provision.decide.junk import mapping, text
from verl_provision.facts import Host
from verl_provision.plan import idle
from verl_provision.select.decision import Decision
from verl_provision.variables import Request

TOKEN = "verl_huggingface_token"
SECRETS = "/run/verl-secrets"  # in the container
WHEN_IDLE = "It is done by the next run that finds the host idle; or set verl_allow_disruption."

Item = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Notes:
    """What a person is told: what waits for an idle host, what is worth knowing, what speaks against the plan."""

    deferred: tuple[Item, ...] = ()
    warnings: tuple[Item, ...] = ()
    errors: tuple[Item, ...] = ()

    def __add__(self, other: "Notes") -> "Notes":
        errors = tuple(error for error in other.errors if error not in self.errors)  # several steps meet the same
        return Notes(self.deferred + other.deferred, self.warnings + other.warnings, self.errors + errors)

    def __bool__(self) -> bool:
        return bool(self.deferred or self.warnings or self.errors)


def defer(step: str, action: str, disruption: str, because: str, fix: str = WHEN_IDLE) -> Notes:
    """List what only an idle host may see."""
    return Notes(deferred=({"step": step, "action": action, "disruption": disruption, "because": because, "fix": fix},))


def warn(rule: str, message: str, fix: str) -> Notes:
    """Say what is worth knowing."""
    return Notes(warnings=({"rule": rule, "message": message, "fix": fix},))


@dataclass(frozen=True, slots=True)
class Step:
    """What its planner says of a step: its arguments in any case, and a reason where it has work to do."""

    args: dict[str, Any]
    config_hash: str  # of what it brings about; the state file of its last success has the same where nothing changed
    reason: str = ""
    disruption: str = "none"
    needs: tuple[str, ...] = ()  # beside those of the table
    notes: Notes = Notes()

    def because(self, reason: str, disruption: str = "none", **changes: Any) -> "Step":
        """The same step with work to do."""
        return replace(self, reason=reason, disruption=disruption, **changes)

    def noting(self, notes: Notes) -> "Step":
        """The same step with more to tell."""
        return replace(self, notes=self.notes + notes)


@dataclass(frozen=True, slots=True)
class Context:
    """What planners are told beside the host, the request and the decision."""

    catalog: Catalog
    settings: Mapping[str, dict[str, Any]]  # the roles' variables that the user set: by role, without its prefix
    secrets: Mapping[str, Any]
    prefix: str
    state_dir: str
    become: bool
    idle: bool
    busy: tuple[str, ...]  # who works on the host
    token: bool  # whether the host has, or gets, a Hugging Face token
    head: bool = False  # of a Ray cluster
    cluster: Any = None  # a node's place in one, where Ray is planned
    before: Mapping[str, Step] = field(default_factory=dict)  # the steps that were planned before this one

    def args(self, step: str, **args: Any) -> dict[str, Any]:
        """A step's arguments: the plan's, then what the user set himself."""
        return {**args, **self.settings.get(step, {}), "state_dir": self.state_dir}

    def has_work(self, step: str) -> bool:
        """Whether an earlier step has work to do."""
        return step in self.before and bool(self.before[step].reason)

    @property
    def blocked(self) -> str:
        """Why nothing can be pulled in this run, '' where it can."""
        return getattr(self.before.get("docker_engine"), "blocked", "")


def context(
    host: Host, request: Request, decision: Decision, catalog: Catalog, settings: Any, secrets: Any, head: bool
) -> Context:
    """The context in which a host's first step is planned."""
    nobody, busy = idle.idle(host, request)
    return Context(
        catalog=catalog,
        settings=by_role(settings),
        secrets=mapping(secrets),
        prefix=expand(request.prefix, host),
        state_dir=expand(request.state_dir, host),
        become=decision.choice.become,
        idle=nobody,
        busy=tuple(busy),
        token=bool(mapping(secrets).get(TOKEN)) or host.huggingface_token,
        head=head,
    )


def by_role(settings: Any) -> dict[str, dict[str, Any]]:
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


def applied_hash(host: Host, step: str) -> str | None:
    """The hash that the step's last success left in its state file on the host."""
    return text(mapping(host.stamps.get(step)).get("key"))


def works_inside(host: Host) -> bool:
    """Whether something runs in our container."""
    return bool(host.container and host.container.running and host.container.processes)


def in_use(host: Host, request: Request) -> bool:
    """Whether something runs in our container that may not be disturbed."""
    return works_inside(host) and not request.disrupt
