"""The build: stages, each checked by what it leaves, so that a build cut off anywhere goes on where it stopped."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import time

from ansible.module_utils.verl_source import checkout, gates, interpreter, managers, script
from ansible.module_utils.verl_source.environment import base, wanted_build
from ansible.module_utils.verl_source.failure import NETWORK, BuildFailure, explain_pip, telling_lines
from ansible.module_utils.verl_state import files

# Decimal GB on disk at the widest point of a build (environment, downloads and unpacking).
# Measured with verl 0.9.1: 5.6 GB environment + 3 GB downloads with CUDA libraries; 1.9 GB + 0.4 GB without.
# With a rollout engine: an estimate.
DISK_NEEDED = {"cpu": 4.0, "cuda": 10.0, "engine": 20.0}
LOG_LIMIT = 5 * 1024 * 1024
PR_SET_PDEATHSIG = 1

# The variables that decide what ends up in the environment. Where it is fetched from (mirrors) isn't among them.
CONTENT = ("verl_version", "method", "profile", "torch", "engine", "trainer", "extra_packages", "constraints")


def fingerprint(options):
    content = {name: options[name] for name in CONTENT}
    content["torch_build"] = wanted_build(options["torch_index"])
    if from_checkout(options):
        content["checkout"] = options["checkout"]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def from_checkout(options):
    """Whether verl is installed in place, from its source."""
    return options["method"] in ("git", "script")


def wrong_checkout(options, env, present, stamp):
    """Why verl isn't what the checkout holds, [] where it is."""
    if "verl" not in present:
        return []  # said already
    path, head = checkout.editable(present["verl"][1]), checkout.head(options["checkout"])
    if path != options["checkout"]:
        return ["verl comes from %s, wanted from %s" % (path or "a package index", options["checkout"])]
    if stamp and stamp.get("commit") != head:
        return ["%s is at %s, it was built at %s" % (path, str(head)[:12], str(stamp.get("commit"))[:12])]
    return []


def requirement(name, version):
    return name if version in ("", "latest") else "%s==%s" % (name, version)


def profile_name(profile):
    return "a development environment (profile cpu)" if profile == "cpu" else "a training environment (profile gpu)"


def assess(options, env):
    """What is there against what is wanted, offline: {intact, reasons, notices, stamp, rebuild, ...}."""
    stamp = files.read_json(env.stamp_path)
    if stamp and stamp.get("path") != env.path:
        stamp = None
    seen = {"stamp": stamp, "reasons": [], "notices": [], "rebuild": False, "stale_key": False}
    if not env.exists():
        seen["reasons"].append("there is no environment at %s" % env.path)
        return seen
    if not env.ours():
        raise BuildFailure(
            "%s exists and wasn't made by verl-provision: it's left alone" % env.path,
            "move it away, or choose another source_environment_prefix",
        )
    version = env.python_version()
    if not version:
        seen["reasons"].append("the environment's Python doesn't run")
        seen["rebuild"] = True
        return seen
    if not interpreter.satisfies(version, options["python_requires"]):
        seen["reasons"].append("it has Python %s, %s is needed" % (version, options["python_requires"]))
        seen["rebuild"] = True
        return seen
    seen["python_version"] = version
    if not stamp:
        seen["reasons"].append("its build didn't end")
    elif stamp.get("content") != fingerprint(options):
        if stamp.get("profile") != options["profile"]:
            seen["rebuild"] = True
            seen["reasons"].append("it was built with profile %s" % stamp.get("profile"))
        else:
            seen["reasons"].append("it was built for other settings (verl %s)" % stamp.get("wanted_verl_version"))
    present = env.distributions()
    wanted = {"verl": "latest" if from_checkout(options) else options["verl_version"]}
    if options["torch"]:
        wanted["torch"] = options["torch"]
    for name, release in sorted(wanted.items()):
        found = present.get(name, (None, None))[0]
        if found is None:
            seen["reasons"].append("%s is missing" % name)
        elif release != "latest" and found != release and base(found) != base(release):
            seen["reasons"].append("%s is %s, wanted %s" % (name, found, release))
    if from_checkout(options):
        seen["reasons"].extend(wrong_checkout(options, env, present, stamp))
    for name, reason in sorted(env.incomplete().items()):
        seen["reasons"].append("%s: %s" % (name, reason))
    if stamp:
        pinned = env.locked()
        if not pinned:
            seen["reasons"].append("its lock file %s is missing" % env.lock_file)
        seen["reasons"].extend("%s is missing" % n for n in sorted(pinned) if n not in present and n not in wanted)
        drift = [
            "%s %s (was %s)" % (n, present[n][0], v)
            for n, v in sorted(pinned.items())
            if n in present and present[n][0] != v and n not in wanted
        ]
        if drift:
            seen["notices"].append("changed by hand since the build, left as they are: %s" % ", ".join(drift[:10]))
    seen["stale_key"] = bool(stamp) and bool(options["key"]) and stamp.get("key") != options["key"]
    return seen


class Build:
    """One build under the lock. `lock_fd` is inherited by every child, see lock.py."""

    def __init__(self, options, env, build_id, lock_fd):
        self.options = options
        self.env = env
        self.lock_fd = lock_fd
        self.deadline = time.monotonic() + options["timeout"]
        self.notices = []
        self.journal = {}
        self.status = {
            "build_id": build_id,
            "pid": os.getpid(),
            "started": time.time(),
            "stage": "start",
            "stage_started": time.time(),
            "stages": {},
            "log": env.log_path,
        }

    # -- the whole of it ------------------------------------------------------------------------------------

    def run(self):
        """Build; returns the result for the user. Raises BuildFailure."""
        env = self.env
        for folder in (env.prefix, env.work, os.path.dirname(env.stamp_path), os.path.dirname(env.log_path)):
            os.makedirs(folder, exist_ok=True)
        shutil.rmtree(env.scratch, ignore_errors=True)
        os.makedirs(env.scratch)
        self._start_log()
        seen = assess(self.options, env)
        self.notices += seen["notices"]
        if not seen["reasons"]:
            return self._refresh(seen)
        self.log("why: %s" % "; ".join(seen["reasons"][:20]))
        self._refuse_when_used()
        if from_checkout(self.options):
            checkout.require(self.options["checkout"])
        self.journal = files.read_json(env.journal_path) or {}
        if self.journal.get("content") != fingerprint(self.options):
            self.journal = {"content": fingerprint(self.options), "stages": {}}
        self.journal.setdefault("stages", {})
        self._write_journal()
        # From here on the environment is half-built until the new stamp is there.
        files.remove(env.stamp_path)
        self._stage("environment", lambda: self._make_environment(seen))
        if self.options["method"] == "script":
            self._stage("script", self._run_script)
        else:
            self._stage("torch", self._install_torch)
        self._stage("verl", self._install_checkout if from_checkout(self.options) else self._install_verl)
        return self._stage("check", lambda: self._finish(seen))

    def _refresh(self, seen):
        """Nothing to build. The stamp follows a plan that now calls the same content by another key."""
        if seen["stale_key"]:
            files.write_json(self.env.stamp_path, dict(seen["stamp"], key=self.options["key"]))
        return describe(self.options, self.env, files.read_json(self.env.stamp_path), seen["stale_key"], self.notices)

    def _refuse_when_used(self):
        users = [(pid, command) for pid, command in self.env.used_by() if " -m pip" not in command]
        if users and not self.options["allow_disruption"]:
            raise BuildFailure(
                "%s is in use, and would change under: %s"
                % (self.env.path, "; ".join("pid %d (%s)" % user for user in users[:5])),
                "wait for them to end, or allow it with source_environment_allow_disruption=true",
            )

    # -- stages ---------------------------------------------------------------------------------------------

    def _make_environment(self, seen):
        env, options = self.env, self.options
        version = None if seen["rebuild"] else env.python_version()
        if version:
            broken = env.forget_incomplete()
            for name, reason in sorted(broken.items()):
                self.log("repairing %s: %s" % (name, reason))
            if self._call([env.python, "-m", "pip", "--version"], "environment", quiet=True)[0] == 0:
                return
            self.log("pip of the environment doesn't run: starting over")
        manager = managers.choose(options)
        if env.exists():
            self.log("removing %s" % env.path)
            if os.path.islink(env.path):
                os.unlink(env.path)
            else:
                shutil.rmtree(env.path)
            self.journal["stages"] = {}
        self._check_disk()
        self.log("made by %s: %s" % (manager.name, manager.because))

        def call(words):
            return self._call(words, "environment", index=options["pypi_index"])[0]

        managers.install(manager, options, env.scratch, call)
        lines, more = managers.commands(manager, options, env.path)
        for words in lines:
            code, text = self._call(words, "environment", more=more)
            if code:
                raise BuildFailure(
                    "`%s` failed" % " ".join(words),
                    "mend it, or give another interpreter with source_environment_python"
                    if manager.name == "venv"
                    else "check the network and what %s says; or choose another verl_source_manager" % manager.name,
                    tail=telling_lines(text),
                )
        if not env.python_version():
            raise BuildFailure("`%s` left no Python that runs" % " ".join(words), "see the log, then run again")
        self.journal["manager"] = manager.name
        self._write_journal()

    def _install_torch(self):
        options, env = self.options, self.env
        build = wanted_build(options["torch_index"])
        found = env.distributions().get("torch", (None, None))[0]
        done = self.journal["stages"].get("torch") or {}
        right_release = found and (not options["torch"] or base(found) == base(options["torch"]))
        if right_release and (done.get("build") == build or (build and found.endswith("+" + build))):
            if done.get("notice"):
                self.notices.append(done["notice"])
            return
        wanted = requirement("torch", options["torch"])
        record = {"build": build, "index": "torch", "notice": None}
        if options["torch_index"]:
            why_not = self._torch_index_lacks(wanted)
            if why_not is None:
                # Its dependencies come with verl, from the index that has everything: a mirror of this one may not.
                self._pip(["install", "--no-deps", "--force-reinstall", wanted], "torch", index=options["torch_index"])
                self._note_torch(record)
                return
            record["index"] = "default"
            record["notice"] = "%s; torch comes from the default package index instead%s" % (
                why_not,
                ", with CUDA libraries this host doesn't use (several GB more)" if build == "cpu" else "",
            )
            self.notices.append(record["notice"])
            self.log("notice: " + record["notice"])
            self._check_disk(cuda=True)
        self._pip(["install", wanted], "torch", index=options["pypi_index"])
        self._note_torch(record)

    def _note_torch(self, record):
        self.journal["stages"]["torch"] = record
        self._write_journal()

    def _torch_index_lacks(self, wanted):
        """None where the index offers the wanted torch, else why it can't be used. Asked briefly, by pip itself:
        so the user's certificates, proxy and credentials count."""
        where = _host(self.options["torch_index"])
        code, text = self._call(
            [
                self.env.python,
                "-m",
                "pip",
                "index",
                "versions",
                "torch",
                "--timeout",
                str(self.options["index_timeout"]),
                "--retries",
                "1",
            ],
            "torch",
            index=self.options["torch_index"],
            alone=True,
        )
        if "unknown command" in text or "No such option" in text or "no such option" in text:
            return None  # pip before 21.2: let the installation itself tell
        if code:
            if NETWORK.search(text):
                return "the PyTorch index at %s can't be reached" % where
            return "the PyTorch index at %s has no torch for this Python and machine" % where
        listed = re.search(r"Available versions: (.*)", text)
        offered = [version.strip() for version in listed.group(1).split(",")] if listed else []
        release = wanted.partition("==")[2]
        if release and offered and base(release) not in [base(version) for version in offered]:
            return "the PyTorch index at %s has no torch %s (newest: %s)" % (where, release, offered[0])
        return None

    def _write_constraints(self):
        torch = self.env.distributions()["torch"][0]
        files.write(self.env.constraints_path, "\n".join(["torch==%s" % torch] + self.options["constraints"]) + "\n")

    def _run_script(self):
        """verl's own script. What it should have installed is looked for afterwards: it always says it's done."""
        options, env = self.options, self.env
        done = self.journal["stages"].get("script") or {}
        head = checkout.head(options["checkout"])
        if done.get("commit") == head and not script.missing(options, env.distributions()):
            return
        switches = script.switches(options)
        copy = script.prepare(options, os.path.join(env.work, "install.sh"))
        self.log("%s with %s" % (checkout.SCRIPT, " ".join("%s=%s" % item for item in sorted(switches.items()))))
        path = os.path.join(env.path, "bin") + os.pathsep + os.environ.get("PATH", os.defpath)
        code, text = self._call(
            ["bash", copy],
            "script",
            index=options["pypi_index"],
            more=dict(switches, PATH=path, VIRTUAL_ENV=env.path),
            cwd=env.scratch,  # it leaves what it downloads where it runs
        )
        absent = script.missing(options, env.distributions())
        if code or absent:
            what, fix = explain_pip(text, code)
            raise BuildFailure(
                "%s ended with exit status %d%s%s"
                % (
                    checkout.SCRIPT,
                    code,
                    ", but has not installed: %s" % ", ".join(absent) if absent else "",
                    "; %s" % what if not what.startswith("pip ended") else "",
                ),
                fix if not what.startswith("pip ended") else "see the log, then run again; or verl_source_method=git",
                tail=telling_lines(text),
            )
        self.journal["stages"]["script"] = {"commit": head}
        self._write_journal()

    def _install_checkout(self):
        """verl in place, first without its dependencies; then those, by the pins of its release."""
        options, env = self.options, self.env
        self._pip(["install", "--no-deps", "-e", options["checkout"]], "verl", index=options["pypi_index"])
        self._write_constraints()
        needs = checkout.requirements(env.distributions()["verl"][1]) if options["method"] == "git" else []
        more = needs + options["extra_packages"]
        if more:
            self._pip(["install", "-c", env.constraints_path, "torch"] + more, "verl", index=options["pypi_index"])

    def _install_verl(self):
        options, env = self.options, self.env
        self._write_constraints()
        # torch is named too, so that pip looks at what the installed one needs (--no-deps above).
        self._pip(
            ["install", "-c", env.constraints_path, "torch", requirement("verl", options["verl_version"])]
            + options["extra_packages"],
            "verl",
            index=options["pypi_index"],
        )

    def _finish(self, seen):
        options, env = self.options, self.env
        wrong = ["%s: %s" % item for item in sorted(env.incomplete().items())]
        present = env.distributions()
        verl = "latest" if from_checkout(options) else options["verl_version"]
        for name, release in (("verl", verl), ("torch", options["torch"] or "latest")):
            found = present.get(name, (None, None))[0]
            if found is None:
                wrong.append("%s is missing" % name)
            elif release != "latest" and base(found) != base(release):
                wrong.append("%s is %s, wanted %s" % (name, found, release))
        if from_checkout(options):
            wrong.extend(wrong_checkout(options, env, present, None))
        if wrong:
            raise BuildFailure(
                "pip says it's done, but the environment isn't right: %s" % "; ".join(wrong[:10]),
                "run again; if it stays, remove %s and run again" % env.path,
            )
        checks = gates.Gates(env, options["gates"], options["profile"]).run()
        for item in checks:
            self.log(
                "%s %s: %s" % ({True: "ok", False: "FAILED", None: "skipped"}[item["ok"]], item["id"], item["found"])
            )
        closed = gates.failures(checks)
        if closed:
            raise BuildFailure(
                "what was installed doesn't fit together: %s" % "; ".join(closed),
                next(item["fix"] for item in checks if item["ok"] is False),
            )
        code, text = self._call([env.python, "-m", "pip", "check"], "check")
        if code:
            self.notices.append("pip check: %s" % "; ".join(telling_lines(text, 5)))
        code, text = self._call([env.python, "-m", "pip", "freeze", "--all"], "check", quiet=True, stderr=False)
        if code:
            raise BuildFailure("pip freeze failed", "run again", tail=telling_lines(text))
        python = env.python_version()
        frozen = "\n".join(line for line in text.splitlines() if line.strip()) + "\n"
        files.write(
            env.lock_file, "# Written by verl-provision: what %s holds. Python %s.\n%s" % (env.path, python, frozen)
        )
        torch, cuda = env.torch_build()
        stamp = {
            "key": options["key"] or fingerprint(options),
            "content": fingerprint(options),
            "path": env.path,
            "python": python,
            "verl_version": present["verl"][0],
            "ray": present["ray"][0] if "ray" in present else None,
            "wanted_verl_version": options["verl_version"],
            "torch": torch or present["torch"][0],
            "torch_cuda": cuda,
            "torch_index": (self.journal["stages"].get("torch") or {}).get("index"),
            "profile": options["profile"],
            "kind": profile_name(options["profile"]),
            "method": options["method"],
            "manager": self.journal.get("manager", "venv"),
            "commit": checkout.head(options["checkout"]) if from_checkout(options) else None,
            "engine": options["engine"],
            "trainer": options["trainer"],
            "gates": {item["id"]: item["ok"] for item in checks},
            "freeze_sha256": hashlib.sha256(frozen.encode()).hexdigest(),
            "packages": len(frozen.splitlines()),
            "built_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        # Downloads in the prefix only served the build (an own PIP_CACHE_DIR is the user's and stays).
        if not options["pip_cache_dir"]:
            shutil.rmtree(os.path.join(env.prefix, ".cache"), ignore_errors=True)
        shutil.rmtree(env.scratch, ignore_errors=True)
        files.write_json(env.stamp_path, stamp)
        return dict(describe(options, env, stamp, True, self.notices, seen["reasons"]), gates=checks)

    # -- tools ----------------------------------------------------------------------------------------------

    def _stage(self, name, work):
        self.status["stage"] = name
        self.status["stage_started"] = time.time()
        files.write_json(self.env.status_path, self.status)
        self.log("== stage %s" % name)
        start = time.monotonic()
        try:
            return work()
        except BuildFailure as failure:
            failure.stage = failure.stage or name
            raise
        except OSError as error:
            raise BuildFailure(
                "stage %s: %s" % (name, error),
                "check %s (space, rights), then run again" % self.env.prefix,
                stage=name,
            ) from error
        finally:
            self.status["stages"][name] = round(time.monotonic() - start, 1)

    def _check_disk(self, cuda=False):
        needed = disk_needed(self.options, cuda)
        there = files.tree_size(self.env.path) / 1e9 if self.env.exists() else 0.0
        check_disk(self.env.prefix, needed - there, needed)

    def _pip(self, arguments, stage, index=""):
        code, text = self._call([self.env.python, "-m", "pip"] + arguments, stage, index=index)
        if code:
            what, fix = explain_pip(text, code)
            if what == "a download was cut off" and not self.options["pip_cache_dir"]:
                # An older pip may have kept the piece; it would be served again by the next run.
                shutil.rmtree(os.path.join(self.env.prefix, ".cache", "pip"), ignore_errors=True)
            named = [a for i, a in enumerate(arguments) if i and a[0] != "-" and arguments[i - 1] != "-c"][:8]
            raise BuildFailure(
                "pip could not install %s: %s" % (" ".join(named), what), fix, stage=stage, tail=telling_lines(text)
            )

    def _environ(self, index, alone):
        """The environment of a child. Index addresses go this way and not by argument: they may hold a password,
        and command lines are public."""
        env = {
            k: v
            for k, v in os.environ.items()
            if k
            not in (
                "PYTHONHOME",
                "PYTHONPATH",
                "PIP_TARGET",
                "PIP_PREFIX",
                "PIP_ROOT",
                "PIP_REQUIREMENT",
                "PIP_CONSTRAINT",
                "VIRTUAL_ENV",
                "__PYVENV_LAUNCHER__",
            )
        }
        env.update(
            PIP_NO_INPUT="1",
            PIP_DISABLE_PIP_VERSION_CHECK="1",
            PIP_USER="0",
            PIP_PROGRESS_BAR="off",
            PYTHONNOUSERSITE="1",
            PYTHONUNBUFFERED="1",
            TMPDIR=self.env.scratch,
            LC_ALL="C.UTF-8",
            PIP_CACHE_DIR=self.options["pip_cache_dir"] or os.path.join(self.env.prefix, ".cache", "pip"),
        )
        if index:
            env["PIP_INDEX_URL"] = index
        if alone:
            env.pop("PIP_EXTRA_INDEX_URL", None)
            env.pop("PIP_FIND_LINKS", None)
        return env

    def _call(self, command, stage, index="", alone=False, quiet=False, stderr=True, more=None, cwd=None):
        """Run `command`; its output goes to the log as it comes. Returns (exit status, output)."""
        env = self.env
        self.log("+ %s%s" % (" ".join(command), "   # index: %s" % _host(index) if index else ""))
        left = self.deadline - time.monotonic()
        capture = os.path.join(env.scratch, "output")
        with open(capture if quiet else env.log_path, "ab") as out:
            begin = out.seek(0, os.SEEK_END)
            child = subprocess.Popen(  # one thread only; pylint: disable=subprocess-popen-preexec-fn
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT if stderr else subprocess.DEVNULL,
                env=dict(self._environ(index, alone), **(more or {})),
                cwd=cwd or env.prefix,
                pass_fds=[self.lock_fd] if self.lock_fd else [],
                preexec_fn=_die_with_parent,
            )
            try:
                code = child.wait(timeout=max(1, left))
            except subprocess.TimeoutExpired:
                child.terminate()
                try:
                    child.wait(timeout=20)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()
                raise BuildFailure(
                    "the build took longer than %d s" % self.options["timeout"],
                    "run again: it goes on where it stopped (a longer limit: source_environment_timeout)",
                    stage=stage,
                    tail=telling_lines(files.tail(env.log_path)),
                ) from None
        with open(capture if quiet else env.log_path, "rb") as handle:
            handle.seek(begin)
            text = handle.read().decode("utf-8", "replace")
        return code, text

    def log(self, line):
        with open(self.env.log_path, "a", encoding="utf-8") as handle:
            handle.write(time.strftime("%H:%M:%S ") + line + "\n")

    def _start_log(self):
        path = self.env.log_path
        if os.path.exists(path) and os.path.getsize(path) > LOG_LIMIT:
            os.replace(path, path + ".1")
        self.log(
            "==== %s: verl %s, profile %s, in %s"
            % (
                time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                self.options["verl_version"],
                self.options["profile"],
                self.env.path,
            )
        )

    def _write_journal(self):
        files.write_json(self.env.journal_path, self.journal)


def disk_needed(options, cuda=False):
    """GB for the whole build; `cuda` where the torch index turned out to serve no CPU build."""
    if options["engine"] != "none":
        kind = "engine"
    else:
        kind = "cpu" if wanted_build(options["torch_index"]) == "cpu" and not cuda else "cuda"
    return options["disk_needed_gb"] or DISK_NEEDED[kind]


def check_disk(path, missing, needed):
    """Refuse where the file system of `path` has less than `missing` GB free."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    stat = os.statvfs(path)
    free = stat.f_bavail * stat.f_frsize / 1e9
    if free < missing:
        raise BuildFailure(
            "too little disk at %s: found %.1f GB free, needed %.1f GB (of %.1f GB for the whole environment)"
            % (path, free, missing, needed),
            "free space there, or choose a source_environment_prefix on a larger disk",
        )


def describe(options, env, stamp, changed, notices, reasons=()):
    """The result that the user sees."""
    return {
        "changed": changed,
        "msg": "%s at %s: verl %s, torch %s%s, Python %s"
        % (
            profile_name(options["profile"]),
            env.path,
            stamp["verl_version"],
            stamp["torch"],
            " (CUDA %s build)" % stamp["torch_cuda"] if stamp.get("torch_cuda") else "",
            stamp["python"],
        ),
        "path": env.path,
        "python": env.python,
        "activate": activation(env.path),
        "manager": stamp.get("manager", "venv"),
        "verl_version": stamp["verl_version"],
        "torch": stamp["torch"],
        "torch_cuda": stamp.get("torch_cuda"),
        "python_version": stamp["python"],
        "profile": stamp["profile"],
        "lock_file": env.lock_file,
        "log": env.log_path,
        "notices": list(notices),
        "reasons": list(reasons),
    }


def activation(path):
    """How a shell takes the environment; one that conda made has no script of its own for that."""
    if os.path.isdir(os.path.join(path, "conda-meta")):
        return "conda activate %s" % path
    return "source %s/bin/activate" % path


def _host(url):
    """The host of an index: enough for a message, and never its credentials."""
    return re.sub(r"^[a-z+]+://", "", url).split("/")[0].rpartition("@")[2] or url


def _die_with_parent():
    # A builder that is killed takes its pip along, so that nothing writes into the environment unwatched.
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
