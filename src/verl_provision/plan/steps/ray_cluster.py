"""Plan role ray_cluster: Ray on one node of a cluster. What is decided over all of them is plan/cluster.py."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from verl_provision import addresses as ip
from verl_provision import versions
from verl_provision.decide.junk import mapping, text, whole
from verl_provision.facts import Host
from verl_provision.plan import container_files
from verl_provision.plan.gpus import visible
from verl_provision.plan.keys import FILES, step_key
from verl_provision.plan.steps.huggingface_token import token_path
from verl_provision.plan.steps.step import Context, Item, Notes, Step, defer, warn
from verl_provision.plan.steps.training_container import container_env, mebibytes
from verl_provision.select.decision import Decision
from verl_provision.variables import Request

NAME = "ray_cluster"
BACKENDS = ("docker", "podman", "source")
TOKENS = "2.52"  # the first Ray that asks for a token
HEAD, WORKER = "head", "worker"
SHARE = 30  # of the host's memory: what Ray gives its object store, and the role the container's /dev/shm
STORE_MAX_MB = 190_000  # Ray's own limit, 200 GB
STORE_MIN_MB = 100  # Ray refuses less than 75
RESTART = "ray_restart"
ONE_FAMILY = "Set ray_cluster_address on every node to an address of the same family."


@dataclass(frozen=True, slots=True)
class Place:
    """A node's place in the cluster."""

    name: str
    head: str
    members: tuple[str, ...]
    leaving: bool = False
    addresses: Mapping[str, str | None] | None = None  # that are known, by member
    nodes: tuple[Item, ...] = ()  # what Ray is to say of each of them
    busy: tuple[str, ...] = ()  # on which a Ray job or actor runs
    head_state_dir: str | None = None  # None where nothing is known of the head


def plan(host: Host, request: Request, decision: Decision, context: Context) -> Step | None:
    """Bring a node into its cluster, or take it out; not while a Ray job runs there."""
    place = context.cluster
    if place is None:
        return None
    return leave(host, request, decision, context) if place.leaving else join(host, request, decision, context)


def join(host: Host, request: Request, decision: Decision, context: Context) -> Step | None:
    """Plan the step of a node that is to be in the cluster."""
    place, state = context.cluster, state_file(host)
    before = mapping(state.get("members"))
    # Of a node that doesn't answer, this host's own earlier run knows the address.
    addresses = {name: place.addresses.get(name) or ip.parse(before.get(name)) for name in place.members}
    notes = problems(host, request, decision, context, addresses.get(place.head))
    notes += unguarded(host, decision, context)
    args = arguments(host, request, decision, context, addresses)
    # What is read on the head is never what another host says of it; a path noted earlier only stays part of the hash.
    noted = {} if place.head_state_dir else {"head_token": text(state.get("head_token"))}
    step = Step(args, step_key(NAME, {**args, **noted, "node": args["node_key"]}), notes=notes)
    if notes.errors:
        return step
    there = host.ray_up and host.ray_running
    changed = bool(state) and state.get("node_key") != args["node_key"]
    if not state or not (host.ray_container or host.ray_up or host.ray_unit):
        reason = "Ray was never started here" if not state else "Ray is gone"
    elif changed:
        reason = "Ray was started for other settings"
    elif not there:
        reason = "Ray is not running"
    elif args["linger"]:
        reason = f"{host.user} does not linger: Ray would end with the session"
    elif state.get("key") != step.config_hash:
        reason = "the cluster has other members than before"
    else:
        reason = container_files.to_discard(host, request, request.ray_container)
    if not reason:
        return step
    if changed and there and place.busy and not request.disrupt:
        because = f"{reason}; a Ray job or actor runs on {', '.join(place.busy[:5])}"
        return step.noting(defer(NAME, "restart Ray", RESTART, because))
    return step.because(reason, RESTART if changed and there else "none")


def leave(host: Host, request: Request, decision: Decision, context: Context) -> Step | None:
    """Plan the step of a host that is no longer to be a node."""
    state = state_file(host)
    discard = container_files.to_discard(host, request, request.ray_container)
    if not (state or host.ray_container or host.ray_up or host.ray_unit or discard):
        return None
    args = context.args(
        NAME,
        role=WORKER,
        state="absent",
        backend=decision.backend,
        name=request.ray_container,
        address=ip.parse(state.get("address")) or ip.parse(host.address) or "",
        head_address=ip.parse(state.get("head_address")) or "",
        prefix=context.prefix,
        firewall=host.rights,
        become=context.become,
        root_become=host.rights and not host.root,
        discard_kept=request.discard_changes,
        disruption_allowed=request.disrupt,
    )
    step = Step(args, step_key(NAME, args))
    if host.ray_busy and not request.disrupt:
        return step.noting(defer(NAME, "drain", RESTART, "a Ray job or actor runs here"))
    return step.because("verl_cluster_state is absent", RESTART)


def arguments(
    host: Host, request: Request, decision: Decision, context: Context, addresses: Mapping[str, str | None]
) -> dict[str, Any]:
    """The arguments of a node's step; `node_key` is the hash of what Ray itself is started from."""
    place = context.cluster
    source = decision.backend == "source"
    training = context.before.get("training_container")
    container = training.args if training else {}
    checkout = context.before.get("verl_checkout")
    work = context.prefix if source and checkout is None else f"{context.prefix}/src"
    store, memory = memory_mb(host, decision, context)
    args = context.args(
        NAME,
        role=HEAD if place.name == place.head else WORKER,
        state="present",
        backend=decision.backend,
        name=request.ray_container,
        image=container.get("image", ""),
        workspace=container.get("workspace", work),
        gpu_request=container.get("gpu_request", "none"),
        shm_size=container.get("shm_size", ""),
        extra_args=container.get("extra_args", []),
        env={},
        volumes=container.get("volumes", []),
        home=container.get("home", ""),  # the same data as in the training container
        head=place.head,
        head_address=addresses.get(place.head),
        head_token=f"{place.head_state_dir or request.state_dir}/ray/token",
        address=address(host, context),
        interface=host.interface or "",
        num_gpus=gpus(host, context),
        object_store_mb=store,
        memory_mb=memory,
        members={name: found for name, found in addresses.items() if found},
        nodes=list(place.nodes),
        firewall=host.rights,
        become=context.become,
        root_become=host.rights and not host.root,
        linger=source and not mapping(host.user_service).get("linger"),
        discard_kept=request.discard_changes,
        disruption_allowed=request.disrupt,
    )
    outside = mapping(container.get("env"))
    if "gpu_ids" in container:
        args["gpu_ids"] = container["gpu_ids"]
    if source:
        args["prefix"] = context.prefix
        token = {"HF_TOKEN_PATH": token_path(context)} if context.token else {}
        outside = {**container_env(request, context), **token, **visible(host)}
    args["env"] = {**outside, **mapping(args["env"])}
    # A change of what Ray is started from ends what runs; a new member only changes the firewall.
    around = ("members", "firewall", "nodes", "head_token")
    content = {key: value for key, value in args.items() if key not in around}
    if source:
        content["environment"] = context.before["source_environment"].config_hash
    verl = str(checkout.args["version"]) if checkout else None
    container = {key: value for key, value in container.items() if key not in FILES}
    args["node_key"] = step_key(NAME, {**content, "container": container, "verl": verl})
    return args


def state_file(host: Host) -> dict[str, Any]:
    """What the step's last success left."""
    return mapping(host.stamps.get(NAME))


def address(host: Host, context: Context) -> str | None:
    """Under which the other nodes reach this one; None where there's none, or what is said isn't one."""
    return ip.parse(context.settings.get(NAME, {}).get("address") or host.address)


def gpus(host: Host, context: Context) -> int:
    """How many GPUs Ray is given."""
    given = whole(context.settings.get(NAME, {}).get("num_gpus"))
    return len(host.gpus) if given is None else given


def built(host: Host, context: Context) -> dict[str, Any]:
    """What is known of a source environment that this run will not rebuild."""
    return {} if context.has_work("source_environment") else mapping(host.stamps.get("source_environment"))


def problems(host: Host, request: Request, decision: Decision, context: Context, head_address: str | None) -> Notes:
    """What keeps Ray from being started on this node."""
    place, backend = context.cluster, decision.backend
    found = []
    if backend not in BACKENDS:
        needed = "docker, podman or source: something that keeps Ray running and starts it at boot"
        fix = "Set verl_backend, or take this host out of the group cluster."
        found.append(problem("cluster_backend", f"backend {backend}", needed, fix))
    found += earlier_backend(host, request, backend)
    found += user_service(host) if backend == "source" else []
    own = address(host, context)
    if not own:
        given = context.settings.get(NAME, {}).get("address") or host.address
        said = f"{given!r}, which is no address" if given else "no default route, so no address"
        needed = f"the address under which the other nodes reach this one: {ip.NEEDED}"
        found.append(problem("cluster_address", said, needed, "Set ray_cluster_address for this host."))
    if not head_address:
        said = f"no address of the head {place.head}: it did not answer, and no earlier run left its address here"
        fix = f"Mend {place.head}, or set ray_cluster_address for it."
        found.append(problem("cluster_head", said, "the head's address", fix))
    elif own and ip.family(own) != ip.family(head_address):
        said = f"{own}, and the head {place.head} has {head_address}"
        needed = "addresses of one family, IPv4 or IPv6: Ray has one per node"
        found.append(problem("cluster_address", said, needed, ONE_FAMILY))
    return Notes(errors=tuple(found))


def earlier_backend(host: Host, request: Request, backend: str | None) -> list[Item]:
    """What an earlier backend left running, on the same ports."""
    name = request.ray_container
    if backend == "source" and host.ray_container:
        left, fix = f"a container {name}, of another backend than source", f"docker rm -f {name} (or podman)"
    elif backend != "source" and host.ray_unit:
        left = f"a unit {name} of a source environment"
        fix = f"systemctl --user disable --now {name}; rm ~/.config/systemd/user/{name}.service"
    else:
        return []
    return [problem("cluster_backend", left, f"Ray once on a host, here by backend {backend}", f"{fix}.")]


def user_service(host: Host) -> list[Item]:
    """What keeps the login user's own systemd from keeping Ray running."""
    if host.user_service is None:
        found = f"no systemd of {host.user}'s own: no user manager runs, and PAM has no module to start one"
        needed = "a user manager, which keeps Ray running on a source environment"
        fix = "sudo apt-get install libpam-systemd dbus-user-session, then run again; or another verl_backend."
        return [problem("cluster_service", found, needed, fix)]
    if host.user_service.get("may_linger") is not True and not host.rights:
        found = f"{host.user} does not linger and may not switch it on: Ray would end with the session"
        needed = "lingering, so that Ray runs without a session and from boot on"
        return [problem("cluster_linger", found, needed, f"sudo loginctl enable-linger {host.user}")]
    return []


def unguarded(host: Host, decision: Decision, context: Context) -> Notes:
    """What is wrong where nobody may set a firewall: a token is enough, where this Ray is known to ask for it."""
    if host.rights or context.settings.get(NAME, {}).get("firewall") is False:
        return Notes()
    found = f"{host.user} may not set a firewall, and Ray listens on all addresses of the host"
    fix = "Give the user sudo; or ray_cluster_firewall: false, where nobody else reaches the nodes' network."
    if asks_for_token(host, decision, context):
        return warn("cluster_firewall", f"{found}: its token alone keeps others out", fix)
    needed = f"a firewall, or a Ray that is known to ask for a token ({TOKENS}): whoever reaches it runs code"
    return Notes(errors=(problem("cluster_firewall", found, needed, fix),))


def asks_for_token(host: Host, decision: Decision, context: Context) -> bool:
    """Whether Ray is known to ask for a token. Of an image's Ray nothing is known."""
    if decision.backend != "source":
        return False
    there = text(built(host, context).get("ray"))
    if there:
        return versions.compare(there, TOKENS) >= 0
    limits = [item for item in decision.candidate.release.constraints if re.match(r"ray\b(?!-)", item)]
    ends = [end for item in limits for end in re.findall(r"(?:<=?|==|~=)\s*([\d.]+)", item)]
    return all(versions.compare(end, TOKENS) > 0 for end in ends)


def memory_mb(host: Host, decision: Decision, context: Context) -> tuple[int, int]:
    """(object store, memory) in MiB, from the host's; (0, 0) where that isn't known: Ray then looks itself."""
    total = host.memory_mb
    if decision.backend == "source":
        shm = host.shm_mb  # the host's own
        if not total or not shm:
            return 0, 0
        store = min(shm * 9 // 10, total * SHARE // 100, STORE_MAX_MB)
        if store < STORE_MIN_MB:
            return 0, 0  # Ray then keeps its objects in /tmp
        return store, total * 9 // 10 - store
    if not total:
        return 0, 0
    shm = total * SHARE // 100 // 1024 * 1024
    container = context.before.get("training_container")
    if container:
        shm = max(shm, mebibytes(container.args.get("shm_size")) or 0)
    store = min(shm * 9 // 10, total * SHARE // 100, STORE_MAX_MB)
    return store, total * 9 // 10 - store


def problem(rule: str, found: str, needed: str, fix: str) -> Item:
    """An error of the cluster."""
    return {"rule": rule, "found": found, "needed": needed, "where": "the group cluster", "fix": fix}
