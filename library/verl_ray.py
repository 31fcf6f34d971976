#!/usr/bin/python
"""Module verl_ray: asks the nodes of a Ray cluster, and waits for them."""

DOCUMENTATION = r"""
module: verl_ray
short_description: Waits for the nodes of a Ray cluster, or takes one out of it
version_added: "0.1.0"
author: verl-provision authors (@verl-provision)
description:
  - V(reach) waits until every port of O(targets) accepts a connection from this host.
  - V(ready) does the same, then asks Ray itself, inside its container, until every node of O(nodes) is alive and has
    its GPUs.
  - V(leave) has Ray drain this node, which it refuses while something runs there, then ends and removes the container,
    or the unit of a source environment. A container that holds files outside its mounts is kept under another name.
  - Nothing is waited for longer than O(timeout). What is missing then is named by node and port.
options:
  action:
    description: What to do.
    type: str
    choices: [reach, ready, leave]
    required: true
  engine:
    description: The engine's command; V(source) where Ray runs from a source environment.
    type: str
    choices: [docker, podman, source]
    default: docker
  container:
    description: The container, or the unit of a source environment, that runs Ray.
    type: str
    default: verl-ray
  prefix:
    description: The directory that holds the source environment (C(env)).
    type: path
    default: ~/verl
  token_file:
    description: The file of Ray's token, for V(source). A container has it mounted.
    type: path
  gcs:
    description: Address and port of the head's control service.
    type: str
    default: ''
  address:
    description: This node's address, for V(leave).
    type: str
    default: ''
  targets:
    description: What is to be reached, each C(node) or C(name), C(address), C(port), C(what).
    type: list
    elements: dict
    default: []
  nodes:
    description: The nodes to wait for, each C(name), C(address), C(gpus).
    type: list
    elements: dict
    default: []
  known_id:
    description: The id of the container that a run made. V(leave) refuses another one without this toolkit's label.
    type: str
    default: ''
    version_added: "0.2.0"
  discard_kept:
    description: Whether V(leave) removes the container whatever is in it, and one that was kept for its files.
    type: bool
    default: false
    version_added: "0.2.0"
  disruption_allowed:
    description: Whether a node on which something runs may leave.
    type: bool
    default: false
  timeout:
    description: Seconds for all of it.
    type: int
    default: 300
extends_documentation_fragment: [verl_attributes]
attributes:
  check_mode:
    support: partial
    details: Nothing is waited for.
  diff_mode:
    support: none
"""

EXAMPLES = r"""
- name: Wait until three nodes have joined with their GPUs
  verl_ray:
    action: ready
    gcs: 192.0.2.11:6379
    nodes:
      - {name: gpu-1, address: 192.0.2.11, gpus: 8}
      - {name: gpu-2, address: 192.0.2.12, gpus: 8}
  become: true
"""

RETURN = r"""
alive:
  description: GPUs of every node that Ray says is alive, by address.
  type: dict
  returned: V(ready)
  sample: {"192.0.2.11": 8, "192.0.2.12": 8}
gpus:
  description: Their sum.
  type: int
  returned: V(ready)
"""

import errno
import json
import os
import select
import socket
import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.verl_container import cli, idle, layer, spec, unit

PAUSE = 1.0
CONNECT = 3.0  # seconds for one connection
# What Ray says of its nodes, asked inside, until it's what is wanted or `seconds` are over.
LOOK = """
import json, sys, time
import ray
want = json.loads(sys.argv[1])
until = time.monotonic() + want["seconds"]
ray.init(address=want["gcs"], log_to_driver=False, logging_level="ERROR")
while True:
    nodes = [node for node in ray.nodes() if node["Alive"]]
    alive = {node["NodeManagerAddress"]: int(node["Resources"].get("GPU", 0)) for node in nodes}
    ready = all(alive.get(node["address"]) == int(node["gpus"]) for node in want["nodes"])
    if ready or time.monotonic() >= until:
        break
    time.sleep(1)  # polled, with a deadline
print("verl-ray " + json.dumps({"alive": alive, "ids": {n["NodeManagerAddress"]: n["NodeID"] for n in nodes}}))
"""


def unreached(targets):
    """Return [(target, why)] of those that don't accept a connection; all are tried at once."""
    found, pending = [], {}
    for target in targets:
        family = socket.AF_INET6 if ":" in target["address"] else socket.AF_INET
        attempt = socket.socket(family, socket.SOCK_STREAM)
        attempt.setblocking(False)
        code = attempt.connect_ex((target["address"], int(target["port"])))
        if code in (0, errno.EINPROGRESS):
            pending[attempt] = target
        else:
            found.append((target, errno.errorcode.get(code, str(code))))
            attempt.close()
    until = time.monotonic() + CONNECT
    while pending and time.monotonic() < until:
        _read, ready, _error = select.select([], list(pending), [], max(0.0, until - time.monotonic()))
        for attempt in ready:
            target, code = pending.pop(attempt), attempt.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            attempt.close()
            if code == errno.ECONNREFUSED:
                found.append((target, "refused: nothing listens there, or a firewall rejects it"))
            elif code:
                found.append((target, errno.errorcode.get(code, str(code))))
    for attempt, target in pending.items():
        attempt.close()
        found.append((target, "no answer: a firewall on the way drops it"))
    return found


class Cluster:
    """The cluster as this node sees it."""

    def __init__(self, module):
        self.module = module
        self.want = module.params
        self.source = self.want["engine"] == "source"
        self.engine = cli.Engine(self.want["engine"])
        self.until = time.monotonic() + self.want["timeout"]

    def left(self):
        """Seconds until the deadline."""
        return max(0.0, self.until - time.monotonic())

    def reach(self):
        """Wait for the ports."""
        missing = unreached(self.want["targets"])
        while missing and self.left():
            time.sleep(PAUSE)  # polled, with a deadline
            missing = unreached([target for target, _why in missing])
        if missing:
            told = "; ".join(
                "{0} ({1}) port {2} ({3}): {4}".format(
                    target.get("node") or target.get("name"), target["address"], target["port"], target["what"], why
                )
                for target, why in missing
            )
            raise cli.CliError(
                "{0} can't reach {1}. Waited {2} s.".format(socket.gethostname(), told, self.want["timeout"]),
                fix="let the nodes reach each other on Ray's ports (docs/cluster.md); where nothing listens: {0}, on "
                "that node".format(self.logs()),
            )

    def logs(self):
        """Return the command that shows what Ray said."""
        if self.source:
            return "journalctl --user -n 50 -u {0}".format(self.want["container"])
        return "{0} logs --tail 50 {1}".format(self.want["engine"], self.want["container"])

    def run(self, *argv, **kwargs):
        """Run a command where Ray runs; returns (rc, stdout, stderr)."""
        if not self.source:
            return self.engine.run("exec", self.want["container"], *argv, **kwargs)
        folder = os.path.join(self.want["prefix"], "env", "bin")
        env = {"PATH": folder + ":" + unit.PATH, "PYTHONNOUSERSITE": "1", "RAY_USAGE_STATS_ENABLED": "0"}
        if self.want["token_file"]:
            env.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=self.want["token_file"])
        return cli.run((os.path.join(folder, argv[0]),) + argv[1:], env=env, cwd="/", **kwargs)

    def inside(self, program, asked, seconds):
        """Run a program where Ray runs; returns what it prints, or (None, why)."""
        rc, out, err = self.run("python3", "-c", program, json.dumps(asked), timeout=seconds)
        for line in out.splitlines():
            if line.startswith("verl-ray "):
                return json.loads(line[len("verl-ray ") :]), None
        said = (err or out).strip().splitlines()
        return None, said[-1][:300] if said else "exit {0}".format(rc)

    def look(self, nodes, seconds):
        """Ask Ray; (answer, why not)."""
        asked = {"gcs": self.want["gcs"], "nodes": nodes, "seconds": seconds}
        return self.inside(LOOK, asked, seconds + 90)

    def ready(self):
        """Wait until Ray says that every node is there with its GPUs."""
        nodes = self.want["nodes"]
        while True:
            answer, why = self.look(nodes, self.left())
            if answer is not None or not self.left():
                break
            time.sleep(PAUSE)  # polled, with a deadline
        alive = (answer or {}).get("alive", {})
        lacking = [node for node in nodes if alive.get(node["address"]) != int(node["gpus"])]
        if not lacking and answer is not None:
            return alive
        if answer is None:
            raise cli.CliError(
                "Ray in {0} {1} does not answer: {2}.".format(
                    "unit" if self.source else "container", self.want["container"], why
                ),
                fix=self.logs(),
            )
        told = "; ".join(
            "{0} ({1}) {2}".format(
                node["name"],
                node["address"],
                "has {0} GPUs, planned are {1}".format(alive[node["address"]], node["gpus"])
                if node["address"] in alive
                else "has not joined",
            )
            for node in lacking
        )
        raise cli.CliError(
            "After {0} s Ray has {1} nodes with {2} GPUs: {3}.".format(
                self.want["timeout"], len(alive), sum(alive.values()), told
            ),
            fix=self.logs() + ", on that node",
        )

    def leave(self):
        """Drain this node, then remove its container or unit. Returns whether there was one."""
        name = self.want["container"]
        if self.source:
            ours = unit.Unit(name)
            there = ours.text() is not None
            if there and not self.module.check_mode:
                if ours.active():
                    self.drain()
                ours.remove()
            return there
        found = self.engine.inspect("container", name)
        kept = self.kept()
        if self.want["discard_kept"] and not self.module.check_mode:
            for each in kept:
                self.engine.must("rm", "-f", each)
        if found is None:
            return bool(kept and self.want["discard_kept"])
        labels = (found.get("Config") or {}).get("Labels") or {}
        if spec.HOME_LABEL not in labels and found["Id"] != self.want["known_id"]:
            raise cli.CliError(
                "a container named {0} is there that this toolkit did not make; it was left alone.".format(name),
                fix="{0} rename {1} {1}-own".format(self.engine.name, name),
            )
        work = [] if self.want["discard_kept"] else layer.Layer(self.engine, found).work()
        if work and kept:
            raise cli.CliError(
                "{0} holds {1} file(s) outside its mounts (as {2}), and {3}, which was kept for such files, is still "
                "there; both were left as they are.".format(name, len(work), layer.shown(work), kept[0]),
                fix="copy what you need from {0} ({1} diff {0}), then run again with "
                "verl_discard_container_changes=true, which removes both".format(kept[0], self.engine.name),
            )
        if self.module.check_mode:
            return True
        if (found.get("State") or {}).get("Running"):
            self.drain()
        self.engine.must("stop", "-t", "30", name, timeout=120)
        if not work:
            self.engine.must("rm", "-f", name)
            return True
        aside = self.aside(found["Id"])
        self.engine.run("update", "--restart=no", name)  # Podman before 5.2 can't
        self.engine.must("rename", name, aside)
        self.module.warn(
            "{0} is kept for {1} file(s) that were changed in it outside its mounts (as {2}). {3} diff {0} lists them, "
            "{3} rm {0} removes it.".format(aside, len(work), layer.shown(work), self.engine.name)
        )
        return True

    def kept(self):
        """Return the names of containers that were replaced, or taken off, and kept for the files in them."""
        listed = self.engine.must("ps", "-a", "--no-trunc", "--format", "{{.ID}}\t{{.Names}}")
        found = [line.partition("\t") for line in listed.splitlines()]
        return [name for ident, _tab, name in found if name == self.aside(ident)]

    def aside(self, container_id):
        """The name of a container that is kept."""
        return "{0}-before-{1}".format(self.want["container"], container_id[:12])

    def drain(self):
        """Have Ray take nothing new onto this node; it says no where something runs."""
        name, allowed = self.want["container"], self.want["disruption_allowed"]
        work = idle.ray_work() if self.source else idle.ray_work_in(self.engine, name)
        if work and not allowed:
            raise cli.CliError(
                "{0} runs on this node, which was to leave the cluster.".format(", ".join(work[:3])),
                fix="run again when the job has ended, or set verl_allow_disruption=true",
            )
        answer, why = self.look([], 0)
        node = (answer or {}).get("ids", {}).get(self.want["address"])
        if node is None:
            return  # the cluster doesn't know it, or is gone: there's nothing to drain
        reason = "DRAIN_NODE_REASON_" + ("PREEMPTION" if allowed else "IDLE_TERMINATION")
        argv = ["ray", "drain-node", "--address", self.want["gcs"], "--node-id", node]
        argv += ["--reason", reason, "--reason-message", "verl_cluster_state is absent"]
        rc, out, err = self.run(*argv, timeout=90)
        said = (err + out).strip()
        if rc and "No such command" not in said:  # Ray before 2.9 can't drain
            raise cli.CliError(
                "Ray does not let this node go: {0}".format(said.splitlines()[-1][:300] if said else rc),
                fix="run again when the job has ended, or set verl_allow_disruption=true",
            )


def main():
    """Entry point."""
    dicts = {"type": "list", "elements": "dict", "default": []}
    module = AnsibleModule(
        argument_spec={
            "action": {"type": "str", "choices": ["reach", "ready", "leave"], "required": True},
            "engine": {"type": "str", "choices": ["docker", "podman", "source"], "default": "docker"},
            "container": {"type": "str", "default": "verl-ray"},
            "prefix": {"type": "path", "default": "~/verl"},
            "token_file": {"type": "path", "no_log": False},
            "gcs": {"type": "str", "default": ""},
            "address": {"type": "str", "default": ""},
            "targets": dicts,
            "nodes": dicts,
            "known_id": {"type": "str", "default": ""},
            "discard_kept": {"type": "bool", "default": False},
            "disruption_allowed": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    cluster = Cluster(module)
    try:
        if module.params["action"] == "leave":
            module.exit_json(changed=cluster.leave())
        if module.check_mode:
            module.exit_json(changed=False, alive={}, gpus=0)  # what is only planned can't be waited for
        cluster.reach()
        if module.params["action"] == "reach":
            module.exit_json(changed=False)
        alive = cluster.ready()
        module.exit_json(changed=False, alive=alive, gpus=sum(alive.values()))
    except cli.CliError as error:
        module.fail_json(msg="{0} Next: {1}".format(error, error.fix) if error.fix else str(error), fix=error.fix)


if __name__ == "__main__":
    main()
