"""A unit of the login user's own systemd: what it says, whether it runs, and how it is ended. No root needed."""

import os
import time

from ansible.module_utils.verl_container import cli
from ansible.module_utils.verl_state import files

PAUSE = 0.5
STARTS = 60.0  # seconds for a user manager that lingering has just called for
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
UNIT = """# Written by verl-provision, role ray_cluster: what is changed here is lost.
[Unit]
Description={description}
StartLimitIntervalSec=0

[Service]
WorkingDirectory={workdir}
{environment}
ExecStart={command}
Restart=always
RestartSec=5
TimeoutStopSec=60
# The kernel may end one worker for want of memory: the others and the node go on.
OOMPolicy=continue
TasksMax=infinity
LimitMEMLOCK=infinity

[Install]
WantedBy=default.target
"""


def quoted(word, dollars=False):
    """Return a word as systemd reads it back; `dollars`: of a command line, where it expands variables."""
    text = str(word).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("\n", "\\n")
    return '"{0}"'.format(text.replace("$", "$$") if dollars else text)


def content(description, workdir, environment, command):
    """Return the unit's text."""
    lines = ["Environment=" + quoted("{0}={1}".format(name, value)) for name, value in sorted(environment.items())]
    return UNIT.format(
        description=description.replace("%", "%%"),
        workdir=workdir.replace("%", "%%"),
        environment="\n".join(lines),
        command=" ".join(quoted(word, dollars=True) for word in command),
    )


class Unit:
    """One unit of the user who runs this."""

    def __init__(self, name):
        self.name = name + ".service"
        self.folder = os.path.expanduser("~/.config/systemd/user")
        self.path = os.path.join(self.folder, self.name)
        self.note = os.path.join(self.folder, ".{0}.begun".format(self.name))

    def systemctl(self, *argv, **kwargs):
        """Run `systemctl --user ARGV...`; returns (rc, stdout, stderr)."""
        runtime = os.environ.get("XDG_RUNTIME_DIR") or "/run/user/{0}".format(os.getuid())
        return cli.run(("systemctl", "--user") + argv, env={"XDG_RUNTIME_DIR": runtime}, **kwargs)

    def must(self, *argv, **kwargs):
        """Run it and return what it says, or raise."""
        rc, out, err = self.systemctl(*argv, **kwargs)
        if rc != 0:
            raise cli.CliError(
                "`systemctl --user {0}` failed (exit {1}): {2}".format(" ".join(argv), rc, cli.told(out, err)),
                fix="journalctl --user -n 50; systemctl --user status {0}".format(self.name),
                rc=rc,
            )
        return out

    def wait_for_manager(self, user):
        """Wait until the user's systemd answers; it starts when the user is made to linger."""
        until = time.monotonic() + STARTS
        while True:
            rc, out, err = self.systemctl("show", "--property=Version", timeout=15)
            if rc == 0:
                return
            if time.monotonic() >= until:
                break
            time.sleep(PAUSE)  # polled, with a deadline
        raise cli.CliError(
            "the systemd of {0} does not answer after {1:.0f} s: {2}".format(user, STARTS, cli.told(out, err)),
            fix="sudo loginctl enable-linger {0}; systemctl status user@{1}".format(user, os.getuid()),
        )

    def text(self):
        """Return what the unit's file says, or None."""
        try:
            with open(self.path, encoding="utf-8") as handle:
                return handle.read()
        except OSError:
            return None

    def write(self, text):
        """Write the file; it holds no secret. Until `applied`, systemd may run the old one."""
        files.write(self.note, "")
        files.write(self.path, text)

    def begun(self):
        """Return whether a run was killed between writing the file and having systemd run it."""
        return os.path.exists(self.note)

    def applied(self):
        """Note that what runs is what the file says."""
        files.remove(self.note)

    def active(self):
        """Return whether it runs, or is about to be started again."""
        return self.systemctl("is-active", self.name)[1].strip() in ("active", "activating", "reloading")

    def enabled(self):
        """Return whether it is started at boot."""
        return os.path.islink(os.path.join(self.folder, "default.target.wants", self.name))

    def remove(self):
        """End it and take it away."""
        self.must("disable", "--now", self.name, timeout=120)
        os.remove(self.path)
        files.remove(self.note)
        self.must("daemon-reload")
