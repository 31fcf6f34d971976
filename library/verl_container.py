#!/usr/bin/python
"""Module verl_container: the training container, through the engine's own command line."""

DOCUMENTATION = r"""
module: verl_container
short_description: Creates, compares and starts the training container
version_added: "0.1.0"
author: verl-provision authors (@verl-provision)
description:
  - Runs C(docker create), C(docker start) with the wanted flags, on Docker and Podman alike. Compares a
    container that is
    there with the wanted flags by C(inspect), and recreates it only where they differ and nothing runs in it.
  - The two ways of asking for all GPUs (O(gpu_request=gpus_all) and O(gpu_request=runtime_env)) give the
    same devices and compare
    as equal.
  - While the container is being recreated the old one is kept under another name. It's put back where the
    new one doesn't start. Where it holds files outside its mounts it stays, stopped, until O(discard_kept); while one
    is kept, a second one with such files isn't recreated.
  - What people keep is mounted from O(home). Where the old container had it inside, it's copied there first. A
    container isn't recreated for these mounts alone.
  - A container of this name that differs, that has no label of this module and that O(known_id) doesn't name was made
    by somebody else. It's refused, not replaced.
options:
  engine:
    description: The engine's command.
    type: str
    choices: [docker, podman]
    default: docker
  name:
    description: The container's name.
    type: str
    default: verl
  image:
    description: The image, C(NAME:TAG), C(NAME@DIGEST) or C(NAME:TAG@DIGEST). It must be on the host.
    type: str
    required: true
  command:
    description: What runs in it.
    type: list
    elements: str
    default: [sleep, infinity]
  gpu_request:
    description:
      - How GPUs are asked for. V(gpus_all) is C(--runtime=nvidia --gpus all), V(runtime_env) is
        C(--runtime=nvidia) with
        C(NVIDIA_VISIBLE_DEVICES=all), V(cdi) is C(--device nvidia.com/gpu=all), V(none) asks for none.
    type: str
    choices: [gpus_all, runtime_env, cdi, none]
    default: gpus_all
  gpu_ids:
    description: UUIDs of the GPUs to ask for; all where it is empty.
    type: list
    elements: str
    default: []
    version_added: "0.2.0"
  runtime:
    description: The runtime for V(gpus_all) and V(runtime_env).
    type: str
    default: nvidia
  network:
    description: The network.
    type: str
    default: host
  ipc:
    description: The IPC mode, empty for the engine's own.
    type: str
    default: ''
  shm_size:
    description: Size of /dev/shm, as C(10g).
    type: str
    default: 10g
  shm_ram_percent:
    description:
      - Raises O(shm_size) to this share of the host's memory, rounded down to whole GiB; Ray's object store
        wants 30.
      - A container whose /dev/shm is within one GiB of a raised size counts as equal.
    type: int
    default: 0
  cap_add:
    description: Capabilities.
    type: list
    elements: str
    default: [SYS_ADMIN]
  security_opt:
    description: Security options.
    type: list
    elements: str
    default: []
  volumes:
    description: Mounts, C(SOURCE:TARGET[:OPTIONS]).
    type: list
    elements: str
    default: []
  home:
    description: The folder on the host below which O(home_mounts) lie, empty for none of them.
    type: path
    default: ''
  home_mounts:
    description:
      - Folders of O(home) and where the container sees them. They're made where they're missing. One that is at or
        below a target of O(volumes) is left out.
    type: dict
    default: {huggingface: /root/.cache/huggingface, root-data: /root/data, data: /data}
  devices:
    description: Devices, C(/dev/x[:/dev/y]).
    type: list
    elements: str
    default: []
  ulimits:
    description: Limits, C(NAME=SOFT[:HARD]).
    type: list
    elements: str
    default: []
  env:
    description: Environment variables that everybody may see.
    type: dict
    default: {}
  secret_env:
    description: Environment variables that reach neither a command line nor the output.
    type: dict
    default: {}
  labels:
    description: Labels.
    type: dict
    default: {}
  workdir:
    description: The working directory, empty for the image's.
    type: str
    default: ''
  restart:
    description: The restart policy.
    type: str
    default: 'no'
  extra_args:
    description: More arguments of C(create), not compared.
    type: list
    elements: str
    default: []
  known_id:
    description: The id of the container that the last run made. One that differs and isn't this one is
      somebody else's.
    type: str
    default: ''
  replace_foreign:
    description: Whether somebody else's container may be replaced.
    type: bool
    default: false
  kept:
    description: What an earlier run returned as RV(kept), so that it isn't looked through again.
    type: dict
    default: {}
  discard_kept:
    description: Whether a container that an earlier run kept for its files is removed.
    type: bool
    default: false
  disruption_allowed:
    description: Whether a container in which something runs may be recreated.
    type: bool
    default: false
  restart_running:
    description: Whether a running container in which nothing runs is stopped and started, to get its GPUs anew.
    type: bool
    default: false
    version_added: "0.2.0"
  runs_ray:
    description:
      - Whether the container's command is Ray. Then only Ray's jobs, tasks and actors count as something that runs in
        it.
    type: bool
    default: false
  stop_timeout:
    description: Seconds that processes get to end.
    type: int
    default: 30
extends_documentation_fragment: [verl_attributes]
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
"""

EXAMPLES = r"""
- name: Start the training container
  verl_container:
    name: verl
    image: verlai/verl:vllm024.latest
    volumes:
      - /home/ops/verl/src:/workspace/verl
"""

RETURN = r"""
container:
  description: The container.
  type: dict
  returned: where it exists
  sample: {id: "3f2a...", name: verl, pid: 4711, started_at: "2026-11-24T10:00:00Z", image_id:
  "sha256:0c1d..."}
actions:
  description: What was done, or would be in check mode.
  type: list
  elements: str
  returned: always
  sample: [created, started]
differences:
  description: Where the container that was found differs from the wanted one.
  type: list
  elements: dict
  returned: always
deferred:
  description: Why the container was left as it is, null where it wasn't.
  type: dict
  returned: always
kept:
  description: The earlier container that is kept because of the files in it, null where there is none.
  type: dict
  returned: always
  sample: {name: verl-before-3f2a8c0d1e2f, id: "3f2a8c0d1e2f...", image_id: "sha256:0c1d...", size_bytes: 1200000000,
    files: 41, path: /root/notes.txt}
command_line:
  description: The command that creates the container, and the one for a shell in it.
  type: dict
  returned: always
"""

import os
import shlex
import shutil
import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.verl_container import cli, idle, layer, spec

HOME_MOUNTS = {"huggingface": "/root/.cache/huggingface", "root-data": "/root/data", "data": "/data"}


def split(reference):
    """Return (name:tag, repository, digest) of an image reference."""
    name, _at, digest = reference.partition("@")
    head, slash, last = name.rpartition("/")
    return name, head + slash + last.split(":")[0], digest


class Container:
    """The wanted container on this host."""

    def __init__(self, module):
        self.module = module
        self.want = module.params
        self.engine = cli.Engine(self.want["engine"], timeout=120)
        self.name = self.want["name"]
        self.actions = []
        self.differences = []
        self.command = []
        self.raised = False
        self.kept = None

    def raise_shm(self):
        """Raise /dev/shm to the wanted share of the memory."""
        percent = self.want["shm_ram_percent"]
        if not percent or not self.want["shm_size"]:
            return
        with open("/proc/meminfo", encoding="utf-8") as handle:
            kib = next(int(line.split()[1]) for line in handle if line.startswith("MemTotal:"))
        share = kib * percent // 100 // 1024**2
        if share * 1024**3 > spec.size(self.want["shm_size"]):
            self.want["shm_size"] = "{0}g".format(share)
            self.raised = True

    def inspect(self, name=None):
        """Return the container, or None."""
        return self.engine.inspect("container", name or self.name)

    def resolve_image(self):
        """Return (what to write on the command line, the image), (reference, None) where it isn't on the host."""
        named, repository, digest = split(self.want["image"])
        by_name = self.engine.inspect("image", named)
        if not digest:
            return named, by_name
        exact = "{0}@{1}".format(repository, digest)
        if by_name is not None:
            digests = [text.rpartition("@")[2] for text in by_name.get("RepoDigests") or []]
            if digest in digests or by_name.get("Digest") == digest:
                return named, by_name
        return exact, self.engine.inspect("image", exact)

    def compare(self, found, image):
        """Fill in the differences between the container and what's wanted."""
        have_image = self.engine.inspect("image", found["Image"]) if found.get("Image") else None
        have = spec.actual(found, have_image)
        want = spec.wanted(self.want)
        if self.raised and abs((have["shm_size"] or 0) - want["shm_size"]) <= spec.size("1g"):
            want["shm_size"] = have["shm_size"]
        self.differences = spec.differences(
            want, have, self.want["secret_env"], resolve=lambda p: os.path.realpath(p) if p else p
        )
        wanted_id = (image or {}).get("Id")
        if wanted_id and self.engine_id(found.get("Image")) != self.engine_id(wanted_id):
            self.differences.insert(0, {"option": "image", "found": found.get("Image"), "wanted": wanted_id})

    @staticmethod
    def engine_id(text):
        """Podman writes ids without sha256:."""
        return (text or "").rpartition(":")[2]

    def answer(self, changed, deferred=None):
        """The module's answer."""
        found = None if self.module.check_mode and "created" in self.actions else self.inspect()
        container = None
        if found is not None:
            state = found.get("State") or {}
            container = {
                "id": found.get("Id"),
                "name": self.name,
                "pid": state.get("Pid"),
                "running": bool(state.get("Running")),
                "started_at": state.get("StartedAt"),
                "image_id": found.get("Image"),
            }
        before = {d["option"]: d["found"] for d in self.differences}
        after = {d["option"]: d["wanted"] for d in self.differences}
        if "created" in self.actions and not before:
            after = {"create": " ".join(shlex.quote(part) for part in self.command)}
        if "started" in self.actions:
            before, after = dict(before, running=False), dict(after, running=True)
        if deferred:
            after = before
        self.module.exit_json(
            changed=changed,
            container=container,
            actions=self.actions,
            differences=self.differences,
            deferred=deferred,
            kept=self.kept,
            command_line={
                "create": " ".join(shlex.quote(part) for part in self.command),
                "shell": "{0} exec -it {1} bash".format(self.engine.name, self.name),
            },
            diff={"before": before, "after": after},
        )

    def processes(self, found):
        """Return what runs in the container beside its init."""
        if not (found.get("State") or {}).get("Running"):
            return []
        if self.want["runs_ray"]:
            return idle.ray_work_in(self.engine, found["Id"])
        return idle.processes_in(self.engine, found["Id"])

    def create(self):
        """Create the container; returns its id."""
        self.actions.append("created")
        if self.module.check_mode:
            return None
        for text in self.want["volumes"]:
            source = spec.volume(text)[0]
            if source.startswith("/") and not os.path.exists(source):
                raise cli.CliError(
                    "{0} is to be mounted but does not exist; the engine would create it as root's.".format(source),
                    fix="mkdir -p {0}".format(source),
                )
        for source, _target in spec.home_mounts(self.want):
            layer.make_folder(source)
        return self.engine.must(*self.command[1:], env=self.want["secret_env"]).strip()

    def start(self, remove_on_failure=False):
        """Start it and look whether it stays."""
        self.actions.append("started")
        if self.module.check_mode:
            return
        try:
            self.engine.must("start", self.name)
            time.sleep(1)  # not for readiness: a command that can't run needs a moment to end
            state = (self.inspect() or {}).get("State") or {}
            if not state.get("Running"):
                _rc, out, err = self.engine.run("logs", "--tail", "20", self.name)
                raise cli.CliError(
                    "container {0} ended at once with exit {1}: {2}".format(
                        self.name,
                        state.get("ExitCode"),
                        (out + err).strip()[-800:] or state.get("Error") or "no output",
                    ),
                    fix="{0} logs {1}".format(self.engine.name, self.name),
                )
        except cli.CliError:
            if remove_on_failure:
                self.engine.run("rm", "-f", self.name)
            raise

    def stop(self, found):
        """Stop it where nothing runs in it, and start it."""
        inside = self.processes(found)
        if inside and not self.want["disruption_allowed"]:
            self.defer("restart", inside, "its GPUs come from another toolkit now")
        self.actions.append("stopped")
        if not self.module.check_mode:
            limit = self.want["stop_timeout"]
            self.engine.must("stop", "-t", str(limit), found["Id"], timeout=limit + 60)
        self.start()

    def defer(self, action, inside, because):
        """Leave it to an idle container, and say so."""
        self.answer(
            bool(self.actions),
            deferred={
                "step": "training_container",
                "action": action,
                "disruption": "recreate_container",
                "because": "{0} runs in it ({1} process{2}); {3}".format(
                    inside[0][:80], len(inside), "" if len(inside) == 1 else "es", because
                ),
                "fix": "run again when the job has ended, or set verl_allow_disruption=true",
            },
        )

    def recreate(self, found):
        """Replace the container; the old one comes back where the new one doesn't start."""
        old = layer.Layer(self.engine, found)
        trees = self.trees(old)
        moved = [target for _folder, target, _copy in trees]
        work = old.work(moved)
        if work and self.kept:
            return self.defer_for_files(work)
        if self.module.check_mode:
            self.actions += ["kept" if work else "removed", "created", "started"]
            return None
        trees = [(folder, target) for folder, target, copy in trees if copy]
        self.check_room(old, trees)
        was_running = bool((found.get("State") or {}).get("Running"))
        aside = self.aside(found["Id"])
        renamed, copied = False, []
        try:
            if was_running:
                timeout = self.want["stop_timeout"]
                self.engine.must("stop", "-t", str(timeout), found["Id"], timeout=timeout + 60)
            for folder, target in trees:
                old.save(target, folder)
                copied.append(folder)
            self.engine.must("rename", found["Id"], aside)
            renamed = True
            self.create()
            self.start()
        except (cli.CliError, OSError) as error:
            if renamed:
                self.engine.run("rm", "-f", self.name)
                self.engine.must("rename", found["Id"], self.name)
            for folder in copied:  # what it copied is still in the old container, which goes on with it
                shutil.rmtree(folder, ignore_errors=True)  # the failure below is the one to tell
            if was_running:
                self.engine.run("start", found["Id"])
            raise cli.CliError(
                "{0} The old container is back in its place.".format(error), fix=getattr(error, "fix", None)
            ) from error
        self.actions.insert(len(self.actions) - 2, self.set_aside(found["Id"], moved, work))
        return None

    def trees(self, old):
        """Return [(folder, target, whether it's still to be copied)] of what moves from a container to home mounts."""
        found = []
        for folder, target in spec.home_mounts(self.want):
            if layer.below(target, old.mounts) or old.kind(target) != "folder":
                continue
            if not os.path.isdir(folder) or not os.listdir(folder):
                found.append((folder, target, True))
            elif old.is_saved(target, folder):
                found.append((folder, target, False))
        return found

    def check_room(self, old, trees):
        """Raise where the trees don't fit on the disk that they go to."""
        if not trees:
            return
        free, where = layer.room(self.want["home"])
        if (old.size() or free) + layer.MARGIN <= free:  # the whole layer, which is known without reading the trees
            return
        needed = sum(old.tree_size(target) for _folder, target in trees) + layer.MARGIN
        if needed > free:
            raise cli.CliError(
                "container {0} has to be recreated, and what is in {1} is to be kept in {2}: that needs {3:.1f} GB, "
                "and {4} has {5:.1f} GB free. Nothing was changed.".format(
                    self.name, ", ".join(target for _folder, target in trees), self.want["home"], needed / 1e9, where,
                    free / 1e9,
                ),
                fix="free space in {0}, or set training_container_home to a folder on a larger disk; or move it away "
                "yourself: {1} cp {2}:{3}/. FOLDER".format(where, self.engine.name, self.name, trees[0][1]),
            )  # fmt: skip

    def defer_for_files(self, work):
        """Leave the container: it holds files, and an earlier one that did is still kept."""
        return {
            "step": "training_container",
            "action": "recreate",
            "disruption": "files_in_container",
            "because": "{0} file(s) are in it outside its mounts (as {1}), and {2}, which an earlier run kept for such "
            "files, is still there".format(len(work), layer.shown(work), self.kept["name"]),
            "fix": "copy what you need from {0} ({1} diff {0}; {1} cp {0}:PATH .) and run again with "
            "verl_discard_container_changes=true, which removes it".format(self.kept["name"], self.engine.name),
        }

    def aside(self, container_id):
        """The name of a container that is being replaced, or is kept."""
        return "{0}-before-{1}".format(self.name, container_id[:12])

    def set_aside(self, container_id, moved=None, work=()):
        """Remove the container that was replaced, or keep it for its files; returns what was done.

        `moved` are the trees that were copied to home mounts, None where a killed run may have done it; `work` is what
        was found in it before it was stopped. Where that was nothing it's looked at again: a diff can take minutes.
        """
        found = self.inspect(container_id)
        old = layer.Layer(self.engine, found)
        if moved is None:
            moved = [target for _folder, target, copy in self.trees(old) if not copy]
        work = work or old.work(moved)
        if not work:
            self.engine.must("rm", "-f", container_id)
            return "removed"
        if ((found.get("HostConfig") or {}).get("RestartPolicy") or {}).get("Name") not in (None, "", "no"):
            rc, out, err = self.engine.run("update", "--restart=no", container_id)
            if rc != 0:  # Podman before 5.2 can't, and starts it at boot where the site has podman-restart.service
                self.module.warn(
                    "{0} keeps its restart policy: {1}".format(self.aside(container_id), cli.told(out, err))
                )
        self.kept = {
            "name": self.aside(container_id),
            "id": container_id,
            "image_id": "sha256:" + self.engine_id(found.get("Image")),
            "size_bytes": old.size(),
            "files": len(work),
            "path": layer.shown(work),
        }
        return "kept"

    def recover(self):
        """Finish what a killed run left: put its container back where ours is missing, else keep or remove it."""
        out = self.engine.must("ps", "-a", "--no-trunc", "--format", "{{.ID}}\t{{.Names}}")
        for line in out.splitlines():
            container_id, _tab, name = line.partition("\t")
            if name != self.aside(container_id):
                continue
            if self.want["kept"].get("id") == container_id:
                self.kept = self.want["kept"]
            elif self.module.check_mode:
                continue
            elif self.inspect() is None:
                self.engine.must("rename", container_id, self.name)
            else:
                self.actions.append(self.set_aside(container_id))

    def discard(self):
        """Remove the container that an earlier run kept, unless somebody works in it."""
        if not self.kept or not self.want["discard_kept"]:
            return
        inside = self.processes(self.inspect(self.kept["id"]))
        if inside:
            self.module.warn("{0} is left: {1} runs in it.".format(self.kept["name"], inside[0][:80]))
            return
        if not self.module.check_mode:
            self.engine.must("rm", "-f", self.kept["id"])
        self.actions.append("discarded")
        self.kept = None

    def run(self):
        """Do what is needed."""
        self.recover()
        self.discard()
        self.raise_shm()
        reference, image = self.resolve_image()
        self.command = [self.engine.name] + spec.arguments(self.want, reference, self.want["secret_env"])
        if image is None and not self.module.check_mode:
            raise cli.CliError(
                "image {0} is not on this host.".format(self.want["image"]), fix="pull it first (role container_image)"
            )
        found = self.inspect()
        if found is None:
            self.create()
            self.start(remove_on_failure=True)
            self.answer(True)
        self.compare(found, image)
        if not self.differences:
            if self.want["restart_running"]:
                self.stop(found)
            elif not (found.get("State") or {}).get("Running"):
                self.start()
            self.answer(bool(self.actions))
        options = ", ".join(d["option"] for d in self.differences)
        ours = spec.HOME_LABEL in ((found.get("Config") or {}).get("Labels") or {})
        foreign = not ours and (not self.want["known_id"] or found["Id"] != self.want["known_id"])
        if foreign and not self.want["replace_foreign"]:
            raise cli.CliError(
                "a container named {0} is there that this toolkit did not make, and it differs in: {1}. It was left "
                "alone.".format(self.name, options),
                fix="{0} rename {1} {1}-old; or choose another training_container_name; or allow "
                "training_container_replace_foreign".format(self.engine.name, self.name),
            )
        inside = self.processes(found)
        if inside and not self.want["disruption_allowed"]:
            self.defer("recreate", inside, "it differs in: {0}".format(options))
        deferred = self.recreate(found)
        self.answer(bool(self.actions), deferred=deferred)


def main():
    """Entry point."""
    strings = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        argument_spec={
            "engine": {"type": "str", "choices": ["docker", "podman"], "default": "docker"},
            "name": {"type": "str", "default": "verl"},
            "image": {"type": "str", "required": True},
            "command": dict(strings, default=["sleep", "infinity"]),
            "gpu_ids": {"type": "list", "elements": "str", "default": []},
            "gpu_request": {
                "type": "str",
                "choices": ["gpus_all", "runtime_env", "cdi", "none"],
                "default": "gpus_all",
            },
            "runtime": {"type": "str", "default": "nvidia"},
            "network": {"type": "str", "default": "host"},
            "ipc": {"type": "str", "default": ""},
            "shm_size": {"type": "str", "default": "10g"},
            "shm_ram_percent": {"type": "int", "default": 0},
            "cap_add": dict(strings, default=["SYS_ADMIN"]),
            "security_opt": strings,
            "volumes": strings,
            "home": {"type": "path", "default": ""},
            "home_mounts": {"type": "dict", "default": HOME_MOUNTS},
            "devices": strings,
            "ulimits": strings,
            "env": {"type": "dict", "default": {}},
            "secret_env": {"type": "dict", "default": {}, "no_log": True},
            "labels": {"type": "dict", "default": {}},
            "workdir": {"type": "str", "default": ""},
            "restart": {"type": "str", "default": "no"},
            "extra_args": strings,
            "known_id": {"type": "str", "default": ""},
            "replace_foreign": {"type": "bool", "default": False},
            "kept": {"type": "dict", "default": {}},
            "discard_kept": {"type": "bool", "default": False},
            "disruption_allowed": {"type": "bool", "default": False},
            "restart_running": {"type": "bool", "default": False},
            "runs_ray": {"type": "bool", "default": False},
            "stop_timeout": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    module.params["secret_env"] = {str(k): str(v) for k, v in module.params["secret_env"].items()}
    container = Container(module)
    try:
        container.run()
    except (cli.CliError, ValueError) as error:
        if module.check_mode and cli.which(module.params["engine"]) is None:
            container.create()  # the engine is only planned too
            module.exit_json(
                changed=True, container=None, actions=container.actions, differences=[], deferred=None, command_line={}
            )
        module.fail_json(msg=str(error), fix=getattr(error, "fix", None))


if __name__ == "__main__":
    main()
