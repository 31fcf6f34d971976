"""`verl-provision render`: writes a folder whole, leaves others' files alone, and shows no secret."""

import json
from pathlib import Path

import pytest

from verl_provision import catalog, handmade
from verl_provision.cli import main
from verl_provision.render import TARGETS

PINNED = ["--want", "verl_image=vllm024", "--want", "verl_version=0.9.0"]
MACHINE = ["--gpu", "H100", "--driver", "580.95.05", *PINNED]


def call(*words):
    return main(["render", *words])


def test_it_writes_the_manifest_and_a_readme_of_three_commands(tmp_path, capsys):
    assert call("slurm", *MACHINE, "-o", str(tmp_path / "out")) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["README.md", "job.sbatch"]
    readme = (tmp_path / "out/README.md").read_text()
    assert [line[:2] for line in readme.splitlines() if line[:2] in ("1.", "2.", "3.", "4.")] == ["1.", "2.", "3."]
    assert "README.md" in capsys.readouterr().out


def test_a_second_render_replaces_its_own(tmp_path):
    assert call("slurm", *MACHINE, "-o", str(tmp_path)) == 0
    assert call("slurm", *MACHINE, "--set", "partition=big", "-o", str(tmp_path)) == 0
    assert "--partition=big" in (tmp_path / "job.sbatch").read_text()


def test_a_file_of_somebody_else_stays_and_nothing_is_written(tmp_path, capsys):
    (tmp_path / "README.md").write_text("mine")
    assert call("slurm", *MACHINE, "-o", str(tmp_path)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"] and (
        tmp_path / "README.md"
    ).read_text() == "mine"
    assert "--output" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["slurm", *MACHINE, "--set", "partion=x"], 2, "Did you mean `partition`?"),
        (["slurm", *MACHINE, "--set", "partition"], 2, "NAME=VALUE"),
        (["slurm", *MACHINE, "--want", "verl_engine=vlm"], 2, "verl_engine"),
        (["slurm", *MACHINE, "--site", "/no/such"], 2, "/no/such"),
        (["slurm"], 2, "--facts FILE"),
        (["slurm", "--gpu", "910B"], 1, "ascend"),
        (["slurm", "--gpu", "H100", "--driver", "450.80"], 1, "found"),
    ],
)
def test_exit_status_says_who_has_to_act(tmp_path, monkeypatch, capsys, words, status, said):
    monkeypatch.chdir(tmp_path)
    assert call(*words) == status
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_explain_prints_where_lines_come_from_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call("slurm", *MACHINE, "--set", "partition=big", "--explain") == 0
    rows = dict(line.split("  <- ") for line in capsys.readouterr().out.splitlines() if "  <- " in line)
    said = {line.strip(): where for line, where in rows.items()}
    assert said["#SBATCH --partition=big"] == "the site" and said["#SBATCH --cpus-per-task=64"].startswith("default")
    assert "the decision" in said["# verl 0.9.0 on 1 x 8 H100"]
    assert not list(tmp_path.iterdir())


def test_a_file_of_the_site_and_facts_of_a_node(tmp_path, capsys):
    (tmp_path / "site.yml").write_text("partition: big\ntime: '2:00:00'\n")
    facts = tmp_path / "facts.json"
    node = handmade.facts(handmade.Machine(gpu="H100", driver="580.95.05"), catalog.load())
    facts.write_text(json.dumps({**node, "cpu": {"count": 48}}))
    words = ["--facts", str(facts), *PINNED, "--site", str(tmp_path / "site.yml"), "--set", "partition=small"]
    status = call("slurm", *words, "-o", str(tmp_path / "out"))
    assert status == 0, capsys.readouterr().err
    script = (tmp_path / "out/job.sbatch").read_text()
    assert "--partition=small" in script and "--time=2:00:00" in script and "--cpus-per-task=48" in script


@pytest.mark.parametrize("target", TARGETS)
def test_no_value_of_a_secret_is_in_any_file(target, tmp_path, monkeypatch, capsys):
    for name in ("HF_TOKEN", "WANDB_API_KEY"):
        monkeypatch.setenv(name, "canary-5f2c")
    monkeypatch.setenv("VERL_HUGGINGFACE_TOKEN", "canary-5f2c")
    words = [*MACHINE, "--set", "secrets=[HF_TOKEN, WANDB_API_KEY]"]
    words += ["--set", "ray_version=2.54.1"] if target == "kuberay" else []
    for more in (
        ["--want", "verl_huggingface_token=canary-5f2c"],
        ["--want", "verl_proxy=http://me:canary-5f2c@proxy.example"],
        ["--set", "env={A: canary-5f2c}"],
        ["--set", "env={HF_TOKEN: canary-5f2c}"],
        ["--command", "python3", "train.py", "--token=canary-5f2c"],
    ):
        assert call(target, *words, "-o", str(tmp_path / "refused"), *more) == 2
        assert "canary" not in str(capsys.readouterr())
    assert call(target, *words, "-o", str(tmp_path / "out")) == 0
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or "canary" not in file.read_text()
    assert "canary" not in str(capsys.readouterr())
    assert any("HF_TOKEN" in file.read_text() for file in (tmp_path / "out").iterdir())


FACTS = Path(__file__).resolve().parents[2] / "fixtures/facts"


@pytest.mark.parametrize(
    ("name", "status", "said"),
    [
        (
            "docker_refused",
            0,
            "",
        ),  # the platform brings the engine: what this node's user may do with Docker is no matter
        ("sudo_password", 0, ""),
        ("mi300x", 0, ""),
        ("driver_not_loaded", 1, "driver_state"),
        ("no_gpu", 1, "no GPUs"),
    ],
)
def test_a_recorded_node_is_judged_by_its_gpus_and_driver(name, status, said, tmp_path, capsys):
    words = ["--facts", str(FACTS / f"{name}.json"), "--set", "ray_version=2.54.1", "-o", str(tmp_path / "out")]
    assert call("kuberay", *words) == status
    assert said in capsys.readouterr().err and (tmp_path / "out").exists() is (status == 0)
