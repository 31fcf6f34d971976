"""The play commands: exit statuses that a script can tell apart."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from ansible.errors import AnsibleFilterError

from filter_plugins.verl_hosts import verl_hosts
from verl_provision.cli import main, play

PLAYBOOKS = Path(__file__).resolve().parents[3] / "playbooks"


def test_bad_usage_is_2(capsys):
    assert main(["plan", "--want", "verl_engine"]) == 2
    assert "NAME=VALUE" in capsys.readouterr().err
    assert main(["up", "-i", "/nowhere"]) == 2
    assert "inventories/example-cluster" in capsys.readouterr().err
    with pytest.raises(SystemExit) as unknown:
        main(["fly"])
    assert unknown.value.code == 2


def test_a_refused_variable_is_1_and_names_the_request(capfd):
    assert main(["plan", "--want", "verl_engne=vllm"]) == 1
    assert "Did you mean `verl_engine`?" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["plan"], 2),
        (["plan", "--detailed-exitcode"], 1),
        (["up"], 2),
        (["up", "--check", "--diff"], 2),
        (["verify"], 2),
    ],
)
def test_no_hosts_is_not_success(command, status, tmp_path, capfd):
    inventory = tmp_path / "hosts.yml"
    inventory.write_text("all: {hosts: {}}\n")
    assert main([*command, "-i", str(inventory)]) == status
    assert "the inventory has no hosts" in capfd.readouterr().out


def test_a_limit_that_matches_nobody_is_not_success(capfd):
    assert main(["plan", "--limit", "nobody*"]) == 2
    assert main(["plan", "--limit", "nobody*", "--detailed-exitcode"]) == 1
    assert "no hosts to target" in capfd.readouterr().out


def first_play(playbook):
    """The first play of a playbook, through what it imports."""
    play = yaml.safe_load(playbook.read_text())[0]
    imported = play.get("import_playbook") or play.get("ansible.builtin.import_playbook")
    return first_play(playbook.parent / imported) if imported else play


def test_every_playbook_of_an_operator_asks_for_hosts_first():
    verbs = {"cluster", "mirror", "plan", "pull", "site", "verify"}
    for verb in verbs:
        assert "| verl_hosts" in first_play(PLAYBOOKS / f"{verb}.yml")["hosts"], verb
    assert verbs <= {path.stem for path in PLAYBOOKS.glob("*.yml")}


def test_before_an_inventory_is_read_all_hosts_is_the_pattern():
    assert verl_hosts({}) == verl_hosts({"all": ["gpu-1"], "ungrouped": []}) == "all"
    with pytest.raises(AnsibleFilterError, match="no hosts"):
        verl_hosts({"all": [], "ungrouped": []})


@pytest.mark.parametrize(
    "name", ["*", "~.*", "!x", "&x", "a:b,c", "a,b", "x[0]", "-x", "", "a b", "gpu-1\n", "@x", "a/b"]
)
def test_a_host_whose_name_is_a_pattern_is_refused(name):
    with pytest.raises(AnsibleFilterError, match="inventory_hostname: found") as refused:
        verl_hosts({"all": ["gpu-1", name]})
    assert repr(name) in str(refused.value)


def test_usual_names_of_hosts_are_taken():
    names = ["gpu-1", "gpu_1.example.org", "192.0.2.11", "fd00::11", "10g", "user@host", "节点1"]
    assert verl_hosts({"all": names}) == "all"


def test_no_host_is_touched_where_one_is_named_as_a_pattern(tmp_path, capfd):
    inventory = tmp_path / "hosts.yml"
    inventory.write_text("all: {hosts: {gpu-1: {ansible_connection: local}, '~.*': {}}}\n")
    assert main(["plan", "-i", str(inventory)]) == 2
    said = capfd.readouterr().out
    assert "'~.*'" in said
    assert "TASK" not in said


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A machine with Slurm's commands, and a partition with GPUs."""
    for name, said in (("sbatch", ""), ("sinfo", "debug (null)\ngpu gpu:h100:8\n")):
        (tmp_path / name).write_text(f"#!/bin/sh\nprintf '{said}'\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    (tmp_path / "dev").mkdir()
    monkeypatch.setattr(play, "DEVICES", tmp_path / "dev")
    return monkeypatch


def test_a_login_node_is_told_so_and_how_to_plan_for_a_partition(slurm):
    said = play.login_node()
    assert "login node" in said and "partitions with GPUs: gpu gpu:h100:8." in said
    assert "srun --partition=gpu --nodes=1 --gpus-per-node=1" in said and "render slurm" in said


def test_inside_a_job_or_beside_gpus_nothing_is_said(slurm):
    slurm.setenv("SLURM_JOB_ID", "7")
    assert play.login_node() == ""
    slurm.delenv("SLURM_JOB_ID")
    (play.DEVICES / "nvidia0").touch()
    assert play.login_node() == ""


def test_without_slurm_nothing_is_said(slurm):
    slurm.setenv("PATH", "/nonexistent")
    assert play.login_node() == ""


def test_plan_says_it_and_up_does_not(slurm, capsys):
    slurm.setattr(play, "execute", lambda *what, **more: SimpleNamespace(rc=0))
    slurm.setattr(play, "watch", lambda *what: SimpleNamespace(rc=0))
    assert main(["plan"]) == 0 and "login node" in capsys.readouterr().err
    assert main(["up"]) == 0 and "login node" not in capsys.readouterr().err
