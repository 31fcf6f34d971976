"""playbooks/tasks/preflight.yml as Ansible runs it: the controller asks, then one host, whatever `localhost` is."""

import base64
import json
import re
import subprocess
import sys
from pathlib import Path

from tests.unit.catalog.registry_server import Registry
from verl_provision import variables
from verl_provision.paths import ROOT
from verl_provision.plan import preflight

INVENTORY = f"""
all:
  vars: {{ansible_connection: local, ansible_python_interpreter: {sys.executable}}}
  hosts:
    first: {{ansible_become_method: none_such}}
    second:
    localhost: {{ansible_connection: ssh, ansible_host: 192.0.2.1, ansible_python_interpreter: /no}}
"""


def host(reference: str) -> dict:
    args = {"ref": reference, "digest": ""}
    return {"ok": True, "image": {"ref": reference, "digest": None}, "errors": [], "warnings": [],
            "steps": {"container_image": {"key": "k", "args": args}}}  # fmt: skip


def test_the_controller_resolves_a_tag_and_one_host_proves_that_it_gets_there(tmp_path: Path) -> None:
    with Registry(auth=None) as registry:
        digest = registry.add("verlai/verl:x")
        fleet = {"hosts": {name: host(f"{registry.base}/verlai/verl:x") for name in ("first", "second")}}
        fleet["machines"] = {name: {"arch": "x86_64"} for name in fleet["hosts"]}
        fleet["preflight"] = preflight.queue(fleet)
        run = {"hosts": {name: {"variables": variables.defaults(), "secrets": []} for name in fleet["hosts"]}}
        known = {"__verl_fleet": fleet, "__verl_run": run}
        tasks = [
            {"set_fact": known, "delegate_to": "localhost", "delegate_facts": True, "run_once": True},
            {"include_tasks": str(ROOT / "playbooks/tasks/preflight.yml"), "run_once": True,
             "loop": "{{ hostvars['localhost'].__verl_fleet.preflight | map(attribute='host') }}"},
            {"debug": {"msg": "<{{ hostvars['localhost'].__verl_fleet | to_json | b64encode }}>"}, "run_once": True},
        ]  # fmt: skip
        play = tmp_path / "play.yml"
        play.write_text(json.dumps([{"hosts": "all:!localhost", "gather_facts": False, "tasks": tasks}]))
        (tmp_path / "hosts.yml").write_text(INVENTORY)
        command = [Path(sys.executable).parent / "ansible-playbook", "-i", tmp_path / "hosts.yml", play]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    told = re.search(r"<(\S+)>", "".join(done.stdout.split()))
    after = json.loads(base64.b64decode(told[1]))
    assert after["preflight"] == []
    for plan in after["hosts"].values():
        assert plan["ok"], plan["errors"]
        assert plan["image"]["digest"] == digest
        assert plan["steps"]["container_image"]["args"] == {
            "ref": f"{registry.base}/verlai/verl:x", "digest": digest,
        }  # fmt: skip
    assert [method for method, path in registry.requests if "/manifests/" in path] == ["GET", "HEAD"]
