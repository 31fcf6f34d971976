#!/usr/bin/python
"""Module verl_disruption: the one place that reloads or restarts a service of the host."""

DOCUMENTATION = r"""
module: verl_disruption
short_description: Reloads or restarts the container engine, only as far as running jobs allow
version_added: "0.1.0"
author: verl-provision authors (@verl-provision)
description:
  - Looks at the host right before it acts. V(restart), V(daemon_reload) and V(gate) need an idle host or
    O(allowed); what
    can't be done now is returned as RV(deferred) and nothing is touched.
  - Idle means no compute process on a GPU, no container other than O(container) running, nothing but its
    init in that one,
    no Ray job or actor. What can't be read counts as busy.
  - Afterwards waits until the engine answers and shows O(expect_runtimes), and until the containers run again that
    it has to start by their restart policy. A unit that met systemd's start limit is reset.
options:
  action:
    description:
      - V(reload) harms nobody. V(live_restore_restart) reloads, checks that live-restore is in effect,
        restarts, and checks that
        every container kept its process; it needs no idle host. V(restart) ends containers. V(daemon_reload)
        can take the GPUs
        away from containers that the legacy hook started. V(gate) only asks.
    type: str
    choices: [reload, live_restore_restart, restart, daemon_reload, gate]
    required: true
  unit:
    description: The service.
    type: str
    default: docker
  container:
    description: The name of our own container.
    type: str
    default: verl
  allowed:
    description: Whether running jobs may be harmed.
    type: bool
    default: false
  expect_runtimes:
    description: Runtimes that the engine must know afterwards.
    type: list
    elements: str
    default: []
  because:
    description: Why, for the report.
    type: str
    default: ''
  timeout:
    description: Seconds that the engine gets to answer again.
    type: int
    default: 60
extends_documentation_fragment: [verl_attributes]
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
"""

EXAMPLES = r"""
- name: Let dockerd read daemon.json again
  verl_disruption:
    action: reload
    expect_runtimes: [nvidia]
"""

RETURN = r"""
done:
  description: Whether it was done (in check mode, would be).
  type: bool
  returned: always
busy:
  description: Who works on the host.
  type: list
  elements: dict
  returned: always
deferred:
  description: What was left for an idle host and why, null where it was done.
  type: dict
  returned: always
"""

import os
import signal
import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.verl_container import cli, idle

GATED = ("restart", "daemon_reload", "gate")
SAYS = {
    "reload": "reload of the container engine",
    "live_restore_restart": "restart of the container engine with live-restore",
    "restart": "restart of the container engine",
    "daemon_reload": "systemd daemon-reload",
    "gate": "disruption",
}


def systemctl(*argv, **kwargs):
    """Run systemctl, raising on failure."""
    rc, out, err = cli.run(("systemctl",) + argv, timeout=kwargs.get("timeout", 120))
    if rc != 0:
        raise cli.CliError(
            "`systemctl {0}` failed (exit {1}): {2}".format(" ".join(argv), rc, (err or out).strip()[-600:]),
            fix="systemctl status {0}; journalctl -u {0} -n 50".format(argv[-1]),
            rc=rc,
        )


def reset_failed(unit):
    """Forget that a unit met systemd's start limit; its socket may have met it too and would hold it back."""
    cli.run(["systemctl", "reset-failed", unit, unit + ".socket"])


def under_systemd():
    """Whether systemd runs this host."""
    return os.path.isdir("/run/systemd/system")


def containers(engine):
    """Return {id: pid} of the running containers."""
    ids = [container_id for container_id, _name, _image in idle.running_containers(engine)]
    found = {}
    for container_id in ids:
        inspected = engine.inspect("container", container_id)
        if inspected:
            found[container_id] = (inspected.get("State") or {}).get("Pid")
    return found


def returning(engine):
    """Return {id: name} of the running containers that the engine itself starts again after a restart."""
    found = {}
    try:
        for container_id, name, _image in idle.running_containers(engine):
            policy = ((engine.inspect("container", container_id) or {}).get("HostConfig") or {}).get("RestartPolicy")
            if (policy or {}).get("Name") in ("always", "unless-stopped"):
                found[container_id] = name
    except cli.CliError:
        return {}  # the engine doesn't answer, so nothing of it is known to run
    return found


class Disruption:
    """One action on one host."""

    def __init__(self, module):
        self.module = module
        self.want = module.params
        self.engine = cli.Engine("docker", timeout=30)

    def reload(self):
        """Let the engine read its configuration again."""
        unit = self.want["unit"]
        if under_systemd():
            active = cli.run(["systemctl", "is-active", "--quiet", unit])[0] == 0
            if not active:
                self.start()
                return
            systemctl("reload", unit)
            return
        pid = self.pid()
        if pid is None:
            raise cli.CliError("dockerd isn't running and systemd isn't there to start it.", fix="start dockerd")
        os.kill(pid, signal.SIGHUP)

    @staticmethod
    def pid():
        """Return dockerd's pid where no systemd looks after it."""
        for path in ("/run/docker.pid", "/var/run/docker.pid"):
            try:
                with open(path, encoding="utf-8") as handle:
                    pid = int(handle.read())
                os.kill(pid, 0)
                return pid
            except (OSError, ValueError):
                continue
        return None

    def start(self):
        """Start a unit that's down; one that met the start limit is reset first."""
        reset_failed(self.want["unit"])
        systemctl("start", self.want["unit"])

    def restart(self):
        """Restart the unit; again after a reset where systemd's start limit stopped it."""
        unit = self.want["unit"]
        if not under_systemd():
            raise cli.CliError(
                "{0} is not run by systemd here, so it can't be restarted.".format(unit), fix="restart dockerd by hand"
            )
        try:
            systemctl("restart", unit)
        except cli.CliError:
            reset_failed(unit)
            time.sleep(2)  # the second and last try; systemd counts starts within seconds
            systemctl("restart", unit)

    def read_unit_again(self):
        """Let systemd see a file that came beside the unit since it started, as for a proxy: only on an idle host."""
        shown = cli.run(["systemctl", "show", "--property=NeedDaemonReload", "--value", self.want["unit"]])[1]
        if shown.strip() == "yes":
            systemctl("daemon-reload")

    def wait_for_live_restore(self):
        """Wait until a reload switched live-restore on: dockerd reads its settings after systemctl came back."""
        end = time.time() + self.want["timeout"]
        while True:
            info = self.wait()
            if info.get("LiveRestoreEnabled") or time.time() > end:
                return info
            time.sleep(1)  # polled, with a deadline

    def wait(self):
        """Wait until the engine answers and knows the expected runtimes."""
        end = time.time() + self.want["timeout"]
        missing, problem = list(self.want["expect_runtimes"]), None
        while True:
            try:
                info = self.engine.info()
                problem = "; ".join(info.get("ServerErrors") or []) or None
                missing = [name for name in self.want["expect_runtimes"] if name not in (info.get("Runtimes") or {})]
                if not problem and not missing:
                    return info
            except cli.CliError as error:
                problem = str(error)
            if time.time() > end:
                break
            time.sleep(1)  # polled, with a deadline
        if problem:
            raise cli.CliError(
                "docker doesn't answer {0} s after the {1}: {2}".format(
                    self.want["timeout"], SAYS[self.want["action"]], problem
                ),
                fix="systemctl status docker; journalctl -u docker -n 50",
            )
        raise cli.CliError(
            "docker answers after the {0} but does not know the runtime {1}.".format(
                SAYS[self.want["action"]], ", ".join(missing)
            ),
            fix="docker info --format '{{json .Runtimes}}'; cat /etc/docker/daemon.json",
        )

    def wait_for_containers(self, wanted):
        """Wait until the containers that the engine starts again are running."""
        end = time.time() + self.want["timeout"]
        while True:
            gone = [name for key, name in wanted.items() if not self.runs(key)]
            if not gone:
                return
            if time.time() > end:
                break
            time.sleep(1)  # polled, with a deadline
        raise cli.CliError(
            "{0} ran before the restart of docker and {1} not run {2} s after it, though the restart policy says "
            "so.".format(", ".join(gone), "does" if len(gone) == 1 else "do", self.want["timeout"]),
            fix="docker ps -a; docker logs {0}".format(gone[0]),
        )

    def runs(self, container_id):
        """Whether a container is running."""
        return bool(((self.engine.inspect("container", container_id) or {}).get("State") or {}).get("Running"))

    def live_restore_restart(self):
        """Restart under containers that keep running; never go on where one would not."""
        self.reload()
        info = self.wait_for_live_restore()
        if not info.get("LiveRestoreEnabled"):
            raise cli.CliError(
                "live-restore is not in effect after a reload, so a restart would end the running containers. "
                "Nothing was restarted.",
                fix="docker info --format '{{.LiveRestoreEnabled}}'; is live-restore given on dockerd's command line?",
            )
        if (info.get("Swarm") or {}).get("LocalNodeState") not in (None, "", "inactive"):
            raise cli.CliError(
                "live-restore does not work in a swarm. Nothing was restarted.", fix="drain this node first"
            )
        before = containers(self.engine)
        self.restart()
        self.wait()
        after = containers(self.engine)
        lost = [container_id[:12] for container_id, pid in before.items() if after.get(container_id) != pid]
        if lost:
            raise cli.CliError("containers did not survive the restart: {0}".format(", ".join(lost)))

    def run(self):
        """Ask, act, look."""
        action = self.want["action"]
        busy = []
        if action in GATED:
            engines = [self.engine, cli.Engine("podman", timeout=30)]
            busy = idle.busy(engines, ours=self.want["container"])
        why = self.want["because"] + ", but " if self.want["because"] else ""
        if busy and not self.want["allowed"]:
            self.module.exit_json(
                changed=False,
                done=False,
                busy=busy,
                deferred={
                    "step": "disruption",
                    "action": action,
                    "disruption": action,
                    "because": why + idle.sentence(busy),
                    "fix": "run again when the host is idle, or set verl_allow_disruption=true",
                },
            )
        changed = action != "gate"
        if changed and not self.module.check_mode:
            if action == "reload":
                self.reload()
                self.wait()
            elif action == "restart":
                held = returning(self.engine)
                self.read_unit_again()
                self.restart()
                self.wait()
                self.wait_for_containers(held)
            elif action == "live_restore_restart":
                self.live_restore_restart()
            elif under_systemd():
                systemctl("daemon-reload")
            else:
                changed = False
        self.module.exit_json(changed=changed, done=True, busy=busy, deferred=None)


def main():
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "action": {
                "type": "str",
                "required": True,
                "choices": ["reload", "live_restore_restart", "restart", "daemon_reload", "gate"],
            },
            "unit": {"type": "str", "default": "docker"},
            "container": {"type": "str", "default": "verl"},
            "allowed": {"type": "bool", "default": False},
            "expect_runtimes": {"type": "list", "elements": "str", "default": []},
            "because": {"type": "str", "default": ""},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    try:
        Disruption(module).run()
    except cli.CliError as error:
        module.fail_json(msg=str(error), fix=error.fix, done=False)


if __name__ == "__main__":
    main()
