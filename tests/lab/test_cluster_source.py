"""Ray on a source environment: a user without root, whose own systemd keeps Ray running once he may linger."""

import json
import shlex

import pytest
import yaml

from lab import hosts
from lab.waiting import until
from tests.lab.fleet import play, report

pytestmark = [pytest.mark.lab, pytest.mark.slow]

NODE, USER = "cpu", "alice"
SHELL = f"/home/{USER}/.local/bin/verl-shell"
UNIT = f"/home/{USER}/.config/systemd/user/verl-ray.service"
ASK = (
    "import json, ray; ray.init(address='auto', log_to_driver=False, logging_level='ERROR'); "
    "print('ALIVE', json.dumps([n['NodeManagerAddress'] for n in ray.nodes() if n['Alive']]))"
)
TOKEN = f"RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=/home/{USER}/.local/state/verl-provision/ray/token"


@pytest.fixture(scope="module")
def inventory(tmp_path_factory):
    """A cluster of one host."""
    hosts.reset(NODE)
    path = tmp_path_factory.mktemp("cluster") / "cluster.yml"
    path.write_text(yaml.safe_dump({"all": {"children": {"cluster": {"hosts": {NODE: None}}}}}))
    return path


def site(inventory, *arguments):
    return play("site.yml", "-i", str(inventory), "--limit", NODE, *arguments)


def as_user(command, check=True):
    line = f"XDG_RUNTIME_DIR=/run/user/$(id -u) timeout 300 env {command}"
    return hosts.exec(NODE, f"su --login {USER} --command {shlex.quote(line)}", check=check)


def alive():
    """Addresses of the nodes that Ray says are alive; [] where it doesn't answer."""
    said = as_user(f"{TOKEN} {SHELL} python -c {shlex.quote(ASK)}", check=False).out
    lines = [line for line in said.splitlines() if line.startswith("ALIVE ")]
    return json.loads(lines[-1].removeprefix("ALIVE ")) if lines else []


def since():
    """The unit's process: another one, another start."""
    return as_user("systemctl --user show --property=MainPID --value verl-ray", check=False).out.strip()


def tell():
    """What a failure has to show."""
    return hosts.exec(NODE, f"cat {UNIT}; journalctl --no-pager -n 60 _UID=$(id -u {USER})", check=False).out[-6000:]


def test_without_a_user_manager_the_host_is_refused_with_what_brings_one(inventory):
    run = site(inventory)
    assert run.returncode != 0
    host = report()["hosts"][NODE]
    assert (host["state"], "cluster_service" in host["reason"]) == ("refused", True), host["reason"]
    command = "apt-get install libpam-systemd dbus-user-session"
    assert f"sudo {command}" in run.stdout, run.stdout[-4000:]
    hosts.exec(NODE, f"apt-get -q update && DEBIAN_FRONTEND=noninteractive {command} -qy --no-install-recommends")


def test_who_does_not_linger_is_refused_with_the_administrators_command(inventory):
    run = site(inventory)
    assert run.returncode != 0
    host = report()["hosts"][NODE]
    assert (host["state"], "cluster_linger" in host["reason"]) == ("refused", True), host["reason"]
    assert f"sudo loginctl enable-linger {USER}" in run.stdout, run.stdout[-4000:]
    assert hosts.exec(NODE, f"test -e {UNIT}", check=False).rc != 0


def test_with_it_ray_runs_and_a_second_run_changes_nothing(inventory):
    hosts.exec(NODE, f"loginctl enable-linger {USER}")
    run = site(inventory)
    assert run.returncode == 0, run.stdout[-6000:] + tell()
    assert any(item["rule"] == "cluster_firewall" for item in report()["hosts"][NODE]["plan"]["warnings"])
    assert len(alive()) == 1, tell()
    again = site(inventory)
    assert again.returncode == 0, again.stdout[-6000:]
    assert "changed=0" in again.stdout, again.stdout[-6000:]
    assert report()["hosts"][NODE]["plan"]["steps"] == {}


def test_a_job_by_verl_shell(inventory):
    said = as_user(f"{SHELL} --submit -- python -c {shlex.quote('import verl; print(verl.__name__)')}", check=False)
    assert "succeeded" in said.out, said.out[-3000:] + tell()


def test_without_the_token_ray_refuses(inventory):
    said = as_user(f"RAY_AUTH_MODE=disabled {SHELL} python -c {shlex.quote(ASK)}", check=False)
    assert "ALIVE" not in said.out, said.out[-3000:]


def test_a_process_that_dies_is_mended_without_a_run(inventory):
    before = since()
    hosts.exec(NODE, "pkill -9 -x raylet")
    until("systemd to have started Ray again", lambda: since() not in ("", "0", before), 300, every=1)
    until("the node to be back", alive, 600, every=2)


def test_it_is_there_after_a_reboot(inventory):
    hosts.reboot(NODE)
    until("the node to be back", alive, 600, every=2)
    run = site(inventory)
    assert run.returncode == 0, run.stdout[-6000:] + tell()
    assert "changed=0" in run.stdout, run.stdout[-6000:]


def test_it_is_taken_off_again(inventory):
    run = site(inventory, "-e", "{verl_cluster_state: absent}")
    assert run.returncode == 0, run.stdout[-6000:] + tell()
    assert hosts.exec(NODE, f"test -e {UNIT}", check=False).rc != 0
    assert "raylet" not in hosts.exec(NODE, "cat /proc/[0-9]*/comm", check=False).out
    hosts.reset(NODE)
