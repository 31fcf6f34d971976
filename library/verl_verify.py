#!/usr/bin/python
# Copyright: the verl-provision authors
# Apache License 2.0 (see LICENSE)
"""Run the verification script where verl runs, and keep the stamp of a pass."""

from __future__ import annotations

DOCUMENTATION = r"""
module: verl_verify
short_description: Verify a verl environment from inside, and remember a pass
version_added: "0.1.0"
description:
  - C(action=run) feeds the verification script to the Python that verl uses (the source environment's, or a
    container's through the engine's own command line) and returns its checks. Nothing is copied to the host and
    nothing is changed.
  - C(action=remember) writes the stamp of a pass (or removes it after a failure), C(action=recall) reads it. They
    are actions of their own because running may need another user's rights than the stamp, which belongs to the
    login user.
  - A failed check is not a failed module; look at RV(passed).
options:
  action:
    description: What to do.
    type: str
    choices: [recall, run, remember]
    default: run
  state_dir:
    description: Where the stamp C(verification.json) is.
    type: path
    default: ~/.local/state/verl-provision
  key:
    description: What the pass holds for; another key's stamp doesn't count. Empty means a hash of the other options.
    type: str
    default: ""
  level:
    description: How far to verify. A level includes those before it; V(collective) goes beside V(engine) and V(train).
    type: str
    choices: [import, devices, gpu, engine, train, collective]
    default: import
  backend:
    description: What verl runs in.
    type: str
    choices: [source, docker, podman, apptainer]
    default: source
  prefix:
    description: The source environment's prefix.
    type: path
    default: ~/verl
  container:
    description: The container's name.
    type: str
    default: verl
  engine_command:
    description: The engine's command line. Empty means the backend's name.
    type: list
    elements: str
    default: []
  workdir:
    description: The directory inside the container to run in. Empty means the container's own.
    type: str
    default: ""
  ray_token:
    description:
      - The file of Ray's token, on the head of a cluster. What is in it reaches the checks in their environment, and
        nothing else.
    type: path
    default: ""
  script:
    description: The script's text.
    type: str
    default: ""
  expected:
    description: What the checks hold against, as C(catalog/schema/verification.json) describes it.
    type: dict
    default: {}
  check_timeout:
    description: Seconds for one check.
    type: int
    default: 300
  work_timeout:
    description: Seconds for one check of the levels V(engine), V(train) and V(collective), which start processes.
    type: int
    default: 900
  timeout:
    description: Seconds for all of them.
    type: int
    default: 2700
  result:
    description: The result of C(action=run), for C(action=remember).
    type: dict
    default: {}
extends_documentation_fragment: [verl_attributes]
attributes:
  check_mode:
    support: full
    description: Nothing is run; RV(passed) is null.
  diff_mode:
    support: none
author: verl-provision authors (@verl-provision)
"""

EXAMPLES = r"""
- name: Run the checks
  verl_verify:
    prefix: ~/verl
    script: "{{ lookup('ansible.builtin.file', 'verl_verify.py') }}"
    expected:
      verl_version: "0.9.1"
      profile: cpu
  register: verified

- name: Remember the pass
  verl_verify:
    action: remember
    result: "{{ verified }}"
  when: verified.passed
"""

RETURN = r"""
passed:
  description:
    - Whether no check failed and the wanted level was reached; null where nothing was run.
    - A level is reached where a check of it passed. On a machine without GPUs the levels that need one are skipped, and
      the rest counts; elsewhere a wanted level of nothing but skips is no pass.
  returned: action is run
  type: bool
checks:
  description: The checks, each {id, ok, found, needed, fix, seconds}; ok is null where it was skipped.
  returned: action is run
  type: list
  elements: dict
reached:
  description: The highest level at which a check passed.
  returned: action is run
  type: str
versions:
  description: What was found, by name.
  returned: action is run
  type: dict
verified:
  description: Whether there is a stamp of a pass with this key and at least this level.
  returned: action is recall
  type: bool
stamp:
  description: The stamp, where there is a valid one.
  returned: action is recall or remember
  type: dict
state_dir:
  description: The absolute path of the state directory.
  returned: always
  type: str
key:
  description: The key used.
  returned: always
  type: str
"""

import hashlib
import json
import os
import shutil
import subprocess
import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.validation import check_type_path
from ansible.module_utils.verl_container import cli
from ansible.module_utils.verl_state import files

LEVELS = ["import", "devices", "gpu", "engine", "train", "collective"]
LADDER = LEVELS[:-1]  # `collective` goes beside it, on `gpu`
RAY_TOKEN = "VERL_VERIFY_RAY_TOKEN"
RESULT_MARK = "verl-verify-result: "
ARGUMENTS = {
    "action": {"type": "str", "choices": ["recall", "run", "remember"], "default": "run"},
    "state_dir": {"type": "path", "default": "~/.local/state/verl-provision"},
    "key": {"type": "str", "default": "", "no_log": False},
    "level": {"type": "str", "choices": LEVELS, "default": "import"},
    "backend": {"type": "str", "choices": ["source", "docker", "podman", "apptainer"], "default": "source"},
    "prefix": {"type": "path", "default": "~/verl"},
    "container": {"type": "str", "default": "verl"},
    "engine_command": {"type": "list", "elements": "str", "default": []},
    "workdir": {"type": "str", "default": ""},
    "ray_token": {"type": "path", "default": "", "no_log": False},
    "script": {"type": "str", "default": ""},
    "expected": {"type": "dict", "default": {}},
    "check_timeout": {"type": "int", "default": 300},
    "work_timeout": {"type": "int", "default": 900},
    "timeout": {"type": "int", "default": 2700},
    "result": {"type": "dict", "default": {}},
}


def key_of(options):
    if options["key"]:
        return options["key"]
    named = {name: options[name] for name in ("level", "backend", "prefix", "container", "expected", "script")}
    return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()


def command(options):
    """The command that takes the script on standard input."""
    if options["backend"] == "source":
        return [os.path.join(options["prefix"], "env", "bin", "python"), "-"]
    if options["backend"] == "apptainer":
        # No container stays: verl-shell starts each command in the image, with what it needs mounted.
        return list(options["engine_command"] or [check_type_path("~/.local/bin/verl-shell")]) + ["python3", "-"]
    engine = list(options["engine_command"] or [options["backend"]])
    inside = ["-w", options["workdir"]] if options["workdir"] else []
    inside += ["-e", RAY_TOKEN] if options["ray_token"] else []  # its value is in the engine's own environment
    return engine + ["exec", "-i"] + inside + [options["container"], "python3", "-"]


def advice(options):
    """(repair, recreate): the next commands when packages, or what the container was given, are wrong."""
    again = "run the site playbook again"
    if options["backend"] == "source":
        stamp = os.path.join(options["state_dir"], "source_environment.json")
        repair = "rm %s, then %s: it looks at every package and mends the environment" % (stamp, again)
        return repair, again
    if options["backend"] == "apptainer":
        images = os.path.join(options["prefix"], "images")
        return ("rm %s/*.sif, then %s: it pulls the image again" % (images, again),) * 2
    engine = " ".join(options["engine_command"] or [options["backend"]])
    recreate = "%s rm -f %s (when nothing runs in it), then %s" % (engine, options["container"], again)
    return recreate, recreate


def token(path):
    """What is in the file of Ray's token; '' where there is none, which Ray itself will say."""
    try:
        with open(path, encoding="utf-8") as stream:
            return stream.read().strip()
    except OSError:
        return ""


def not_run(found, needed, fix, start):
    """A result of one check, for when the script gave none."""
    check = {
        "id": "verify.run",
        "ok": False,
        "found": found,
        "needed": needed,
        "fix": fix,
        "seconds": round(time.monotonic() - start, 2),
    }
    return {"checks": [check], "versions": {}, "passed": False, "reached": None}


def run(options):
    start = time.monotonic()
    words = command(options)
    repair, recreate = advice(options)
    needed = "a Python that takes the script: %s" % " ".join(words)
    if not (os.path.exists(words[0]) if os.sep in words[0] else shutil.which(words[0])):
        return not_run("there is no %s" % words[0], needed, repair, start)
    request = {
        "level": options["level"],
        "expected": options["expected"],
        "check_timeout": options["check_timeout"],
        "work_timeout": options["work_timeout"],
        "repair": repair,
        "recreate": recreate,
    }
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    env.update(cli.docker_host())
    env.update(PYTHONDONTWRITEBYTECODE="1", PYTHONNOUSERSITE="1")
    if options["ray_token"]:
        env[RAY_TOKEN] = token(options["ray_token"])
    try:
        # Not from the current directory: Python would import from it before it looks into the environment.
        done = subprocess.run(
            words + [json.dumps(request)],
            input=options["script"].encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=options["timeout"],
            cwd="/",
            env=env,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return not_run(
            "no end within %d s" % options["timeout"],
            "all checks to end",
            "look at the host's load; a longer limit: verification_timeout",
            start,
        )
    except OSError as error:
        return not_run("%s: %s" % (words[0], error.strerror), needed, repair, start)
    for line in reversed(done.stdout.decode("utf-8", "replace").splitlines()):
        if line.startswith(RESULT_MARK):
            result = json.loads(line[len(RESULT_MARK) :])
            return result
    said = (done.stderr.decode("utf-8", "replace").strip() or "no output").splitlines()[-3:]
    found = "exit status %d: %s" % (done.returncode, " | ".join(said)[:400])
    return not_run(found, needed, repair, start)


def recall(stamp_path, key, level):
    """The stamp of a pass with this key and at least this level, else None."""
    stamp = files.read_json(stamp_path)
    if not stamp or stamp.get("key") != key or stamp.get("level") not in LEVELS:
        return None
    return stamp if covers(stamp["level"], level) else None


def covers(passed, wanted):
    """Whether a pass at one level is one at another."""
    if "collective" in (passed, wanted):
        return passed == wanted or (passed == "collective" and LEVELS.index(wanted) <= LEVELS.index("gpu"))
    return LADDER.index(passed) >= LADDER.index(wanted)


def remember(options, key):
    """The stamp of a pass, from the result of a run."""
    checks = options["result"].get("checks") or []
    return {
        "key": key,
        "level": options["level"],
        "reached": options["result"].get("reached") or options["level"],
        "backend": options["backend"],
        "passed_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "passed": [item["id"] for item in checks if item["ok"]],
        "skipped": {item["id"]: item["found"] for item in checks if item["ok"] is None},
        "versions": options["result"].get("versions") or {},
        "seconds": round(sum(item["seconds"] for item in checks), 1),
    }


def main():
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    options = dict(module.params)
    options["state_dir"] = os.path.abspath(options["state_dir"])
    stamp_path = os.path.join(options["state_dir"], "verification.json")
    key = key_of(options)
    known = {"state_dir": options["state_dir"], "key": key}
    if options["action"] == "recall":
        stamp = recall(stamp_path, key, options["level"])
        module.exit_json(changed=False, verified=stamp is not None, stamp=stamp, **known)
    if options["action"] == "run":
        if module.check_mode:
            module.exit_json(changed=True, passed=None, checks=[], versions={}, reached=None, **known)
        told = run(options)
        answer = {name: told[name] for name in ("passed", "checks", "versions", "reached")}
        module.exit_json(changed=False, **known, **answer)
    passed = options["result"].get("passed")
    stamp = remember(options, key) if passed else None
    known["changed"] = bool(passed) or os.path.exists(stamp_path)
    if not module.check_mode:
        try:
            if passed:
                files.write_json(stamp_path, stamp)
            else:
                files.remove(stamp_path)
        except OSError as error:
            module.fail_json(**files.unwritten(stamp_path, error), **known)
    module.exit_json(stamp=stamp, **known)


if __name__ == "__main__":
    main()
