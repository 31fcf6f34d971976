"""Fetch the operator's repository, and run its playbook on this machine if an allowed key signed the commit.

Written by verl-provision (role pull_timer); its settings are the JSON file that it is given. Runs as root under
systemd and becomes the login user for the playbook, so that no job of that user can change what was verified.
"""

import contextlib
import datetime
import fcntl
import json
import os
import pwd
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

REFUSED, UNFETCHED, BUSY, BROKEN = 10, 11, 75, 12  # exit statuses; the playbook's own are passed on
GIT_TIMEOUT = 900
KEPT_REPORTS = 20
REPORT_TIMEOUT = 120  # for reading the newest and clearing old ones away
HELD = 6 * 3600  # seconds after which a run from outside that never came back counts as dead
WANTED, VERIFIED = "refs/verl/wanted", "refs/verl/verified"  # the second: where 0.1.0 kept the last good commit
# What lies below `reports` is the login user's: a child with no more rights than his reads it and clears it away.
READ_REPORT = """
import os, shutil, stat, sys
place, keep = sys.argv[1], int(sys.argv[2])
opened = os.open(os.path.join(place, "latest", "report.json"), os.O_RDONLY | os.O_NONBLOCK)
if not stat.S_ISREG(os.fstat(opened).st_mode):
    sys.exit(1)
with open(opened, encoding="utf-8") as stream:
    sys.stdout.write(stream.read(16 << 20))
for name in sorted(name for name in os.listdir(place) if name[:1].isdigit())[:-keep]:
    # What can't be cleared away now is tried again by the next run.
    shutil.rmtree(os.path.join(place, name), ignore_errors=True)
"""


class Stop(Exception):
    """The run ends here; nothing (more) is done on this machine."""

    def __init__(self, result, status, message):
        super().__init__(message)
        self.result, self.status = result, status


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """The token is for the place that was named, and for no other."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        return None


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def redact(text):
    """Logins in URLs are nobody's business."""
    return re.sub(r"://[^/\s@]+@", "://***@", str(text))


def tell(text, level=6):
    """A line for the journal, and what `systemctl status` shows of the service."""
    print("<%d>%s" % (level, text), file=sys.stderr, flush=True)
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(("STATUS=%s" % text.splitlines()[0]).encode(), address.replace("@", "\0", 1))


class Pull:
    """One run."""

    def __init__(self, settings, lock):
        self.want, self.lock = settings, lock
        self.state = settings["state_dir"]
        self.tree = os.path.join(self.state, "tree")
        self.reports = os.path.join(self.state, "reports")
        self.last = os.path.join(self.state, "last.json")
        self.verified = os.path.join(self.state, "verified")  # the last good commit; not in a clone that may break
        quiet = {"GIT_TERMINAL_PROMPT": "0", "GIT_NO_REPLACE_OBJECTS": "1", "GIT_CEILING_DIRECTORIES": self.state}
        self.environment = {**os.environ, **quiet, **settings["environment"]}
        self.commit = self.wanted = self.report = None

    def look_for_others(self):
        """Leave the host to a run from outside: it left a file here, and then looked whether this lock is held."""
        path = os.path.join(self.state, "hold", "push")
        with contextlib.suppress(OSError):
            age = time.time() - os.lstat(path).st_mtime
            if abs(age) < HELD:  # dated ahead: by a clock that was set back, or by somebody who wants no more runs
                raise Stop(
                    "held", BUSY,
                    "a run from outside is at work on this host since %d min; this one leaves it to that one. "
                    "If there is none any more: rm %s" % (max(age, 0) // 60, path),
                )  # fmt: skip

    # ---- the repository

    def git(self, *words, check=True, **environment):
        quiet = ["core.hooksPath=/dev/null", "core.fsync=all", "core.fsmonitor=false", "gc.autoDetach=false"]
        argv = ["git", "-C", self.tree, *(word for option in quiet for word in ("-c", option)), *words]
        try:
            done = subprocess.run(
                argv, env={**self.environment, **environment}, timeout=GIT_TIMEOUT,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                pass_fds=[self.lock.fileno()], check=False,  # a git that outlives this run keeps the next one out
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Stop("unfetched", UNFETCHED, "git %s: %s" % (words[0], redact(error))) from error
        said = done.stdout.decode("utf-8", "replace").strip()
        if check and done.returncode:
            what = "git %s ended with %d" % (words[0], done.returncode)
            raise Stop("unfetched", UNFETCHED, "%s: %s" % (what, redact(said)[-600:]))
        return done.returncode, said

    def bring(self):
        """The wanted commit, verified, is the tree. A clone that a kill or a lost host left broken is made anew."""
        for attempt in (1, 2):
            try:
                self.fetch()
                self.verify()
                self.check_out()
                return
            except Stop:
                if attempt == 2 or self.sound():
                    raise
                tell("the clone in %s is broken; it is made anew" % self.tree, 4)
                shutil.rmtree(self.tree)

    def sound(self):
        """Whether the clone is whole, as far as git can say."""
        try:
            return self.git("fsck", "--full", "--no-dangling", check=False)[0] == 0
        except Stop:
            return True

    def fetch(self):
        """Bring the wanted commit; the working tree stays as it is."""
        clone = os.path.join(self.tree, ".git")
        os.makedirs(self.tree, mode=0o755, exist_ok=True)
        for folder, dummy, names in os.walk(clone):  # ours, and none of our gits lives: they hold the lock with us
            for name in names:
                if name.endswith(".lock") or name.startswith(("tmp_", ".tmp-")):
                    os.unlink(os.path.join(folder, name))
        if not os.path.isfile(os.path.join(clone, "HEAD")):
            self.git("init", "--quiet")
        self.commit = self.last_good()
        slow = ["-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=60"]
        spec = "+%s:%s" % (self.ref(slow), WANTED)
        self.git(*slow, "fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--", self.want["repository"], spec)
        self.wanted = self.git("rev-parse", "--verify", WANTED + "^{commit}")[1]

    def last_good(self):
        """The commit that ran last, None where none did."""
        with contextlib.suppress(OSError), open(self.verified, encoding="ascii") as stream:
            return stream.read(64).strip() or None
        return self.git("rev-parse", "--verify", "--quiet", VERIFIED, check=False)[1] or None

    def ref(self, options):
        """The branch or the tag that is followed; git would take a tag of the branch's name, whoever made it."""
        name = self.want["version"]
        if name.startswith("refs/"):
            return name
        names = ["refs/heads/" + name, "refs/tags/" + name]
        said = self.git(*options, "ls-remote", "--", self.want["repository"], *names)[1]
        found = [line.partition("\t")[2] for line in said.splitlines() if line.partition("\t")[2] in names]
        if len(found) > 1:
            raise Stop(
                "refused", REFUSED,
                "%s names a branch and a tag of %s. Nothing was run. Set pull_timer_version to the one you mean: %s"
                % (name, redact(self.want["repository"]), " or ".join(names)),
            )  # fmt: skip
        return found[0] if found else name

    def verify(self):
        """Refuse a commit that none of the allowed keys signed, and one that goes back behind what ran here before."""
        only = ["-c", "gpg.ssh.allowedSignersFile=" + self.want["allowed_signers"], "-c", "gpg.ssh.program=ssh-keygen"]
        if os.path.isfile(self.want["revoked_keys"]):
            only += ["-c", "gpg.ssh.revocationFile=" + self.want["revoked_keys"]]
        with tempfile.TemporaryDirectory(prefix="verl-provision-pull-") as keyring:
            # Whatever OpenPGP or X.509 keys lie about on this machine were not allowed by anybody.
            program = "gpg" if self.keys_into(keyring) else "/bin/false"
            only += ["-c", "gpg.x509.program=/bin/false"]
            only += ["-c", "gpg.program=" + program, "-c", "gpg.openpgp.program=" + program]
            status, said = self.git(*only, "verify-commit", self.wanted, check=False, GNUPGHOME=keyring)
        if status:
            raise Stop(
                "refused", REFUSED,
                "commit %s of %s isn't signed by an allowed key (%s). Nothing was run; %s stays. "
                "Sign it with a key of %s or %s: git commit --amend -S"
                % (self.wanted[:12], redact(self.want["repository"]), " ".join(said.split())[-300:] or "no signature",
                   (self.commit or "no commit")[:12], self.want["allowed_signers"], self.want["openpgp_keys"]),
            )  # fmt: skip
        line = self.want.get("release_line")
        if line and line not in self.git("log", "-1", "--format=%B", self.wanted)[1].splitlines():
            raise Stop(
                "refused", REFUSED,
                "commit %s is signed, but its message has no line `%s`: it wasn't released. Nothing was run. "
                "Release one with that line in its message, or change pull_timer_release_line"
                % (self.wanted[:12], line),
            )  # fmt: skip
        if self.commit and not self.want["allow_rewind"]:
            status, dummy = self.git("merge-base", "--is-ancestor", self.commit, self.wanted, check=False)
            if status:
                raise Stop(
                    "refused", REFUSED,
                    "commit %s doesn't follow %s, which ran here before: an old commit would come back. "
                    "Nothing was run. Put a new commit on top, or set pull_timer_allow_rewind"
                    % (self.wanted[:12], self.commit[:12]),
                )  # fmt: skip

    def keys_into(self, keyring):
        """Make a keyring of the OpenPGP keys that are allowed and of no other; whether there are any."""
        path = self.want["openpgp_keys"]
        if not os.path.isfile(path) or not os.path.getsize(path):
            return False
        argv = ["gpg", "--homedir", keyring, "--batch", "--quiet", "--no-autostart", "--import", path]
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        if done.returncode:
            said = " ".join(done.stdout.decode("utf-8", "replace").split())[-300:]
            raise Stop("broken", BROKEN, "gpg can't import %s: %s" % (path, said))
        return True

    def check_out(self):
        """The tree is the verified commit and nothing else."""
        self.git("-c", "advice.detachedHead=false", "checkout", "--quiet", "--force", "--detach", self.wanted)
        self.git("clean", "-ffdxq")
        put(self.verified, self.wanted + "\n", 0o644)
        self.commit = self.wanted

    # ---- the playbook

    def user(self):
        """(what a child does before it starts, its environment) to be the login user."""
        name = self.want["user"]
        environment = {name: value for name, value in self.environment.items() if name != "NOTIFY_SOCKET"}
        environment.update(ANSIBLE_CONFIG=os.path.join(self.tree, "ansible.cfg"), VERL_PROVISION_PULL="1")
        if not os.path.isfile(environment["ANSIBLE_CONFIG"]):
            del environment["ANSIBLE_CONFIG"]
        if not name or os.geteuid() != 0:
            return None, environment
        entry = pwd.getpwnam(name)
        environment.update(HOME=entry.pw_dir, USER=name, LOGNAME=name, SHELL=entry.pw_shell)
        runtime = "/run/user/%d" % entry.pw_uid
        if os.path.isdir(runtime):
            environment["XDG_RUNTIME_DIR"] = runtime

        def become():
            os.initgroups(name, entry.pw_gid)
            os.setgid(entry.pw_gid)
            os.setuid(entry.pw_uid)

        os.chown(self.reports, entry.pw_uid, entry.pw_gid)
        return become, environment

    def play(self):
        """Run the playbook, and read its report. Returns its exit status."""
        os.makedirs(self.reports, mode=0o755, exist_ok=True)
        become, environment = self.user()
        here = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
        myself = os.path.join(self.state, "self.json")
        put(myself, json.dumps({"all": {"hosts": {self.want["host"]: here}}}), 0o644)
        argv = [self.want["ansible_playbook"], "-i", self.want["inventory"], "-i", myself, "--limit", self.want["host"]]
        argv += ["-e", json.dumps({"run_report_directory": self.reports})]
        argv += [*self.want["arguments"], self.want["playbook"]]
        before = self.newest(become, environment)

        def begin():
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            if become:
                become()

        child = None
        try:
            with held_back(signal.SIGTERM):  # or it would leave a child that nobody knows
                child = subprocess.Popen(
                    argv, cwd=self.tree, env=environment, stdin=subprocess.DEVNULL, preexec_fn=begin,
                    start_new_session=True,
                    pass_fds=[self.lock.fileno()],  # a playbook whose parent was killed still keeps others out
                )  # fmt: skip
            status = child.wait()
        except BaseException:
            if child:
                with contextlib.suppress(OSError):
                    os.killpg(child.pid, signal.SIGTERM)
                child.wait()
            raise
        after = self.newest(become, environment)
        self.report = after if after and after != before else None
        return status

    def newest(self, become, environment):
        """The newest report, None where there is none."""
        words = [sys.executable, "-I", "-c", READ_REPORT, self.reports, str(KEPT_REPORTS)]
        try:
            done = subprocess.run(
                words, env=environment, preexec_fn=become, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                timeout=REPORT_TIMEOUT, check=False,
            )  # fmt: skip
            report = json.loads(done.stdout.decode(), parse_constant=refuse) if done.returncode == 0 else None
            json.dumps(report, indent=2)  # it will be, and what nests too deep can't
        except (ValueError, RecursionError, subprocess.TimeoutExpired):
            return None
        return report if isinstance(report, dict) else None

    # ---- what became of it

    def run(self):
        """One run; (result, exit status, message)."""
        try:
            self.look_for_others()
            self.bring()
            tell("runs %s at %s" % (self.want["playbook"], self.commit[:12]))
            status = self.play()
        except Stop as stop:
            return stop.result, stop.status, str(stop)
        except (OSError, KeyError) as error:
            return "broken", BROKEN, "the run could not be made: %s" % redact(error)
        if status:
            return "failed", status, "%s at %s ended with %d" % (self.want["playbook"], self.commit[:12], status)
        return "converged", 0, "%s at %s: everything is as it should be" % (self.want["playbook"], self.commit[:12])

    def deliver(self, document):
        """Bring the document to the operator. Returns why it could not be, '' where it was or need not be."""
        text, report = json.dumps(document, indent=2) + "\n", self.want["report"]
        put(self.last, text, 0o644)
        try:
            if report["command"]:
                argv = [*report["command"], self.last]
                done = subprocess.run(
                    argv, input=text.encode(), env=self.environment,
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, check=False,
                )  # fmt: skip
                if done.returncode:
                    said = done.stdout.decode("utf-8", "replace").strip()[-300:]
                    return "%s ended with %d: %s" % (argv[0], done.returncode, redact(said))
            if report["url"]:
                return self.send(text.encode(), report)
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            return redact(error)
        return ""

    def send(self, body, report):
        """To a URL, with the token that only root may read; an error that may pass is tried again."""
        url = report["url"].replace("{host}", urllib.parse.quote(self.want["host"], safe=""))
        headers = {"Content-Type": "application/json", "User-Agent": "verl-provision-pull"}
        if report["token_file"]:
            parts = urllib.parse.urlsplit(url)
            if parts.scheme != "https" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
                return "%s: the token is not sent without TLS" % redact(url)
            with open(report["token_file"], encoding="utf-8") as stream:
                headers["Authorization"] = "Bearer " + stream.read().strip()
        opener = urllib.request.build_opener(NoRedirect)
        for left in reversed(range(report["attempts"])):
            request = urllib.request.Request(url, data=body, headers=headers, method=report["method"])
            try:
                with opener.open(request, timeout=30) as answer:
                    answer.read()
                return ""
            except urllib.error.HTTPError as error:
                problem = "%s answered %d %s" % (redact(url), error.code, error.reason)
                if error.code < 500 and error.code not in (408, 429):
                    break
            except OSError as error:
                problem = "%s: %s" % (redact(url), redact(getattr(error, "reason", None) or error))
            if left:
                # Longer each time, and at random, so that not all hosts come back at once.
                time.sleep(report["pause"] * 2 ** (report["attempts"] - left - 1) * random.uniform(0.5, 1.5))
        return problem


def put(path, text, mode):
    """Write a file in one go."""
    aside = path + ".new"
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(aside, path)


def refuse(constant):
    """NaN and the infinities are no JSON."""
    raise ValueError(constant)


@contextlib.contextmanager
def held_back(number):
    """A signal waits until this is over."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})


def stopped(number, frame):
    """systemd, or a person, wants the run to end."""
    sys.exit(128 + number)


def main(arguments):
    """One run with the settings of a file; its exit status."""
    if len(arguments) != 1:
        print("usage: verl-provision-pull SETTINGS.json", file=sys.stderr)
        return 2
    with open(arguments[0], encoding="utf-8") as stream:
        settings = json.load(stream)
    signal.signal(signal.SIGTERM, stopped)
    os.umask(0o022)
    os.makedirs(settings["state_dir"], mode=0o755, exist_ok=True)
    # flock, because the kernel lets it go when its holder dies, however it dies.
    with open(os.path.join(settings["state_dir"], "lock"), "a", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            tell("another pull run is at work on this machine; this one leaves it to that one", 5)
            return BUSY
        pull, started = Pull(settings, lock), now()
        result, status, message = pull.run()
        document = {
            "schema_version": 1,
            "host": settings["host"],
            "ok": result == "converged",
            "result": result,
            "message": message,
            "exit_status": status,
            "repository": redact(settings["repository"]),
            "version": settings["version"],
            "commit": pull.commit,
            "wanted_commit": pull.wanted,
            "started": started,
            "finished": now(),
            "report": pull.report,
        }
        undelivered = pull.deliver(document)
    if undelivered:
        message += "; NOT DELIVERED: " + undelivered
    tell(message, 3 if status else 4 if undelivered else 6)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
