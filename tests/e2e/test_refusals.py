"""What doesn't fit is refused: exit status not 0, found and needed named, and nothing on the host changed."""

import json

import pytest

from tests.e2e.recorded_machine import RecordedMachine

pytestmark = pytest.mark.e2e

REFUSED = [
    ("mismatch", [], ["driver_state", "550.144.03", "550.163", "sudo reboot"]),
    ("driver_not_loaded", [], ["driver_state", "not loaded", "sudo modprobe nvidia"]),
    ("r470", [], ["driver_floor", "470.256.02", "525.60.13", "compute_capability", "Tesla T4"]),
    ("h100x8_550", ["verl_version=0.9.0"], ["driver_floor", "550.163.01", ">= 580"]),
    ("h100x8_550", ["verl_enginee=vllm"], ["verl_enginee", "verl_engine"]),
    ("h100x8_550", ["verl_backend=dokcer"], ["verl_backend", "dokcer", "docker"]),
    ("h100x8_550", ["verl_image_force=perhaps"], ["verl_image_force", "perhaps"]),
    ("mi300x", [], ["vendor_apply", "MI300X", "docker run"]),
]


@pytest.mark.parametrize(("host", "requests", "words"), REFUSED)
def test_refused(tmp_path, host, requests, words):
    machine = RecordedMachine(tmp_path, host)
    run = machine.play("site.yml", *(part for request in requests for part in ("-e", request)))
    assert run.returncode != 0, run.stdout
    report = machine.report()
    assert report["state"] == "refused", report
    for word in words:
        assert word in report["reason"]
        assert word in run.stdout
    assert machine.left() == []


def test_strings_from_the_command_line_are_cast(tmp_path):
    machine = RecordedMachine(tmp_path, "h100x8_580")
    run = machine.play("playbooks/plan.yml", "-e", "verl_allow_disruption=true", "-e", "verl_model_params_b=32")
    assert machine.report()["plan"]["trainer"] == "megatron", run.stdout


def test_an_unreachable_host_is_recorded_and_the_others_go_on(tmp_path):
    machine = RecordedMachine(tmp_path, "no_gpu")
    hosts = machine.inventory.read_text() + "    gone: {ansible_host: 127.0.0.1, ansible_port: 9}\n"
    machine.inventory.write_text(hosts)
    run = machine.play("playbooks/plan.yml")
    assert run.returncode != 0, run.stdout
    report = json.loads((machine.reports() / "report.json").read_text())
    states = {name: host["state"] for name, host in report["hosts"].items()}
    assert states == {"machine": "planned", "gone": "unreachable"}
    assert report["ok"] is False


def test_an_inventory_that_is_not_there_is_an_error(tmp_path):
    machine = RecordedMachine(tmp_path, "no_gpu")
    machine.inventory.unlink()
    assert machine.play("playbooks/plan.yml").returncode != 0


def test_limit_and_check_mode(tmp_path):
    machine = RecordedMachine(tmp_path, "no_gpu")
    machine.inventory.write_text(machine.inventory.read_text() + "    other: {ansible_connection: local}\n")
    run = machine.play("site.yml", "--check", "--diff", "--limit", "machine")
    assert run.returncode == 0, run.stdout
    report = json.loads((machine.reports() / "report.json").read_text())
    assert list(report["hosts"]) == ["machine"]
    assert report["run"]["mode"] == "check"
    assert [part["name"] for part in report["run"]["timeline"]][:2] == [
        "Check the variables before any host is touched",
        "Gather the facts",
    ]
    assert report["hosts"]["machine"]["state"] == "planned"
    assert machine.left() == []
