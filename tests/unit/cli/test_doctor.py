"""`verl-provision doctor`: only what needs doing, each with its command."""

import json
import locale
import os
import shutil

import pytest

from tests.unit.report import fleets
from verl_provision.cli import doctor, main


@pytest.fixture
def inventory(tmp_path):
    path = tmp_path / "hosts.yml"
    path.write_text("all: {hosts: {here: {ansible_connection: local}}}\n")
    return path


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "repository"
    path.mkdir(mode=0o755)
    return path


def test_a_controller_in_order_gives_nothing(root, inventory):
    assert list(doctor.controller(root, inventory)) == []


def test_a_missing_command_is_named_with_its_package(root, inventory, monkeypatch):
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name, *rest: None if name == "git" else which(name, *rest))
    (found,) = doctor.controller(root, inventory)
    assert found["fix"] == "sudo apt-get install git"


@pytest.mark.parametrize(("connection", "needed"), [("local", 0), ("ssh", 1)])
def test_ssh_is_needed_where_a_host_is_reached_by_it(root, inventory, monkeypatch, connection, needed):
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name, *rest: None if name == "ssh" else which(name, *rest))
    inventory.write_text(f"all: {{hosts: {{there: {{ansible_connection: {connection}}}}}}}\n")
    found = list(doctor.controller(root, inventory))
    assert [item["fix"] for item in found] == ["sudo apt-get install openssh-client"] * needed
    assert all("there is no ssh to reach there with" in item["what"] for item in found)


def test_what_else_a_controller_may_lack(root, inventory, monkeypatch):
    os.chmod(root, 0o777)
    monkeypatch.setattr(locale, "getencoding", lambda: "ANSI_X3.4-1968")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: type("Usage", (), {"free": 2e8}))
    monkeypatch.setattr(doctor.metadata, "version", lambda name: "2.14.3")
    found = "\n".join(doctor.lines(list(doctor.controller(root, inventory))))
    for said in ("writable for everybody", "LC_ALL=C.UTF-8", "0.2 GB free", "ansible-core 2.14.3", "make setup"):
        assert said in found


@pytest.mark.parametrize(
    ("text", "said"), [(None, "there is no"), ("all: {hosts: {}}\n", "has no hosts"), ("all: [\n", "hosts.yml: ")]
)
def test_an_inventory_that_is_no_use(inventory, text, said):
    inventory.unlink() if text is None else inventory.write_text(text)
    (found,) = doctor.inventory_findings(inventory)
    assert said in found["what"]
    assert found["fix"]


def test_hosts_give_errors_warnings_and_what_waits_each_once():
    report = fleets.report(40, mode="plan")
    host = next(host for host in report["hosts"].values() if host["plan"]["ok"])
    host["plan"]["deferred"] = [
        {
            "step": "disruption",
            "action": "restart",
            "disruption": "restart",
            "because": "busy",
            "fix": "run again when idle",
        }
    ]
    found = list(doctor.of_report(report))
    texts = [item["what"] for item in found]
    assert len(texts) == len(set(texts))
    assert any(text.startswith("driver_state: ") for text in texts)
    assert "waits for an idle host: disruption: busy" in texts
    assert all(item["fix"] for item in found if not item["what"].startswith(("verification", "container_image")))


def test_a_controller_with_a_fault_connects_to_no_host(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "hosts", lambda *_: pytest.fail("connected"))
    assert main(["doctor", "-i", str(tmp_path / "none"), "--json"]) == 1
    (found,) = json.loads(capsys.readouterr().out)
    assert found["where"] == ["inventory"]
    assert main(["doctor", "--want", "x"]) == 2
