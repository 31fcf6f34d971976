#!/usr/bin/python
"""Module verl_editable_install: verl installed from its mounted checkout inside the training container."""

DOCUMENTATION = r"""
module: verl_editable_install
short_description: Installs verl from the mounted checkout inside the container, and nothing else
version_added: "0.1.0"
author: verl-provision authors (@verl-provision)
description:
  - Runs C(pip install --no-deps -e PATH) inside the running container where verl isn't installed from
    O(path) yet, or in another
    version than the checkout's.
  - Compares the versions of O(guard) before and after and fails where one changed, since an image's torch,
    vLLM and flash-attn
    belong together.
  - Where something runs in the container, the installation is deferred.
options:
  engine:
    description: The engine's command.
    type: str
    choices: [docker, podman]
    default: docker
  container:
    description: The container's name.
    type: str
    default: verl
  path:
    description: The checkout as the container sees it.
    type: str
    default: /workspace/verl
  python:
    description: The interpreter inside the container.
    type: str
    default: python3
  guard:
    description: Packages whose versions must not change.
    type: list
    elements: str
    default:
      - torch
      - vllm
      - sglang
      - flash-attn
      - flashinfer-python
      - transformer-engine
      - megatron-core
      - tensordict
      - transformers
      - ray
      - numpy
  pip_args:
    description: More arguments for pip.
    type: list
    elements: str
    default: []
  env:
    description: Environment variables for pip inside the container, as C(PIP_INDEX_URL). Never shown.
    type: dict
    default: {}
  index:
    description: The package index. Empty means what pip inside is configured for.
    type: str
    default: ''
  disruption_allowed:
    description: Whether it's done although something runs in the container.
    type: bool
    default: false
  timeout:
    description: Seconds for pip.
    type: int
    default: 600
extends_documentation_fragment: [verl_attributes, verl_proxy]
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
"""

EXAMPLES = r"""
- name: Install verl from the checkout
  verl_editable_install:
    container: verl
"""

RETURN = r"""
verl:
  description: What is installed.
  type: dict
  returned: always
  sample: {version: "0.9.0", path: /workspace/verl, origin: /workspace/verl/verl/__init__.py}
versions:
  description: The versions of the guarded packages.
  type: dict
  returned: always
deferred:
  description: Why it was left for later, null where it wasn't.
  type: dict
  returned: always
"""

import json

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.verl_access import proxy
from ansible.module_utils.verl_container import cli, idle

PROBE = r"""
import importlib.util, json, os, sys
try:
    from importlib import metadata
except ImportError:
    import importlib_metadata as metadata
path, guard = sys.argv[1], sys.argv[2:]
os.chdir("/")
def version(name):
    try:
        return metadata.version(name)
    except Exception:
        return None
out = {"versions": {name: version(name) for name in guard}}
out["setuptools"] = version("setuptools")
verl = {"version": version("verl"), "path": None, "origin": None}
try:
    direct = json.loads(metadata.distribution("verl").read_text("direct_url.json") or "{}")
    if (direct.get("dir_info") or {}).get("editable"):
        verl["path"] = direct.get("url", "")[len("file://"):]
except Exception:
    pass
try:
    spec = importlib.util.find_spec("verl")
    verl["origin"] = spec.origin if spec else None
except Exception as error:
    verl["origin"] = None
out["verl"] = verl
try:
    with open(os.path.join(path, "verl", "version", "version")) as handle:
        out["source"] = handle.read().strip()
except OSError:
    out["source"] = None
out["there"] = os.path.exists(os.path.join(path, "setup.py")) or os.path.exists(os.path.join(path, "pyproject.toml"))
print("\n" + json.dumps(out))
"""
# Inside the container pip is root; what it leaves in the user's checkout goes back to its owner.
OWNER = r"""
import glob, os, sys
path = sys.argv[1]
owner = os.stat(path)
for top in glob.glob(os.path.join(path, "*.egg-info")) + glob.glob(os.path.join(path, "build")):
    for folder, _folders, names in os.walk(top):
        for name in [folder] + [os.path.join(folder, item) for item in names]:
            if os.lstat(name).st_uid == 0 != owner.st_uid:
                os.lchown(name, owner.st_uid, owner.st_gid)
"""


class Install:
    """The installation inside one container."""

    def __init__(self, module):
        self.module = module
        self.want = module.params
        self.engine = cli.Engine(self.want["engine"], timeout=120)

    def python(self, script, *argv):
        """Run a script inside; returns its stdout."""
        rc, out, err = self.engine.run(
            "exec", "-i", self.want["container"], self.want["python"], "-", *argv, stdin=script
        )
        if rc != 0:
            raise cli.CliError(
                "{0} inside container {1} failed (exit {2}): {3}".format(
                    self.want["python"], self.want["container"], rc, (err or out).strip()[-600:]
                ),
                fix="{0} start {1}; {0} exec {1} {2} --version".format(
                    self.engine.name, self.want["container"], self.want["python"]
                ),
            )
        return out

    def look(self):
        """Return what is installed inside."""
        return json.loads(self.python(PROBE, self.want["path"], *self.want["guard"]).strip().splitlines()[-1])

    def in_place(self, found):
        """Whether verl is what the checkout holds."""
        verl = found["verl"]
        same = normal(verl["version"]) == normal(found["source"]) if found["source"] else bool(verl["version"])
        inside = (verl["origin"] or "").startswith(self.want["path"].rstrip("/") + "/")
        return inside and same

    def pip(self, found):
        """Run pip inside."""
        env = {"PIP_BREAK_SYSTEM_PACKAGES": "1", "PIP_ROOT_USER_ACTION": "ignore", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        env.update(proxy.environment(self.want["proxy"]))
        if self.want["index"]:
            env["PIP_INDEX_URL"] = self.want["index"]
        env.update({str(key): str(value) for key, value in self.want["env"].items()})
        argv = ["exec"]
        for key in sorted(env):
            argv += ["-e", key]  # values come from the environment of the command, not from its arguments
        argv += [self.want["container"], self.want["python"], "-m", "pip", "install", "--no-deps"]
        major = (found["setuptools"] or "0").split(".")[0]
        if major.isdigit() and int(major) >= 64:
            argv.append("--no-build-isolation")  # editable installs need no download then
        argv += [str(part) for part in self.want["pip_args"]] + ["-e", self.want["path"]]
        rc, out, err = self.engine.run(*argv, timeout=self.want["timeout"], env=env)
        if rc != 0:
            raise cli.CliError(
                "pip install --no-deps -e {0} failed inside {1} (exit {2}): {3}".format(
                    self.want["path"], self.want["container"], rc, (err + "\n" + out).strip()[-1200:]
                ),
                fix="{0} exec {1} {2} -m pip install --no-deps -e {3}".format(
                    self.engine.name, self.want["container"], self.want["python"], self.want["path"]
                ),
            )

    def run(self):
        """Do what is needed."""
        before = self.look()
        if not before["there"]:
            raise cli.CliError(
                "{0} inside container {1} holds no Python project.".format(self.want["path"], self.want["container"]),
                fix="check the mount: {0} inspect -f '{{{{json .Mounts}}}}' {1}".format(
                    self.engine.name, self.want["container"]
                ),
            )
        if self.in_place(before):
            self.answer(False, before, before)
        inside = idle.processes_in(self.engine, self.want["container"])
        if inside and not self.want["disruption_allowed"]:
            self.answer(
                False,
                before,
                before,
                {
                    "step": "training_container",
                    "action": "install verl {0}".format(before["source"] or "").strip(),
                    "disruption": "change_under_job",
                    "because": "{0} runs in container {1}".format(inside[0][:80], self.want["container"]),
                    "fix": "run again when the job has ended, or set verl_allow_disruption=true",
                },
            )
        if self.module.check_mode:
            after = dict(before, verl={"version": before["source"], "path": self.want["path"], "origin": None})
            self.answer(True, before, after)
        self.pip(before)
        self.python(OWNER, self.want["path"])
        after = self.look()
        moved = [
            "{0} {1} -> {2}".format(name, before["versions"][name], after["versions"][name])
            for name in self.want["guard"]
            if before["versions"][name] != after["versions"][name]
        ]
        if moved:
            raise cli.CliError(
                "installing verl changed packages of the image: {0}. They belong together; the container is no "
                "longer what the image promises.".format(", ".join(moved)),
                fix="{0} rename {1} {1}-changed, then run again; what you keep in it: {0} diff {1}-changed".format(
                    self.engine.name, self.want["container"]
                ),
            )
        if not self.in_place(after):
            raise cli.CliError(
                "verl is {0} from {1} after the installation, expected {2} from {3}.".format(
                    after["verl"]["version"], after["verl"]["origin"], after["source"], self.want["path"]
                )
            )
        self.answer(True, before, after)

    def answer(self, changed, before, after, deferred=None):
        """The module's answer."""
        self.module.exit_json(
            changed=changed,
            verl=after["verl"],
            versions={name: version for name, version in after["versions"].items() if version},
            deferred=deferred,
            diff={"before": before["verl"], "after": after["verl"]},
        )


def normal(version):
    """Return a version as pip writes it, as far as verl's own need it: 0.9.0.dev and 0.9.0.dev0 are one."""
    text = (version or "").strip().lower().lstrip("v")
    return text + "0" if text.endswith(("dev", "rc", "post")) else text


def main():
    """Entry point."""
    strings = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        argument_spec={
            "engine": {"type": "str", "choices": ["docker", "podman"], "default": "docker"},
            "container": {"type": "str", "default": "verl"},
            "path": {"type": "str", "default": "/workspace/verl"},
            "python": {"type": "str", "default": "python3"},
            "guard": dict(
                strings,
                default=[
                    "torch",
                    "vllm",
                    "sglang",
                    "flash-attn",
                    "flashinfer-python",
                    "transformer-engine",
                    "megatron-core",
                    "tensordict",
                    "transformers",
                    "ray",
                    "numpy",
                ],
            ),
            "pip_args": strings,
            "env": {"type": "dict", "default": {}, "no_log": True},
            "index": {"type": "str", "default": ""},
            "proxy": proxy.ARGUMENT,
            "disruption_allowed": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    try:
        Install(module).run()
    except cli.CliError as error:
        module.fail_json(msg=str(error), fix=error.fix)
    except ValueError as error:
        module.fail_json(msg="the answer from inside the container can't be read: {0}".format(error))


if __name__ == "__main__":
    main()
