"""What a user has in the training container outlives another image: moved to mounts, or kept with its container."""

import json

import pytest

from lab import hosts
from tests.lab.fleet import play, report

pytestmark = [pytest.mark.lab, pytest.mark.slow]

HOST = "gpu-580"
HOME = "/home/ops/verl/home/verl"


def inspect(name="verl"):
    """A container of the host."""
    return json.loads(hosts.exec(HOST, f"docker inspect {name}").out)[0]


def inside(command):
    """A command in the training container; its output."""
    return hosts.exec(HOST, f"docker exec verl {command}").out.strip()


def run(image, *more, ends="verified"):
    """The main job with an image; the host's part of the report."""
    done = play("site.yml", "--limit", HOST, "-e", f"verl_image={image}", *more)
    host = report()["hosts"][HOST]
    assert (host["state"], done.returncode == 0) == (ends, ends == "verified"), done.stdout
    return host, done


def kept():
    """The names of containers that were replaced and are still there."""
    return hosts.exec(HOST, "docker ps -a --format '{{.Names}}' | grep -- -before- || true").out.split()


def warned(host, rule):
    """The warning of a rule in the host's plan."""
    return next((warning for warning in host["plan"]["warnings"] if warning["rule"] == rule), None)


@pytest.fixture(scope="module")
def without_mounts():
    """A host whose container has no mounts for what people keep, and what somebody keeps in it."""
    hosts.reset(HOST)
    run(FIRST, "-e", "training_container_home=")
    inside("mkdir -p /root/data/gsm8k")
    inside("sh -c 'echo rows > /root/data/gsm8k/train; echo mine > /root/notes.txt'")
    yield inspect()["Id"]
    hosts.reset(HOST)


FIRST, SECOND = "vllm024", "sgl0512"
OTHER = ("-e", "training_container_shm_size=12g")
DISCARD = ("-e", "verl_discard_container_changes=true")


def test_a_container_without_the_mounts_is_left_alone_and_named(without_mounts):
    host, done = run(FIRST)
    assert "changed=0" in done.stdout
    assert inspect()["Id"] == without_mounts
    assert "/root/data" in warned(host, "home_mounts")["message"]


def test_another_image_moves_the_data_to_the_mounts_and_keeps_the_rest(without_mounts):
    host, _done = run(SECOND)
    assert f"verl-before-{without_mounts[:12]}" in warned(host, "kept_container")["message"]
    assert inspect()["Id"] != without_mounts
    assert inside("cat /root/data/gsm8k/train") == "rows"
    assert hosts.exec(HOST, f"cat {HOME}/root-data/gsm8k/train").out == "rows\n"
    assert hosts.exec(HOST, f"stat -c %U {HOME} {HOME}/root-data").out.split() == ["ops", "ops"]
    assert kept() == [f"verl-before-{without_mounts[:12]}"]
    old = inspect(kept()[0])
    assert (old["State"]["Running"], old["HostConfig"]["RestartPolicy"]["Name"]) == (False, "no")


def test_a_second_run_changes_nothing_and_names_it_with_the_command_that_brings_a_file_back(without_mounts):
    host, done = run(SECOND)
    assert "changed=0" in done.stdout
    told = warned(host, "kept_container")
    assert f"verl-before-{without_mounts[:12]}" in told["message"]
    assert "files: 1" in told["message"]
    command = told["fix"].partition("Bring a file back: ")[2].partition(". When")[0]
    assert hosts.exec(HOST, "docker exec verl cat /root/notes.txt", check=False).rc
    hosts.exec(HOST, command, user="ops")
    assert inside("cat /root/notes.txt") == "mine"


def test_a_second_container_with_files_is_left_as_it_is(without_mounts):
    before = inspect()["Id"]
    host, _done = run(SECOND, *OTHER, ends="deferred")
    assert kept()[0] in host["reason"]
    assert "/root/notes.txt" in host["reason"]
    assert (inspect()["Id"], inspect()["State"]["Running"]) == (before, True)
    assert inside("cat /root/notes.txt") == "mine"


def test_what_was_kept_is_removed_where_that_is_asked_and_the_next_is_kept(without_mounts):
    before = inspect()["Id"]
    run(SECOND, *OTHER, *DISCARD)
    assert kept() == [f"verl-before-{before[:12]}"]
    assert inside("cat /root/data/gsm8k/train") == "rows"
    run(SECOND, *OTHER, *DISCARD)
    assert kept() == []
    assert "changed=0" in run(SECOND, *OTHER)[1].stdout


def test_a_container_in_which_nobody_did_anything_is_removed(without_mounts):
    run(SECOND)
    assert kept() == []


def test_somebodys_own_container_of_that_name_is_refused(without_mounts):
    hosts.exec(HOST, "docker stop -t 1 verl; docker rename verl ours")
    hosts.exec(HOST, "docker run -d --name verl $(docker inspect -f '{{.Image}}' ours) sleep infinity")
    theirs = inspect()["Id"]
    host, _done = run(SECOND, ends="refused")
    assert "sudo docker rename verl verl-own" in host["reason"]
    assert (inspect()["Id"], inspect()["State"]["Running"]) == (theirs, True)
    hosts.exec(HOST, "sudo docker rename verl verl-own", user="ops")
    hosts.exec(HOST, "docker stop -t 1 verl-own; docker rename ours verl")
    run(SECOND)
