"""What is wrong with an inventory is said for all hosts at once, and none of them is connected to."""

import json
import os
import random
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

from tests.property.test_variables import combination
from verl_provision import fleet

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
ABOUT = {"mode": "plan", "started": "2026-11-24T10:00:00Z"}


@pytest.fixture
def door():
    """Takes every connection to any loopback address at its port, counts it and closes it again."""
    with socket.create_server(("", 0), backlog=128) as server:
        server.settimeout(0.2)
        came, stop = [], threading.Event()

        def serve():
            while not stop.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                came.append(connection.getsockname()[0])
                connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], came
        stop.set()
        thread.join()


def play(tmp_path, hosts):
    """Plan these hosts; returns the finished process and the report."""
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    ansible = str(Path(sys.executable).parent / "ansible-playbook")
    argv = [ansible, "-i", str(inventory), "playbooks/plan.yml", "-e", f"run_report_directory={tmp_path}/reports"]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_TIMEOUT": "5"}
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1800)
    return done, json.loads((tmp_path / "reports/latest/report.json").read_text())


def refused(count, port):
    """Hosts with random variables, none of which is right in all."""
    dice, hosts = random.Random(20261125), {}
    while len(hosts) < count:
        variables = json.loads(json.dumps(combination(dice), default=str).replace("NaN", "null"))
        name = f"h{len(hosts)}"
        if any(isinstance(value, str) and not value.isprintable() for value in variables.values()):
            continue  # no YAML
        if fleet.begin({name: variables}, [name], ABOUT)["hosts"][name]["errors"]:
            number = len(hosts)
            at = f"127.{1 + number // 65536}.{number // 256 % 256}.{number % 256}"
            hosts[name] = {**variables, "ansible_host": at, "ansible_port": port}
    return hosts


def proved(tmp_path, door, count):
    port, came = door
    done, report = play(tmp_path, refused(count, port))
    assert done.returncode != 0
    assert {host["state"] for host in report["hosts"].values()} == {"refused"}
    assert len(report["hosts"]) == count
    assert came == []


def test_refused_hosts_are_not_connected_to(tmp_path, door):
    proved(tmp_path, door, 40)


@pytest.mark.slow
def test_ten_thousand_refused_hosts_are_not_connected_to(tmp_path, door):
    proved(tmp_path, door, 10_000)


def test_the_others_of_the_run_are(tmp_path, door):
    port, came = door
    hosts = {
        "good": {"ansible_host": "127.0.0.2", "ansible_port": port},
        "bad": {"ansible_host": "127.0.0.3", "ansible_port": port, "training_container_shm_sizee": "64g"},
        "secret": {"ansible_host": "127.0.0.4", "ansible_port": port, "verl_registry_logins": {"r": {"username": "a"}}},
    }
    done, report = play(tmp_path, hosts)
    states = {name: host["state"] for name, host in report["hosts"].items()}
    assert states == {"good": "unreachable", "bad": "refused", "secret": "refused"}
    assert set(came) == {"127.0.0.2"}
    assert "training_container_shm_size" in report["hosts"]["bad"]["reason"]
    assert "verl_registry_logins.r.password" in report["hosts"]["secret"]["reason"]
    assert done.returncode != 0
