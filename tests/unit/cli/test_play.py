"""The play commands: exit statuses that a script can tell apart."""

import pytest

from verl_provision.cli import main


def test_bad_usage_is_2(capsys):
    assert main(["plan", "--want", "verl_engine"]) == 2
    assert "NAME=VALUE" in capsys.readouterr().err
    assert main(["up", "-i", "/nowhere"]) == 2
    assert "inventories/example-cluster" in capsys.readouterr().err
    with pytest.raises(SystemExit) as unknown:
        main(["fly"])
    assert unknown.value.code == 2


def test_a_refused_wish_is_1_and_names_the_wish(capfd):
    assert main(["plan", "--want", "verl_engne=vllm"]) == 1
    assert "Did you mean `verl_engine`?" in capfd.readouterr().out
