"""Everything in the README is run by a test, and every page it points to is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
README = (ROOT / "README.md").read_text()
CHINESE = (ROOT / "README.zh.md").read_text()
# command -> the test that runs it, and how it is called there
RUN_BY = {
    "make up": ("tests/e2e/test_fresh_machine.py", 'machine.run("make up")'),
    "make plan": ("tests/e2e/test_fresh_machine.py", 'machine.run("make plan")'),
    "make test": (".ci/run", "exec make test"),
    "make lab": ("tests/lab/conftest.py", 'lab("up"'),
    ".venv/bin/ansible-playbook -i inventories/lab site.yml": ("tests/lab/test_site.py", 'play("site.yml")'),
    "make lab-down": ("tests/lab/conftest.py", 'lab("down")'),
    ".venv/bin/verl-provision up": ("tests/e2e/test_up.py", 'argv("up")'),
    ".venv/bin/verl-provision explain --gpu H100 --driver 550": (
        "tests/unit/docs/test_readme.py",
        'main(["explain", "--gpu", "H100", "--driver", "550"])',
    ),
}
COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)```", README, re.S) for line in block.splitlines() if line.strip()
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_run_by_a_test(command):
    runner, called = RUN_BY[command.split("  #")[0].strip()]
    assert called in (ROOT / runner).read_text()


def test_ci_calls_the_readmes_test_command():
    assert "make test" in COMMANDS
    assert (ROOT / ".ci/run").read_text().rstrip().endswith("exec make test")


def test_the_prerequisites_are_those_of_the_fresh_machine():
    from tests.e2e.fresh_machine import PREREQUISITES

    assert f"`{' '.join(PREREQUISITES)}`" in README


def links(text):
    """Where a page points to in this repository."""
    return re.findall(r"\]\((?!https?:)([^)#]+)", text)


@pytest.mark.parametrize("target", sorted(set(links(README + CHINESE))))
def test_links_lead_somewhere(target):
    assert (ROOT / target).exists()


def test_the_chinese_readme_is_the_same_page():
    """The same commands and outputs in the same order, so what runs the one runs the other; the same links, parts.

    A change of README.md belongs into README.zh.md too.
    """

    def blocks(text):
        return re.findall(r"```.*?```", text, re.S)

    assert blocks(CHINESE) == blocks(README)
    both = {"README.md", "README.zh.md"}
    assert [link for link in links(CHINESE) if link not in both] == [link for link in links(README) if link not in both]
    assert "README.zh.md" in links(README) and "README.md" in links(CHINESE)
    assert len(re.findall(r"^## ", CHINESE, re.M)) == len(re.findall(r"^## ", README, re.M))


def test_explain_says_what_the_readme_shows(capsys):
    from verl_provision.cli import main

    assert main(["explain", "--gpu", "H100", "--driver", "550"]) == 0
    said = capsys.readouterr().out
    (shown,) = re.findall(r"```sh\n.*?verl-provision explain[^\n]*\n```\n\n```text\n(.*?)```", README, re.S)
    for line in shown.splitlines():
        assert line.strip() in said or line.strip() == "...", line
