"""Completion, asked of a real bash."""

import shutil
import subprocess

import pytest

from verl_provision.cli import main

ASK = """
source /dev/stdin
COMP_WORDS=(verl-provision {words}) COMP_CWORD={number}
_verl_provision
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("e", {"explain"}),
        ("'' ", {"plan", "up", "verify", "report", "explain", "catalog", "doctor", "completion", "render"}),
        ("report --format ''", {"text", "md", "html", "json"}),
        ("up --di", {"--diff"}),
        ("plan --want verl_verify_l", {"verl_verify_level="}),
        ("completion ''", {"--help", "bash", "zsh"}),
    ],
)
def test_bash_is_offered(words, offered, capsys):
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    ask = ASK.format(words=words, number=len(words.split()))
    done = subprocess.run(["bash", "-c", ask], input=script, capture_output=True, text=True)
    assert done.stderr == ""
    assert set(done.stdout.split()) == offered


def test_zsh_gets_the_same_by_its_own_means(capsys):
    assert main(["completion", "zsh"]) == 0
    assert "bashcompinit" in capsys.readouterr().out
