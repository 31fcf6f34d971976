"""Running a container engine's own command line: Docker and Podman alike, no Python packages on the host."""

import json
import os
import re
import shutil
import subprocess

WARNING = re.compile(r'time="[^"]*" level=warning ')
SBIN = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class CliError(Exception):
    """A command failed; `str()` is a sentence for people, `fix` the next command."""

    def __init__(self, message, fix=None, rc=None):
        super().__init__(message)
        self.fix = fix
        self.rc = rc


def docker_host(system="/var/run/docker.sock"):
    """Return {DOCKER_HOST: the user's own rootless Docker} where the system's can't be used, as the facts look."""
    own = os.path.join(os.environ.get("XDG_RUNTIME_DIR") or "/run/user/{0}".format(os.getuid()), "docker.sock")
    if os.environ.get("DOCKER_HOST") or os.access(system, os.W_OK) or not os.path.exists(own):
        return {}
    return {"DOCKER_HOST": "unix://" + own}


def environment(extra=None):
    """Return the environment for commands: English, never asking, with the sbin folders on PATH."""
    env = dict(os.environ, **docker_host())
    path = env.get("PATH", "")
    missing = [folder for folder in SBIN.split(":") if folder not in path.split(":")]
    env["PATH"] = ":".join([path] * bool(path) + missing)
    env.update(LC_ALL="C", LANG="C", GIT_TERMINAL_PROMPT="0")
    env.update(extra or {})
    return env


def which(name):
    """Return the full path of a command, looking in the sbin folders too, or None."""
    return shutil.which(name, path=environment()["PATH"])


def run(argv, timeout=60, env=None, cwd=None, stdin=None, pass_fds=()):
    """Run a command without a shell. Returns (rc, stdout, stderr); 124 = ran out of time, 127 = not there."""
    try:
        done = subprocess.run(
            [str(part) for part in argv],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL if stdin is None else None,
            input=None if stdin is None else stdin.encode(),
            timeout=timeout,
            env=environment(env),
            cwd=cwd,
            pass_fds=pass_fds,
            check=False,
        )
    except FileNotFoundError:
        return 127, "", "{0} is not installed".format(argv[0])
    except NotADirectoryError as error:
        return 126, "", str(error)
    except PermissionError as error:
        return 126, "", str(error)
    except subprocess.TimeoutExpired:
        return 124, "", "no answer within {0} s".format(timeout)
    return done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")


def told(out, err):
    """Return what a command said, less Podman's warnings about the host where it said anything else."""
    lines = ((err or out).strip() or "no message").splitlines()
    plain = [line for line in lines if not WARNING.match(line)]
    return "\n".join(plain or lines)[-1500:]


class Engine:
    """One engine's command line. Every method either answers or raises CliError with a readable sentence."""

    def __init__(self, name, timeout=60):
        self.name = name
        self.timeout = timeout

    def run(self, *argv, **kwargs):
        """Run `docker ARGV...`; returns (rc, stdout, stderr)."""
        kwargs.setdefault("timeout", self.timeout)
        return run((self.name,) + argv, **kwargs)

    def must(self, *argv, **kwargs):
        """Run and return stdout, or raise."""
        rc, out, err = self.run(*argv, **kwargs)
        if rc != 0:
            raise CliError(
                "`{0} {1}` failed (exit {2}): {3}".format(self.name, " ".join(argv[:2]), rc, told(out, err)),
                fix=self.advice(err + out),
                rc=rc,
            )
        return out

    def advice(self, text):
        """Return the next command for the errors that everybody meets, or None."""
        low = text.lower()
        if "permission denied" in low and "sock" in low:
            return "run this with become, or add the user to the docker group: sudo usermod -aG docker $USER"
        if "cannot connect to the docker daemon" in low:
            return "systemctl status docker; journalctl -u docker -n 50"
        if 'could not select device driver ""' in low:
            return (
                "dockerd started before the NVIDIA toolkit was installed: restart it when the host is idle, "
                "or ask for GPUs with --runtime=nvidia and NVIDIA_VISIBLE_DEVICES=all"
            )
        if "unknown runtime" in low or "unknown or invalid runtime" in low:
            return "the runtime isn't in daemon.json or dockerd has not reloaded it: systemctl reload docker"
        if "manifest unknown" in low or "manifest for" in low:
            return "look which tags the registry has, then correct the catalog or the mirror"
        if "no space left" in low:
            return "free disk space below the engine's root directory: {0} system df".format(self.name)
        if "is not installed" in low:
            return "install {0} first (role docker_engine)".format(self.name)
        return None

    def json(self, *argv, **kwargs):
        """Run and parse stdout as JSON."""
        out = self.must(*argv, **kwargs)
        try:
            return json.loads(out)
        except ValueError as error:
            raise CliError("`{0} {1}` did not answer in JSON: {2}".format(self.name, argv[0], error)) from error

    def inspect(self, kind, name):
        """Return `docker <kind> inspect NAME` as a dict, or None where it doesn't exist."""
        rc, out, err = self.run(kind, "inspect", name)
        if rc == 0:
            try:
                return json.loads(out)[0]
            except (ValueError, IndexError, KeyError):
                return None
        low = (err + out).lower()
        if "no such" in low or "not found" in low or "unable to find" in low or "not known" in low:
            return None
        raise CliError(
            "`{0} {1} inspect` failed (exit {2}): {3}".format(self.name, kind, rc, told(out, err)),
            fix=self.advice(err + out),
            rc=rc,
        )

    def info(self):
        """Return `docker info` as a dict."""
        return self.json("info", "--format", "{{json .}}")

    def root_dir(self, info=None):
        """Return the folder where the engine keeps its images, or None."""
        info = info if info is not None else self.info()
        return info.get("DockerRootDir") or (info.get("store") or {}).get("graphRoot")
