"""Ray over the hosts of the group `cluster`: what each node starts, and what keeps the whole from starting. Pure."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from verl_provision import versions
from verl_provision.decide.junk import mapping, text, texts, whole
from verl_provision.plan import verification
from verl_provision.plan.keys import step_key
from verl_provision.plan.steps.huggingface_token import token_path
from verl_provision.plan.steps.planner import Planner
from verl_provision.plan.steps.training_container import container_env, mebibytes
from verl_provision.select import releases

STEP, SAME = "ray_cluster", "cluster_same"
RULES = (
    SAME, "cluster_backend", "cluster_address", "cluster_head", "cluster_service", "cluster_linger", "cluster_firewall",
)  # fmt: skip
BACKENDS = ("docker", "podman", "source")
TOKENS = "2.52"  # the first Ray that asks for a token
HEAD, WORKER = "head", "worker"
SHARE = 30  # of the host's memory: what Ray gives its object store, and the role the container's /dev/shm
STORE_MAX_MB = 190_000  # Ray's own limit, 200 GB
STORE_MIN_MB = 100  # Ray refuses less than 75


def add(
    fleet: dict[str, Any], planners: Mapping[str, Planner], group: dict[str, Any], addresses: Mapping[str, str | None]
) -> None:
    """Give every node of the cluster its step.

    `group` is `{head, members, leaving}`, names of the inventory. `planners` are those of the hosts that are planned,
    in the run or (the head) outside of it; `addresses` what is known of hosts that are only looked at.
    """
    members, head = group["members"], group["head"]
    nodes = {name: Node(name, planners[name]) for name in members if name in planners}
    known = {name: node.address for name, node in nodes.items()} | {
        name: address for name, address in addresses.items() if name not in nodes
    }
    busy = [name for name, node in nodes.items() if node.planner.host.ray_busy]
    fleet["cluster"] = {"head": head, "nodes": {name: node.data() for name, node in nodes.items()}}
    expected = [node.expected() for name, node in nodes.items() if name in fleet["hosts"]]
    for name, node in nodes.items():
        if name in fleet["hosts"] and not fleet["hosts"][name]["errors"]:
            node.join(fleet["hosts"][name], nodes.get(head), head, members, known, expected, busy)
    for name in group["leaving"]:
        if name in planners and name in fleet["hosts"] and not fleet["hosts"][name]["errors"]:
            leave(planners[name])
    for name in nodes.keys() | set(group["leaving"]):
        if STEP in mapping(fleet["hosts"].get(name)).get("steps", {}):
            fleet["step_hosts"].setdefault(STEP, []).append(name)
    settle(fleet)


class Node:
    """One node: a host of the cluster whose environment is planned."""

    def __init__(self, name: str, planner: Planner):
        self.name, self.planner = name, planner
        own = planner.settings.get(STEP, {})
        self.address = text(own.get("address")) or planner.host.address
        given = whole(own.get("num_gpus"))
        self.gpus = len(planner.host.gpus) if given is None else given
        self.container = planner.out.container
        self.stamp = mapping(planner.host.stamps.get(STEP))

    def data(self) -> dict[str, Any]:
        """What is compared between nodes, as plain data."""
        host, decision, out = self.planner.host, self.planner.decision, self.planner.out
        image, release, checkout = decision.candidate.image, decision.candidate.release, host.checkout or {}
        deferred = {item["step"] for item in out.deferred}
        wanted = str(out.verl or release.version)
        found = {
            "backend": str(decision.backend),
            "ref": image.ref,  # its name, whatever mirror it comes from
            "digest": image.digest or self._local_digest(image.ref, self.container),
            "verl": str(checkout.get("commit") or wanted) if "verl_checkout" in deferred else wanted,
            "commit": None if "verl_checkout" in out.steps else text(checkout.get("commit")),
            "python": None,
            "ray": None,
        }
        if decision.backend != "source":
            return found
        found["ref"] = f"a source environment, verl {release.version}, torch {image.torch}"
        if out.verl is None:  # from the index: a checkout that lies there is nobody's business
            found["commit"] = None
            if "source_environment" in deferred:
                found["verl"] = text(mapping(host.source).get("verl_version")) or wanted
        # Ray asks for the same of these, too; an image has them in it. Those of an environment that is still to be
        # built are compared by the role, before it starts anything.
        built = self._built()
        found["ray"] = text(built.get("ray"))
        python = text(built.get("python"))
        if not host.source:
            chosen, _ = releases.choose_python(host, release)
            python = chosen.version if chosen else release.python_recommended
        found["python"] = versions.minor(python) if python else None
        return found

    def _built(self) -> dict[str, Any]:
        """What the source environment's stamp says, where it stays what it is."""
        step = "source_environment"
        return {} if step in self.planner.out.steps else mapping(self.planner.host.stamps.get(step))

    def _local_digest(self, ref: str, container: dict[str, Any] | None) -> str | None:
        """The digest of the image that is on the host under a tag that nobody pinned."""
        refs = {ref, mapping(container).get("image")}
        for local in self.planner.host.local_images:
            if refs & set(texts(local.get("refs"))):
                return next((digest.rpartition("@")[2] for digest in texts(local.get("digests"))), None)
        return None

    def expected(self) -> dict[str, Any]:
        """What Ray is to say of this node."""
        return {"name": self.name, "address": self.address, "gpus": self.gpus}

    def join(
        self,
        plan: dict[str, Any],
        head: "Node | None",
        head_name: str,
        members: list[str],
        known: Mapping[str, str | None],
        expected: list[dict[str, Any]],
        busy: list[str],
    ) -> None:
        """Plan the step of a node that is to be in the cluster."""
        planner, host = self.planner, self.planner.host
        before = mapping(self.stamp.get("members"))
        addresses = {name: known.get(name) or text(before.get(name)) for name in members}
        head_address = addresses.get(head_name)
        for problem in (*self._problems(head_name, head_address), *self._fence(plan)):
            refuse(plan, problem)
        if plan["errors"]:
            return
        role = HEAD if self.name == head_name else WORKER
        container = self.container or {}
        token_of = head.planner if head else planner
        store, memory = self._memory()
        source = planner.decision.backend == "source"
        work = planner.prefix if source and planner.out.verl is None else f"{planner.prefix}/src"
        args = planner.args(
            STEP,
            role=role,
            state="present",
            backend=planner.decision.backend,
            name=planner.wishes.ray_container,
            image=container.get("image", ""),
            workspace=container.get("workspace", work),
            gpu_request=container.get("gpu_request", "none"),
            shm_size=container.get("shm_size", ""),
            extra_args=container.get("extra_args", []),
            env={},
            volumes=container.get("volumes", []),
            head=head_name,
            head_address=head_address,
            head_token=text(self.stamp.get("head_token")) if head is None else f"{token_of.state_dir}/ray/token",
            address=self.address,
            interface=host.interface or "",
            num_gpus=self.gpus,
            object_store_mb=store,
            memory_mb=memory,
            members={name: address for name, address in addresses.items() if address},
            nodes=expected,
            firewall=host.rights,
            become=planner.become,
            root_become=host.rights and not host.root,
            linger=source and not mapping(host.user_service).get("linger"),
            disruption_allowed=planner.wishes.disrupt,
        )
        outside = mapping(container.get("env"))
        if source:
            args["prefix"] = planner.prefix
            token = {"HF_TOKEN_PATH": token_path(planner)} if planner.token else {}
            outside = {**container_env(planner), **token}
        args["env"] = {**outside, **mapping(args["env"])}
        # What Ray itself is started from: a change of it ends what runs; a new member only changes the firewall.
        around = ("members", "firewall", "nodes", "head_token")
        content = {key: value for key, value in args.items() if key not in around}
        if source:
            content["environment"] = planner.out.content["source_environment"]
        args["node_key"] = step_key(STEP, {**content, "container": container, "verl": planner.out.verl})
        self._enter(args, busy)

    def _enter(self, args: dict[str, Any], busy: list[str]) -> None:
        planner, host = self.planner, self.planner.host
        key = step_key(STEP, {**args, "node": args["node_key"]})
        there = host.ray_up and host.ray_running
        changed = bool(self.stamp) and self.stamp.get("node_key") != args["node_key"]
        if not self.stamp or not (host.ray_container or host.ray_up or host.ray_unit):
            reason = "Ray was never started here" if not self.stamp else "Ray is gone"
        elif changed:
            reason = "Ray was started for other wishes"
        elif not there:
            reason = "Ray is not running"
        elif args["linger"]:
            reason = f"{host.user} does not linger: Ray would end with the session"
        elif self.stamp.get("key") != key:
            reason = "the cluster has other members than before"
        else:
            return
        if changed and there and busy and not planner.wishes.disrupt:
            planner.defer(
                STEP, "restart Ray", "ray_restart", f"{reason}; a Ray job or actor runs on {', '.join(busy[:5])}"
            )
            return
        planner.add(STEP, reason, args, "ray_restart" if changed and there else "none")
        planner.out.steps[STEP]["key"] = key

    def _problems(self, head: str, head_address: str | None) -> list[dict[str, Any]]:
        found = []
        backend = self.planner.decision.backend
        if backend not in BACKENDS:
            found.append(
                _problem(
                    "cluster_backend",
                    f"backend {backend}",
                    "docker, podman or source: something that keeps Ray running and starts it at boot",
                    "Set verl_backend, or take this host out of the group cluster.",
                )
            )
        found += self._twice(backend)
        found += self._service() if backend == "source" else []
        if not self.address:
            found.append(
                _problem(
                    "cluster_address",
                    "no default route, so no address",
                    "the address under which the other nodes reach this one",
                    "Set ray_cluster_address for this host.",
                )
            )
        if not head_address:
            found.append(
                _problem(
                    "cluster_head",
                    f"no address of the head {head}: it did not answer, and no earlier run left its address here",
                    "the head's address",
                    f"Mend {head}, or set ray_cluster_address for it.",
                )
            )
        return found

    def _twice(self, backend: str | None) -> list[dict[str, Any]]:
        """What an earlier backend left running, on the same ports."""
        host, name = self.planner.host, self.planner.wishes.ray_container
        if backend == "source" and host.ray_container:
            left, fix = f"a container {name}, of another backend than source", f"docker rm -f {name} (or podman)"
        elif backend != "source" and host.ray_unit:
            left = f"a unit {name} of a source environment"
            fix = f"systemctl --user disable --now {name}; rm ~/.config/systemd/user/{name}.service"
        else:
            return []
        return [_problem("cluster_backend", left, f"Ray once on a host, here by backend {backend}", f"{fix}.")]

    def _service(self) -> list[dict[str, Any]]:
        """What keeps the login user's own systemd from keeping Ray running."""
        host = self.planner.host
        if host.user_service is None:
            return [
                _problem(
                    "cluster_service",
                    f"no systemd of {host.user}'s own: no user manager runs, and PAM has no module to start one",
                    "a user manager, which keeps Ray running on a source environment",
                    "sudo apt-get install libpam-systemd dbus-user-session, then run again; or another verl_backend.",
                )
            ]
        if host.user_service.get("may_linger") is not True and not host.rights:
            return [
                _problem(
                    "cluster_linger",
                    f"{host.user} does not linger and may not switch it on: Ray would end with the session",
                    "lingering, so that Ray runs without a session and from boot on",
                    f"sudo loginctl enable-linger {host.user}",
                )
            ]
        return []

    def _fence(self, plan: dict[str, Any]) -> list[dict[str, Any]]:
        """What is wrong where nobody may set a firewall: a token is enough, where this Ray is known to ask for it."""
        host, own = self.planner.host, self.planner.settings.get(STEP, {})
        if host.rights or own.get("firewall") is False:
            return []
        found = f"{host.user} may not set a firewall, and Ray listens on all addresses of the host"
        fix = "Give the user sudo; or ray_cluster_firewall: false, where nobody else reaches the nodes' network."
        if self._tokens():
            message = f"{found}: its token alone keeps others out"
            plan["warnings"].append({"rule": "cluster_firewall", "message": message, "fix": fix})
            return []
        needed = f"a firewall, or a Ray that is known to ask for a token ({TOKENS}): whoever reaches it runs code"
        return [_problem("cluster_firewall", found, needed, fix)]

    def _tokens(self) -> bool:
        """Whether Ray is known to ask for a token. Of an image's Ray nothing is known."""
        if self.planner.decision.backend != "source":
            return False
        there = text(self._built().get("ray"))
        if there:
            return versions.compare(there, TOKENS) >= 0
        limits = [item for item in self.planner.decision.candidate.release.constraints if re.match(r"ray\b(?!-)", item)]
        ends = [end for item in limits for end in re.findall(r"(?:<=?|==|~=)\s*([\d.]+)", item)]
        return all(versions.compare(end, TOKENS) > 0 for end in ends)

    def _memory(self) -> tuple[int, int]:
        """(object store, memory) in MiB, from the host's; (0, 0) where that isn't known: Ray then looks itself."""
        total = self.planner.host.memory_mb
        if self.planner.decision.backend == "source":
            shm = self.planner.host.shm_mb  # the host's own
            if not total or not shm:
                return 0, 0
            store = min(shm * 9 // 10, total * SHARE // 100, STORE_MAX_MB)
            if store < STORE_MIN_MB:
                return 0, 0  # Ray then keeps its objects in /tmp
            return store, total * 9 // 10 - store
        if not total:
            return 0, 0
        shm = total * SHARE // 100 // 1024 * 1024
        if self.container:
            shm = max(shm, mebibytes(self.container.get("shm_size")) or 0)
        store = min(shm * 9 // 10, total * SHARE // 100, STORE_MAX_MB)
        return store, total * 9 // 10 - store


def leave(planner: Planner) -> None:
    """Plan the step of a host that is no longer to be a node."""
    host = planner.host
    stamp = mapping(host.stamps.get(STEP))
    if not stamp and not host.ray_container and not host.ray_up and not host.ray_unit:
        return
    if host.ray_busy and not planner.wishes.disrupt:
        planner.defer(STEP, "drain", "ray_restart", "a Ray job or actor runs here")
        return
    args = planner.args(
        STEP,
        role=WORKER,
        state="absent",
        backend=planner.decision.backend,
        name=planner.wishes.ray_container,
        address=text(stamp.get("address")) or host.address or "",
        head_address=text(stamp.get("head_address")) or "",
        prefix=planner.prefix,
        firewall=host.rights,
        become=planner.become,
        root_become=host.rights and not host.root,
        disruption_allowed=planner.wishes.disrupt,
    )
    planner.add(STEP, "verl_cluster_state is absent", args, "ray_restart")


FACETS = (
    ("backend", "backend"), ("ref", "image"), ("digest", "image"), ("verl", "verl at"), ("commit", "verl at commit"),
    ("python", "Python"), ("ray", "Ray"),
)  # fmt: skip
FIX = "Set verl_image and verl_version for the group cluster to what all its hosts can have."
FIXES = {
    "backend": "Set verl_backend for the group cluster: containers and source environments don't mix in one.",
    "python": "Set source_environment_python or verl_source_manager so that all have it, and remove ~/verl/env there.",
    "ray": "Remove ~/verl/env and run again; source_environment_constraints keeps Ray at one version everywhere.",
}


def differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """What the stamp of a node says otherwise than the head's, in words: what a run has checked out or built itself.

    The plan has compared what was there before it. Of Python the minor release counts, as for Ray.
    """
    found = []
    names = dict(FACETS)
    for name, what in (("verl_version", "verl"), *((name, names[name]) for name in ("commit", "ray", "python"))):
        own, heads = text(mapping(here).get(name)), text(mapping(there).get(name))
        if name == "python":
            own, heads = (value and versions.minor(value) for value in (own, heads))
        if own and heads and own != heads:
            found.append(f"{what} {own}, the head has {heads}")
    return found


# ---- the cluster as a whole, over plain data: asked again when preflight has resolved tags


def settle(fleet: dict[str, Any]) -> None:
    """Refuse the nodes that differ from the others, and start nothing where one does or the head can't be there."""
    cluster = fleet.get("cluster")
    if not cluster:
        return
    nodes, head = cluster["nodes"], cluster["head"]
    for name, node in nodes.items():
        image = mapping(mapping(fleet["hosts"].get(name)).get("image"))
        node["digest"] = text(image.get("digest")) or node["digest"]
    reasons: list[str] = []
    others: dict[str, set[str]] = {}  # by facet: the nodes that differ in it
    for facet, what in FACETS:
        apart = others["backend"] | (others["ref"] if facet == "digest" else set()) if others else set()
        values = {n: value for n, node in nodes.items() if n not in apart and (value := _facet(node, facet))}
        wanted = _most(values, head)
        others[facet] = {name for name, value in values.items() if value != wanted}
        for name, value in values.items():
            if value != wanted:
                reasons.append(f"{name} has {what} {value}, the others {wanted}")
                needed = f"{what} {wanted}, as {_who(values, wanted, head)}: Ray wants the same on every node"
                refuse(fleet["hosts"].get(name), _problem(SAME, f"{what} {value}", needed, FIXES.get(facet, FIX)))
    first = fleet["hosts"].get(head)
    if first is not None and not first["ok"] and not reasons:
        reasons.append(f"the head {head} is refused")
    if reasons:
        for name in nodes:
            hold(fleet, name, "; ".join(reasons))


def _facet(node: dict[str, Any], facet: str) -> str | None:
    """What is compared; None where it isn't known yet, as a tag's digest before preflight."""
    if facet == "digest" and node["digest"]:
        return f"{node['ref']}@{node['digest']}"
    return node[facet]


def _most(values: dict[str, str], head: str) -> str | None:
    """What most nodes have; the head decides where as many have something else."""
    count = Counter(values.values())
    return max(count, key=lambda value: (count[value], values.get(head) == value), default=None)


def _who(values: dict[str, str], wanted: str | None, head: str) -> str:
    names = [name for name, value in values.items() if value == wanted]
    shown = sorted(names, key=lambda name: name != head)[:3]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return f"{', '.join(shown)}{more} have"


def _problem(rule: str, found: str, needed: str, fix: str) -> dict[str, Any]:
    return {"rule": rule, "found": found, "needed": needed, "where": "the group cluster", "fix": fix}


def refuse(plan: dict[str, Any] | None, problem: dict[str, Any]) -> None:
    """Speak against a host's plan; a host outside the run has none."""
    if plan is not None and problem not in plan["errors"]:
        plan["ok"] = False
        plan["errors"].append(problem)


def hold(fleet: dict[str, Any], name: str, because: str) -> None:
    """Start nothing on this node in this run."""
    plan = mapping(fleet["hosts"].get(name))
    verification.without_ray(mapping(plan.get("verification")))
    step = plan.get("steps", {}).pop(STEP, None)
    if step is None:
        return
    fleet["step_hosts"][STEP].remove(name)
    plan["deferred"].append(
        {
            "step": STEP,
            "action": "start Ray",
            "disruption": "none",
            "because": because,
            "fix": "Mend that host, then run again: the nodes of a cluster start together.",
        }
    )
