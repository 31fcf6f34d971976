"""docs/command-line.md has every command, and its shared flags are those of the parser."""

from pathlib import Path

import pytest

from verl_provision.cli import parser

TEXT = (Path(__file__).resolve().parents[3] / "docs/command-line.md").read_text()
COMMANDS = next(action.choices for action in parser()._actions if action.dest == "command")
PLAYS = {"up", "plan", "verify", "doctor"}


def takes(command: str, flag: str) -> str | None:
    """The help of a command's flag, without its default; None where it has no such flag."""
    for action in COMMANDS[command]._actions:
        if flag in action.option_strings:
            return action.help
    return None


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_there(command):
    assert f"| `{command}" in TEXT


@pytest.mark.parametrize(
    ("flag", "commands"),
    [
        ("--inventory", PLAYS),
        ("-i", PLAYS),
        ("--limit", PLAYS),
        ("-l", PLAYS),
        ("--want", PLAYS | {"explain", "render"}),
    ],
)
def test_a_shared_flag_is_taken_by_the_same_commands_and_means_the_same(flag, commands):
    assert {command for command in COMMANDS if takes(command, flag)} == commands
    assert len({takes(command, flag) for command in PLAYS}) == 1
    assert flag in TEXT


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_bad_usage_is_2_for_every_command(command, capsys):
    with pytest.raises(SystemExit) as ended:
        parser().parse_args([command, "--no-such-flag"])
    assert ended.value.code == 2
    assert "usage: verl-provision" in capsys.readouterr().err
