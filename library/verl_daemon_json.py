#!/usr/bin/python
"""Module verl_daemon_json: settings merged into Docker's daemon.json."""

DOCUMENTATION = r"""
module: verl_daemon_json
short_description: Merges settings into Docker's daemon.json and says what makes them take effect
version_added: "0.1.0"
author: verl-provision authors (@verl-provision)
description:
  - Merges O(settings) into the file. Objects are merged key by key, lists are united, every other key stays
    as it is.
  - The new content is validated (by C(dockerd --validate) too where the engine has it) before it's put in
    place, and the old
    file is backed up. A file that can't be parsed, is empty or says a key twice is refused and not touched.
  - Never reloads or restarts anything. Compares with the running daemon, so that a change that an
    interrupted run wrote but
    did not bring into effect is reported as pending by the next one.
options:
  path:
    description: The file.
    type: path
    default: /etc/docker/daemon.json
  settings:
    description: What must be in it.
    type: dict
    default: {}
  ask_daemon:
    description: Whether C(docker info) is asked for what's in effect and for the engine's version.
    type: bool
    default: true
  settled:
    description:
      - Whether nothing speaks against an earlier run having brought O(settings) into effect. Where something does, such
        as a run that was killed, the engine is to read the file again whatever it shows.
    type: bool
    default: true
extends_documentation_fragment: [verl_attributes]
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
"""

EXAMPLES = r"""
- name: Add the NVIDIA runtime
  verl_daemon_json:
    settings:
      runtimes:
        nvidia:
          path: nvidia-container-runtime
          args: []
"""

RETURN = r"""
changed_keys:
  description: The keys that this run changed, C(features) one level deeper.
  type: list
  elements: str
  returned: success
pending_keys:
  description: Wanted keys that the running daemon does not show yet, those just changed, and, in a file that is newer
    than the daemon, those that only a restart brings into effect.
  type: list
  elements: str
  returned: success
reload:
  description: Whether the running engine is to read the file again.
  type: bool
  returned: success
restart_keys:
  description: Those of RV(pending_keys) that a reload does not bring into effect.
  type: list
  elements: str
  returned: success
action:
  description: What brings the pending keys into effect.
  type: str
  returned: success
  sample: reload
engine_started:
  description: When the running daemon started, seconds since 1970; null where none runs.
  type: float
  returned: success
backup_file:
  description: Copy of the file as it was.
  type: str
  returned: when the file existed and was changed
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.verl_container import cli, daemon_json
from ansible.module_utils.verl_state import files

FIX = (
    "python3 -m json.tool {0} shows where it breaks, ls -l {0}* what was kept of it; mend it (without settings it "
    "holds {{}}), or move it away: mv {0} {0}.broken"
)


def read(module, path):
    """Return (text, content); fails the module on a file that can't be used, without touching it."""
    try:
        with open(path, encoding="utf-8") as handle:
            text = handle.read()
    except FileNotFoundError:
        return "", {}
    except (OSError, UnicodeDecodeError) as error:
        module.fail_json(msg="{0} can't be read: {1}".format(path, error), fix="ls -l {0}".format(path))
    try:
        return text, daemon_json.parse(text, path)
    except daemon_json.DaemonJsonError as error:
        module.fail_json(msg="{0}. It was left as it is.".format(error), fix=FIX.format(path))


def validate(module, path):
    """Let dockerd itself look at the new file, where it can (23.0 and newer)."""
    dockerd = cli.which("dockerd")
    if not dockerd:
        return
    rc, out, err = cli.run([dockerd, "--validate", "--config-file", path], timeout=30)
    said = (err + out).strip()
    if rc in (0, 124, 126) or "unknown flag" in said:
        return
    module.fail_json(
        msg="dockerd refuses the merged daemon.json, so the old one stays: {0}".format(
            said.replace(path, "the new file")[-800:]
        ),
        fix="look for settings that are given both in daemon.json and on dockerd's command line",
    )


def write(module, path, before, text):
    """Back up, validate, put in place. Returns the backup's path or None."""
    try:
        backup = None
        if os.path.exists(path):
            backup = daemon_json.backup(path, before)  # by its content: a run that was killed here makes no second one
            files.write(backup, before, like=path)
        files.write(path, text, like=path, check=lambda scratch: validate(module, scratch))
    except OSError as error:
        module.fail_json(**files.unwritten(path, error))
    return backup


def main():
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "default": "/etc/docker/daemon.json"},
            "settings": {"type": "dict", "default": {}},
            "ask_daemon": {"type": "bool", "default": True},
            "settled": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    path = os.path.realpath(module.params["path"])
    settings = module.params["settings"]
    text, before = read(module, path)
    after = daemon_json.merge(before, settings)
    changed_keys = daemon_json.changed_keys(before, after)

    info = {}
    if module.params["ask_daemon"] and cli.which("docker"):
        try:
            info = cli.Engine("docker", timeout=30).info()
        except cli.CliError:
            info = {}  # not running: whatever is in the file takes effect when it starts
    running = bool(info.get("ServerVersion"))
    started = daemon_json.engine_started(before) if running else None
    pending = set()
    if running:
        pending = set(changed_keys) | set(daemon_json.pending(settings, info))
        if started is not None and text and os.stat(path).st_mtime > started:
            pending |= set(daemon_json.waiting(settings, info))
    late = daemon_json.needs_restart(sorted(pending), info.get("ServerVersion"))

    result = {
        "changed": bool(changed_keys),
        "changed_keys": changed_keys,
        "pending_keys": sorted(pending),
        "restart_keys": late,
        "action": "restart" if late else "reload" if pending else "none",
        "reload": bool(pending - set(late)) or (running and bool(settings) and not module.params["settled"]),
        "running": running,
        "engine_started": started,
        "diff": {
            "before_header": path,
            "after_header": path,
            "before": text,
            "after": daemon_json.dump(after) if changed_keys else text,
        },
    }
    if changed_keys and not module.check_mode:
        backup = write(module, path, text, daemon_json.dump(after))
        if backup:
            result["backup_file"] = backup
    module.exit_json(**result)


if __name__ == "__main__":
    main()
