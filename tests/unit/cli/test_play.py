"""The play commands: exit statuses that a script can tell apart."""

from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleFilterError

from filter_plugins.verl_hosts import verl_hosts
from verl_provision.cli import main

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
