#!/usr/bin/python
# Copyright: the verl-provision authors
# Apache License 2.0 (see LICENSE)
"""Build and keep an isolated Python environment with verl, in the user's own directory."""

from __future__ import annotations

DOCUMENTATION = r"""
module: verl_source_environment
short_description: Build and keep an isolated Python environment with verl
version_added: "0.1.0"
description:
  - Makes a virtual environment at C(<prefix>/env), installs PyTorch and then verl into it, and keeps a stamp, so that
    the next run finds out offline that nothing has to be done.
  - A build that was cut off (killed, network, power) goes on where it stopped. What pip left half-installed is found by
    its metadata and repaired.
  - One build at a time for a prefix, by a lock that the kernel lets go when its holder dies.
  - Needs no root, and writes only to I(prefix) and I(state_dir).
options:
  prefix:
    description: The directory that holds the environment, its lock file and its scratch files.
    type: path
    required: true
  state_dir:
    description: Where the stamp C(source_environment.json) and C(log/source_environment.log) go.
    type: path
    default: ~/.local/state/verl-provision
  verl_version:
    description: The verl release, or C(latest).
    type: str
    default: latest
  method:
    description:
      - Where verl comes from. C(pypi) installs the release, C(git) the checkout in place (C(pip install --no-deps -e))
        with the dependencies it names, held to I(constraints).
      - C(script) runs the checkout's own C(scripts/install_vllm_sglang_mcore.sh) for the dependencies. Its exit status
        isn't trusted; what it should have installed is looked for.
    type: str
    choices: [pypi, git, script]
    default: pypi
  checkout:
    description: verl's source, for C(git) and C(script). Empty means C(<prefix>/src).
    type: path
    default: ""
  script_packages:
    description: What the script should install. Empty means what it installs at the releases known.
    type: list
    elements: str
    default: []
  max_jobs:
    description: Compilers at once, for the script. 0 means one a CPU, and 8 GB of memory for each.
    type: int
    default: 0
  profile:
    description: C(cpu) makes a development environment, C(gpu) one for training.
    type: str
    choices: [cpu, gpu]
    default: cpu
  python:
    description:
      - The interpreter that makes the environment. Empty means Ansible's own where it fits, else the newest
        C(python3.N) on PATH that does.
      - An existing environment keeps its interpreter as long as I(python_requires) is met.
    type: str
    default: ""
  python_requires:
    description: Python versions that this verl release runs on.
    type: str
    default: ">=3.10,<3.13"
  python_version:
    description:
      - The Python, as C(3.12), that a manager which brings its own is asked for. Empty means the newest usual one that
        meets I(python_requires).
    type: str
    default: ""
  manager:
    description:
      - Who makes the environment. C(auto) takes venv with a Python of the host that fits, else a manager that the host
        has, else the one in I(manager_download).
      - An existing environment is kept, whoever made it.
    type: str
    choices: [auto, conda, mamba, micromamba, uv, venv]
    default: auto
  manager_download:
    description:
      - Where a manager comes from that the host lacks - C(name), C(version), C(url), C(sha256), C(member) (the program
        inside an archive), C(package) (the same as a wheel; C(requirement), C(sha256), C(member)). It goes into
        I(prefix).
    type: dict
    default: {}
  downloads_mirror:
    description: The base address that replaces the host of downloads; their paths stay.
    type: str
    default: ""
  conda_channel:
    description: The channel that conda's kind take Python from. Empty means conda-forge.
    type: str
    default: ""
  torch:
    description: The torch release, installed first and held while verl is installed. Empty lets the index choose.
    type: str
    default: ""
  torch_index:
    description:
      - The index torch comes from. Empty means I(pypi_index). Where it can't be reached or lacks the release,
        the default index is used, and RV(notices) says so.
    type: str
    default: ""
  pypi_index:
    description: The index everything else comes from. Empty means the user's own pip configuration.
    type: str
    default: ""
  pip_cache_dir:
    description: pip's cache. Empty means C($PIP_CACHE_DIR), else one inside I(prefix) that is removed after the build.
    type: path
    default: ""
  engine:
    description: The rollout engine this environment is for. Its packages are named in I(extra_packages).
    type: str
    choices: [vllm, sglang, none]
    default: none
  trainer:
    description: The trainer this environment is for.
    type: str
    choices: [fsdp, megatron]
    default: fsdp
  extra_packages:
    description: More requirements, installed together with verl.
    type: list
    elements: str
    default: []
  constraints:
    description: Versions that pip must keep to, as in a constraints file.
    type: list
    elements: str
    default: []
  gates:
    description:
      - What has to fit together, checked after a build by package metadata - C(driver), C(driver_floor) (by CUDA
        major), C(vllm_floor), C(vllm_also), C(tensordict), C(numpy), C(transfer_queue). torch against vLLM,
        flash-attn's C++ ABI and cuDNN are always checked.
    type: dict
    default: {}
  key:
    description: The key of the plan's step, kept in the stamp. Empty means a hash of what decides the content.
    type: str
    default: ""
  disk_needed_gb:
    description: Disk space that the whole build needs, in decimal GB. 0 means by what is built (4, 10 or 20).
    type: float
    default: 0
  lock_timeout:
    description: Seconds to wait for another build of this prefix.
    type: int
    default: 1800
  timeout:
    description: Seconds after which a build is stopped. What it has done is kept.
    type: int
    default: 7200
  index_timeout:
    description: Seconds in which I(torch_index) must answer.
    type: int
    default: 10
  allow_disruption:
    description: Whether an environment may be changed while processes run from it.
    type: bool
    default: false
  action:
    description:
      - C(build) builds in the foreground. C(start) begins a build in the background, and C(wait) waits for it.
        The role's action plugin uses them to show progress.
    type: str
    choices: [build, start, wait]
    default: build
  build_id:
    description: The build that C(action=wait) waits for.
    type: str
    default: ""
  wait_seconds:
    description: How long C(action=wait) waits at most.
    type: int
    default: 10
extends_documentation_fragment: [verl_attributes, verl_proxy]
attributes:
  check_mode:
    support: full
    description: Says what it would do and changes nothing. Doesn't use the network.
  diff_mode:
    support: full
    description: Shows the versions before and after.
author: verl-provision authors (@verl-provision)
"""

EXAMPLES = r"""
- name: Build the environment
  verl_source_environment:
    prefix: ~/verl
    verl_version: "0.9.1"
    torch: "2.11.0"
    torch_index: https://download.pytorch.org/whl/cpu
"""

RETURN = r"""
msg:
  description: What is there now, in one line.
  returned: always
  type: str
path:
  description: The environment.
  returned: success
  type: str
python:
  description: The environment's interpreter.
  returned: success
  type: str
activate:
  description: The command that activates the environment in a shell.
  returned: success
  type: str
verl_version:
  description: Installed release of verl, by package metadata.
  returned: success
  type: str
torch:
  description: Installed torch, with its build.
  returned: success
  type: str
torch_cuda:
  description: CUDA version of the torch build, null for a CPU build.
  returned: success
  type: str
manager:
  description: What made the environment.
  returned: success
  type: str
python_version:
  description: Version of the environment's interpreter.
  returned: success
  type: str
profile:
  description: The profile it was built with.
  returned: success
  type: str
gates:
  description: What was checked to fit together, each {id, ok, found, needed, fix}; ok is null where it was skipped.
  returned: when something was built
  type: list
  elements: dict
lock_file:
  description: All packages with their versions.
  returned: success
  type: str
log:
  description: The log, on the host.
  returned: always
  type: str
notices:
  description: What turned out otherwise than asked for, and isn't a failure.
  returned: success
  type: list
  elements: str
reasons:
  description: Why something was done, or has to be.
  returned: success
  type: list
  elements: str
stage:
  description: The stage that failed.
  returned: failure
  type: str
tail:
  description: The telling last lines of the log.
  returned: failure
  type: list
  elements: str
fix:
  description: The next command or change.
  returned: failure
  type: str
"""

import os
import re
import sys
import time
import traceback
import urllib.parse
import uuid

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.verl_access import proxy
from ansible.module_utils.verl_source import managers
from ansible.module_utils.verl_source.build import Build, assess, check_disk, describe, disk_needed, profile_name
from ansible.module_utils.verl_source.environment import Environment
from ansible.module_utils.verl_source.failure import BuildFailure
from ansible.module_utils.verl_source.lock import Lock, held
from ansible.module_utils.verl_state import files

ARGUMENTS = {
    "prefix": {"type": "path", "required": True},
    "state_dir": {"type": "path", "default": "~/.local/state/verl-provision"},
    "verl_version": {"type": "str", "default": "latest"},
    "method": {"type": "str", "choices": ["pypi", "git", "script"], "default": "pypi"},
    "checkout": {"type": "path", "default": ""},
    "script_packages": {"type": "list", "elements": "str", "default": []},
    "max_jobs": {"type": "int", "default": 0},
    "profile": {"type": "str", "choices": ["cpu", "gpu"], "default": "cpu"},
    "python": {"type": "str", "default": ""},
    "python_requires": {"type": "str", "default": ">=3.10,<3.13"},
    "python_version": {"type": "str", "default": ""},
    "manager": {
        "type": "str",
        "choices": ["auto", "conda", "mamba", "micromamba", "uv", "venv"],
        "default": "auto",
    },
    "manager_download": {"type": "dict", "default": {}},
    # Not no_log: messages say where something came from. `hide_logins` keeps a login in it out of them.
    "downloads_mirror": {"type": "str", "default": ""},
    "conda_channel": {"type": "str", "default": ""},
    "torch": {"type": "str", "default": ""},
    "torch_index": {"type": "str", "default": ""},
    "pypi_index": {"type": "str", "default": ""},
    "pip_cache_dir": {"type": "path", "default": ""},
    "engine": {"type": "str", "choices": ["vllm", "sglang", "none"], "default": "none"},
    "trainer": {"type": "str", "choices": ["fsdp", "megatron"], "default": "fsdp"},
    "extra_packages": {"type": "list", "elements": "str", "default": []},
    "constraints": {"type": "list", "elements": "str", "default": []},
    "gates": {"type": "dict", "default": {}},
    "key": {"type": "str", "default": "", "no_log": False},
    "disk_needed_gb": {"type": "float", "default": 0},
    "lock_timeout": {"type": "int", "default": 1800},
    "timeout": {"type": "int", "default": 7200},
    "index_timeout": {"type": "int", "default": 10},
    "allow_disruption": {"type": "bool", "default": False},
    "proxy": proxy.ARGUMENT,
    "action": {"type": "str", "choices": ["build", "start", "wait"], "default": "build"},
    "build_id": {"type": "str", "default": ""},
    "wait_seconds": {"type": "int", "default": 10},
}
ADDRESSES = ("downloads_mirror", "conda_channel", "torch_index", "pypi_index")


def hide_logins(module):
    """Keep the logins in addresses out of all that the module says; the addresses stay."""
    for name in ADDRESSES:
        login = re.search(r"://([^/\s]+)@", module.params[name])
        if login:
            module.no_log_values.add(login.group(1))
            module.no_log_values.add(urllib.parse.unquote(login.group(1).partition(":")[2]) or login.group(1))


def failed(failure, env):
    """A failure as a module result: what, the telling lines, where the log is, what to do."""
    lines = ["source_environment: %s." % failure.message.rstrip(".")]
    if failure.tail:
        lines.append("Last lines of the log:")
        lines.extend("  " + line for line in failure.tail)
    lines.append("Next: %s." % failure.fix.rstrip("."))
    if os.path.exists(env.log_path):
        lines.append("Log on the host: %s" % env.log_path)
    return {
        "failed": True,
        "changed": False,
        "msg": "\n".join(lines),
        "stage": failure.stage,
        "tail": failure.tail,
        "fix": failure.fix,
        "log": env.log_path,
    }


def run_build(options, env, build_id, lock):
    """Build under the held lock; the result is kept for those who wait, and returned."""
    build = Build(options, env, build_id, lock.fd)
    try:
        result = build.run()
        result["stages"] = build.status["stages"]
    except BuildFailure as failure:
        result = failed(failure, env)
    except Exception:  # the builder may have no one to tell but its log and status file
        result = failed(
            BuildFailure("the build stopped by an error of its own: %s" % traceback.format_exc(), "report it"), env
        )
    try:
        os.makedirs(env.work, exist_ok=True)
        build.log(result["msg"])
        files.write_json(env.status_path, dict(build.status, stage="done", result=result))
    except OSError:
        pass
    lock.release()
    return result


def in_background(options, env, build_id, lock):
    """Leave a builder behind that outlives this module and holds the lock; returns when it has signed it."""
    ready, signed = os.pipe()
    child = os.fork()
    if child:
        os.close(signed)
        os.waitpid(child, 0)
        os.read(ready, 1)
        os.close(ready)
        lock.forget()
        return
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        os.close(ready)
        lock.sign(build_id=build_id)
        os.write(signed, b"!")
        os.close(signed)
        run_build(options, env, build_id, lock)
    finally:
        os._exit(0)


def held_by(env):
    """Who builds, in words."""
    holder = Lock(env.lock_path).holder()
    if not holder.get("pid"):
        return "another process"
    status = files.read_json(env.status_path) or {}
    stage = ", stage %s" % status["stage"] if status.get("build_id") == holder.get("build_id") else ""
    return "pid %s, since %s%s" % (
        holder["pid"],
        time.strftime("%H:%M:%S", time.localtime(holder.get("since", 0))),
        stage,
    )


def progress(env, build_id):
    """Where the build is: {building, stage, elapsed, line, fetched_mb, result}."""
    building = held(env.lock_path)  # asked first: a builder writes its result before it lets go
    status = files.read_json(env.status_path) or {}
    mine = not build_id or status.get("build_id") == build_id
    lines = [line for line in files.tail(env.log_path, 4096).splitlines() if line.strip()]
    now = time.time()
    return {
        "building": building,
        "stage": status.get("stage") if mine else None,
        "elapsed": int(now - status.get("started", now)) if mine else 0,
        "line": re.sub(r"\s+", " ", lines[-1])[:160] if lines else "",
        "fetched_mb": int(files.tree_size(env.scratch) / 1e6),
        "result": status.get("result") if mine and build_id else None,
    }


def wait(module, options, env):
    deadline = time.monotonic() + options["wait_seconds"]
    while True:
        seen = progress(env, options["build_id"])
        if seen["result"]:
            if seen["result"].get("failed"):
                module.fail_json(finished=True, **seen["result"])
            module.exit_json(finished=True, **seen["result"])
        if not seen["building"]:
            if options["build_id"]:
                module.fail_json(
                    finished=True,
                    **failed(
                        BuildFailure(
                            "the build ended without a result in stage %s: it was killed" % (seen["stage"] or "start"),
                            "run again: it goes on where it stopped",
                            seen["stage"],
                        ),
                        env,
                    ),
                )
            module.exit_json(changed=False, finished=True)
        if time.monotonic() >= deadline:
            module.exit_json(changed=False, finished=False, progress=seen)
        time.sleep(0.25)


def rehearse(options, env):
    """What a build would do, and whether it could begin. Changes nothing, asks no network."""
    seen = assess(options, env)
    if not seen["reasons"]:
        result = describe(options, env, seen["stamp"], seen["stale_key"], seen["notices"])
        return result
    if seen["rebuild"] or not seen.get("python_version"):
        manager = managers.choose(options)
        how = "build it by %s with Python %s" % (manager.name, manager.python)
        if not env.exists():
            needed = disk_needed(options)
            check_disk(env.prefix, needed, needed)
    else:
        how = "mend it in place"
    before = seen["stamp"] or {}
    return {
        "changed": True,
        "msg": "would make %s at %s with verl %s%s: %s (%s)"
        % (
            profile_name(options["profile"]),
            env.path,
            options["verl_version"],
            " and torch %s" % options["torch"] if options["torch"] else "",
            how,
            "; ".join(seen["reasons"][:5]),
        ),
        "path": env.path,
        "log": env.log_path,
        "reasons": seen["reasons"],
        "notices": seen["notices"],
        "diff": {
            "before": {"verl": before.get("verl_version"), "torch": before.get("torch")},
            "after": {"verl": options["verl_version"], "torch": options["torch"] or "any"},
        },
    }


def main():
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    hide_logins(module)
    proxy.use(module)
    options = dict(module.params)
    options["own_python"] = sys.executable
    options["prefix"] = os.path.abspath(options["prefix"])
    source = options["checkout"] or os.path.join(options["prefix"], "src")
    options["checkout"] = os.path.realpath(source)
    options["pip_cache_dir"] = options["pip_cache_dir"] or os.environ.get("PIP_CACHE_DIR", "")
    env = Environment(options["prefix"], os.path.abspath(options["state_dir"]))
    if options["action"] == "wait":
        wait(module, options, env)
    try:
        seen = rehearse(options, env)
        if module.check_mode or not seen["changed"]:
            module.exit_json(finished=True, **seen)
        os.makedirs(env.prefix, exist_ok=True)
        lock = Lock(env.lock_path)
        build_id = uuid.uuid4().hex
        # Half a second at least: whoever asks whether the lock is held takes it for a moment.
        got = lock.acquire(max(0.5, options["lock_timeout"]) if options["action"] == "build" else 0.5)
        if not got and options["action"] == "start":
            module.exit_json(changed=False, finished=False, busy=held_by(env))
        if not got:
            raise BuildFailure(
                "another run is building %s (%s), and didn't end within %d s"
                % (env.path, held_by(env), options["lock_timeout"]),
                "wait for it to end and run again (or wait longer: source_environment_lock_timeout)",
            )
    except BuildFailure as failure:
        module.fail_json(**failed(failure, env))
    except OSError as error:
        module.fail_json(
            **failed(
                BuildFailure("%s can't be used: %s" % (env.prefix, error), "choose another source_environment_prefix"),
                env,
            )
        )
    if options["action"] == "start":
        in_background(options, env, build_id, lock)
        module.exit_json(changed=True, finished=False, build_id=build_id)
    lock.sign(build_id=build_id)
    result = run_build(options, env, build_id, lock)
    if seen.get("diff"):
        result["diff"] = seen["diff"]
    if result.get("failed"):
        module.fail_json(**result)
    module.exit_json(finished=True, **result)


if __name__ == "__main__":
    main()
