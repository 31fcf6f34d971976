"""Level train on the head of a Ray cluster: what Ray is asked for, and what the job does on its nodes."""

import json
import subprocess
import sys

import pytest

from .conftest import ROOT, valid
from .fake_packages import put

PROGRAMS = ROOT / "roles/verification/files/verl_programs"
EXPECTED = {
    "profile": "gpu", "gpus": 2, "engine": "vllm", "trainer": "fsdp", "verl_version": "0.9.1",
    "cluster": {"nodes": 3, "dashboard": "http://127.0.0.1:8265"},
}  # fmt: skip
STEP = "step:1 - actor/pg_loss:0.25 - actor/grad_norm:0.5"
SUBMIT = """
import json, os, sys
with open({notes!r}, "a") as notes:
    asked = open(os.path.join(os.getcwd(), "asked.json")).read() if os.path.exists("asked.json") else "{{}}"
    given = {{name: os.environ.get(name) for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")}}
    notes.write(json.dumps({{"argv": sys.argv[1:], "asked": json.loads(asked), "env": given}}) + "\\n")
print({says!r})
sys.exit({status} if "submit" in sys.argv else 0)
"""


@pytest.fixture
def head(checks, place, monkeypatch, tmp_path):
    """The head of a cluster, whose `ray job` takes notes: `head(says=..., status=...)` gives (check, notes)."""

    def run(says="", status=0, **expected):
        notes = tmp_path / "notes"
        put(place.site, "ray.scripts", "0", "", installed=False)
        script = SUBMIT.format(notes=str(notes), says=says, status=status)
        (place.site / "ray/scripts/scripts.py").write_text(script)
        monkeypatch.setenv("PYTHONPATH", str(place.site))
        monkeypatch.setenv("VERL_VERIFY_RAY_TOKEN", "s3cret")
        monkeypatch.setattr(
            checks.train, "free_gpu", lambda request: {"index": "0", "free_mb": 80000, "total_mb": 80000}
        )
        request = {**checks.core.REQUEST, "expected": valid({**EXPECTED, **expected}, "expected"), "work_timeout": 60}
        check = checks.core.run_one("train.cluster", checks.train.cluster, request, {})
        told = [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []
        return check, told

    return run


def test_ray_is_asked_for_a_step_over_all_nodes(head):
    nodes = "verl-verify-cluster nodes: 3 nodes with 8 GPUs each\n"
    check, (call,) = head(nodes + "(TaskRunner pid=1) " + STEP)
    assert check["ok"] is True, check
    assert "over 3 nodes with 8 GPUs each" in check["found"]
    argv = call["argv"]
    assert argv[:4] == ["job", "submit", "--address", "http://127.0.0.1:8265"]
    assert argv[argv.index("--") + 1 :] == ["python3", "cluster.py", "asked.json"]
    flags = call["asked"]["flags"]["8"]
    assert {"trainer.nnodes=3", "trainer.n_gpus_per_node=8", "data.train_batch_size=48"} <= set(flags)
    assert not any("num_cpus" in flag for flag in flags), "a Ray that runs already refuses it"
    assert any(flag.startswith(f"data.train_files={call['asked']['folder']}/") for flag in flags)


def test_the_token_is_in_the_environment_and_nowhere_else(head):
    _check, (call,) = head(STEP)
    assert call["env"] == {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "s3cret"}
    assert "s3cret" not in json.dumps([call["argv"], call["asked"]])


def test_a_job_that_fails_is_told_and_stopped(head):
    check, calls = head("RuntimeError: Ray has 2 nodes with GPUs, planned are 3", status=1)
    assert check["ok"] is False
    assert "Ray has 2 nodes with GPUs, planned are 3" in check["found"]
    submitted, stopped = (call["argv"] for call in calls)
    assert stopped == [
        "job",
        "stop",
        "--address",
        "http://127.0.0.1:8265",
        submitted[submitted.index("--submission-id") + 1],
    ]


def test_a_job_that_trains_nothing_is_no_pass(head):
    check, _calls = head("nothing of note")
    assert (check["ok"], check["found"]) == (False, "no line `step:1 - ...` in the output")


@pytest.mark.parametrize(
    ("says", "expected", "reason"),
    [
        ("verl-verify-cluster busy: 3 of the cluster's GPUs are free and 24 are needed", {}, "3 of the cluster's GPUs"),
        (STEP, {"cluster": None}, "no Ray cluster has its head here"),
        (STEP, {"engine": "none"}, "no rollout engine"),
    ],
)
def test_what_can_not_be_tried_is_skipped_with_the_reason(head, says, expected, reason):
    check, _calls = head(says, **expected)
    assert check["ok"] is None
    assert reason in check["found"]


def test_without_gpus_it_is_skipped(place):
    expected = {"profile": "cpu", "gpus": 0, "engine": "vllm", "cluster": EXPECTED["cluster"]}
    result = place.run("train", expected)
    (check,) = [item for item in result["checks"] if item["id"] == "train.cluster"]
    assert (check["ok"], check["found"]) == (None, "skipped: no GPU is planned here (profile cpu)")


@pytest.mark.parametrize("gpus", [1, 2, 3, 7, 8, 24, 64])
def test_every_gpu_has_whole_pairs_of_rows(checks, gpus):
    rows = checks.train.batch(gpus)
    assert rows >= 8
    assert rows % (2 * gpus) == 0


# ---- the job


RAY = """
import json, os
NODES = json.loads(os.environ["NODES"])
def init(**given): pass
def nodes(): return NODES
def available_resources(): return {"GPU": float(os.environ["FREE"])}
def get(answers): return answers
def remote(**given):
    class Placed:
        def __init__(self, function): self.function = function
        def options(self, scheduling_strategy):
            with open(os.environ["CALLS"], "a") as calls:
                calls.write("%s %s\\n" % (self.function.__name__, scheduling_strategy))
            return self
        def remote(self, *arguments): return self.function(*arguments)
    return Placed
"""


def node(name, gpus, alive=True):
    return {"NodeID": name, "Alive": alive, "Resources": {"GPU": gpus} if gpus else {}}


@pytest.fixture
def job(place, tmp_path):
    """The job's program with a Ray of these nodes: gives (its end, what it was placed on)."""
    put(place.site, "ray", "2.60.0", RAY)
    put(place.site, "ray.util", "0", "", installed=False)
    strategies = "def NodeAffinitySchedulingStrategy(node_id, soft): return node_id\n"
    put(place.site, "ray.util.scheduling_strategies", "0", strategies, installed=False)
    put(place.site, "verl.trainer", "0", "", installed=False)
    main = place.site / "verl/trainer/main_ppo.py"
    main.write_text("import os, sys; print('PPO', sys.argv[1:], sorted(os.listdir('.'))); sys.exit(7)\n")
    work = tmp_path / "work"
    work.mkdir()
    (work / "tiny.py").write_text(
        "import os, sys\nfor name in sys.argv[1:]: open(name, 'w').write(os.environ['VERL_VERIFY_ROWS'])\n"
    )

    def run(nodes, free, wanted=2):
        flags = {
            str(gpus): [f"data.train_batch_size={gpus * 40}", f"trainer.n_gpus_per_node={gpus}"] for gpus in range(1, 9)
        }
        (work / "asked.json").write_text(json.dumps({"nodes": wanted, "folder": str(tmp_path / "job"), "flags": flags}))
        environment = {
            "PATH": "/usr/bin:/bin", "PYTHONPATH": str(place.site), "NODES": json.dumps(nodes), "FREE": str(free),
            "CALLS": str(tmp_path / "calls"),
        }  # fmt: skip
        program = [sys.executable, str(PROGRAMS / "cluster.py"), "asked.json"]
        done = subprocess.run(
            program, cwd=work, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        calls = tmp_path / "calls"
        return done, calls.read_text().split("\n")[:-1] if calls.exists() else []

    return run


def test_the_model_is_made_on_every_node_and_taken_away(job, tmp_path):
    done, calls = job([node("a", 8), node("b", 4), node("c", 0), node("d", 8, alive=False)], 12)
    assert done.returncode == 7, done.stderr  # verl's own
    assert "nodes: 2 nodes with 4 GPUs each" in done.stdout
    assert "PPO ['data.train_batch_size=160', 'trainer.n_gpus_per_node=4']" in done.stdout
    assert "'model', 'tiny.py', 'train.parquet', 'val.parquet'" in done.stdout
    assert calls == ["prepare a", "prepare b", "clear a", "clear b"]
    assert not (tmp_path / "job").exists()


def test_too_few_nodes_are_said_and_taken_gpus_wait(job):
    done, calls = job([node("a", 8)], 8)
    assert "Ray has 1 nodes with GPUs, planned are 2" in done.stderr
    assert (done.returncode, calls) == (1, [])
    done, calls = job([node("a", 8), node("b", 8)], 3)
    assert "verl-verify-cluster busy: 3 of the cluster's GPUs are free and 16 are needed" in done.stdout
    assert (done.returncode, calls) == (0, [])
