"""Module verl_ray: what can't be reached is named by node and port, and a node that works isn't let go."""

import json
import socket

import pytest

ID = "3" * 64
NODES = [
    {"name": "gpu-1", "address": "127.0.0.1", "gpus": 8},
    {"name": "gpu-2", "address": "127.0.0.2", "gpus": 8},
]
IDLE = "PID STAT COMMAND\n1 Ss ray start --head --block\n7 Sl raylet\n9 Sl ray::IDLE\n"


@pytest.fixture
def open_port():
    """A port that somebody listens on."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def closed_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def said(alive):
    ids = {address: address for address in alive}
    return "verl-ray " + json.dumps({"alive": alive, "ids": ids}) + "\n"


def test_a_port_that_answers_is_reached(module, open_port):
    target = {"node": "gpu-1", "address": "127.0.0.1", "port": open_port, "what": "GCS"}
    assert not module("verl_ray", {"action": "reach", "targets": [target], "timeout": 5})["failed"]


def test_one_that_does_not_is_named_with_its_node_and_what_it_is(module):
    port = closed_port()
    target = {"node": "gpu-1", "address": "127.0.0.1", "port": port, "what": "GCS"}
    answer = module("verl_ray", {"action": "reach", "targets": [target], "timeout": 0})
    assert answer["failed"]
    assert f"gpu-1 (127.0.0.1) port {port} (GCS): refused" in answer["msg"]


def test_ready_counts_nodes_and_gpus(module, fake):
    fake("docker").says(["exec", "verl-ray"], out=said({"127.0.0.1": 8, "127.0.0.2": 8}))
    answer = module("verl_ray", {"action": "ready", "gcs": "127.0.0.1:6379", "nodes": NODES, "timeout": 5})
    assert (answer["failed"], answer["gpus"]) == (False, 16)


def test_a_node_that_is_missing_or_short_of_gpus_is_named(module, fake):
    fake("docker").says(["exec", "verl-ray"], out=said({"127.0.0.1": 7}))
    answer = module("verl_ray", {"action": "ready", "gcs": "127.0.0.1:6379", "nodes": NODES, "timeout": 0})
    assert answer["failed"]
    assert "gpu-1 (127.0.0.1) has 7 GPUs, planned are 8" in answer["msg"]
    assert "gpu-2 (127.0.0.2) has not joined" in answer["msg"]


def test_check_mode_waits_for_nobody(module):
    args = {"action": "ready", "gcs": "127.0.0.1:1", "nodes": NODES, "timeout": 300}
    assert module("verl_ray", args, check=True)["changed"] is False


def leaving(fake, processes):
    docker = fake("docker")
    docker.says(["container", "inspect"], out=[{"Id": ID, "State": {"Running": True}}])
    docker.says(["top"], out=processes)
    docker.says(["exec", "verl-ray", "python3"], out=said({"127.0.0.2": 8}))
    for argv in (["exec", "verl-ray", "ray"], ["stop"], ["rm"]):
        docker.says(argv)
    return docker


def test_a_node_is_drained_then_removed(module, fake):
    docker = leaving(fake, IDLE)
    answer = module("verl_ray", {"action": "leave", "gcs": "127.0.0.1:6379", "address": "127.0.0.2"})
    assert answer["changed"]
    (drain,) = docker.called("exec", "verl-ray", "ray", "drain-node")
    assert "DRAIN_NODE_REASON_IDLE_TERMINATION" in drain
    assert docker.called("rm")


def test_a_node_on_which_an_actor_runs_stays(module, fake):
    docker = leaving(fake, IDLE + "12 Sl ray::Trainer.step\n")
    answer = module("verl_ray", {"action": "leave", "gcs": "127.0.0.1:6379", "address": "127.0.0.2"})
    assert answer["failed"]
    assert "ray::Trainer.step" in answer["msg"]
    assert not docker.called("stop")
    assert not docker.called("exec", "verl-ray", "ray")
