"""The plays of site.yml: every host at its own pace, batches only where something disturbs, a report in every case."""

import pytest

from tests.e2e.site_fleet import SiteFleet

pytestmark = pytest.mark.e2e

RESTARTED = "toolkit_after_dockerd"  # its Docker has to be restarted


def place(done, *entry):
    return done.index(entry)


def test_a_host_waits_for_nobody_and_a_failed_one_leaves(tmp_path):
    own = {"fast": {}, "slow": {"awaits": {"container_image": "fast verification ends"}}, "bad": {}}
    fleet = SiteFleet(tmp_path, "h100x8_580", own, verl_backend="docker")
    run = fleet.run(bad=["bad verl_checkout"])
    done = fleet.done()
    assert place(done, "fast", "verification", "ends") < place(done, "slow", "container_image", "ends"), run.stdout
    assert [step for host, step, said in done if host == "slow" and said == "ends"][-1] == "verification"
    steps = fleet.planned()[0]["hosts"]["fast"]["steps"]
    assert {step for host, step, said in done if host == "fast" and said == "ends"} == {*steps, "verification"}
    assert [step for host, step, _ in done if host == "bad"][-1] == "verl_checkout"
    report = fleet.report()
    assert {name: host["state"] for name, host in report["hosts"].items()} == {
        "fast": "verified", "slow": "verified", "bad": "failed",
    }  # fmt: skip
    assert report["hosts"]["bad"]["reason"] == "verl_checkout: it went wrong"
    assert run.returncode == 2
    timeline = {part["name"]: part for part in report["run"]["timeline"]}
    pull, verify = timeline["Pull the image"], timeline["Verify where verl will run"]
    assert verify["start"] < pull["start"] + pull["seconds"], timeline


def test_a_fleet_that_lacks_only_a_restart_goes_by_batches_that_wait_for_no_pull(tmp_path):
    own = {f"gpu-{number}": {} for number in range(1, 5)}
    pace = {"container_image": 3}
    fleet = SiteFleet(tmp_path, RESTARTED, own, verl_backend="docker", verl_rolling_batch=2, pace=pace)
    run = fleet.run()
    done = [entry for entry in fleet.done() if entry[2] == "begins"]
    restarts = [host for host, step, _ in done if step == "disruption"]
    assert restarts[0] == "gpu-1" and set(restarts[1:3]) == {"gpu-2", "gpu-3"} and restarts[3] == "gpu-4", run.stdout
    first_pull = next(number for number, entry in enumerate(done) if entry[1] == "container_image")
    assert all(done.index((host, "disruption", "begins")) < first_pull for host in own)
    assert {host["state"] for host in fleet.report()["hosts"].values()} == {"verified"}


def test_a_host_keeps_its_order_beside_one_that_has_only_its_last_step_to_do(tmp_path):
    own = {"gpu-1": {}, "by-source": {"verl_backend": "source"}, "gpu-2": {}}
    fleet = SiteFleet(tmp_path, RESTARTED, own, verl_backend="docker")
    run = fleet.run()
    plans = fleet.planned()[0]["hosts"]
    for name in own:
        done = [step for host, step, said in fleet.done() if host == name and said == "begins"]
        assert done == [*plans[name]["steps"], "verification"], run.stdout


def test_a_second_playbook_of_the_same_invocation_plans_what_the_first_did(tmp_path):
    fleet = SiteFleet(tmp_path, "h100x8_580", {"gpu-1": {"training_container_shm_size": "64g"}}, verl_backend="docker")
    run = fleet.run(playbooks=2)
    first, second = fleet.planned()
    assert first["hosts"] == second["hosts"], run.stdout
    assert first["hosts"]["gpu-1"]["steps"]["training_container"]["args"]["shm_size"] == "64g"


def test_in_check_mode_only_what_can_be_looked_at_is_entered(tmp_path):
    fleet = SiteFleet(tmp_path, RESTARTED, {"gpu-1": {}}, verl_backend="docker")
    fleet.run("--check")
    assert fleet.report()["hosts"]["gpu-1"]["state"] == "planned"
    assert fleet.done() == []  # a shell is skipped in check mode
