"""What verl-provision hands on to ansible-playbook as it is; a password that is typed is in no file and no argument."""

import argparse
import os
import shlex
from pathlib import Path

import pytest
import yaml

from verl_provision.cli import main, play


def parsed(*words):
    parser = argparse.ArgumentParser()
    play.add_targets(parser)
    return parser.parse_args(words)


def test_flags_are_ansibles_own(tmp_path):
    some = tmp_path / "more.yml"
    words = ["-u", "ops", "-e", "a=1 b='2 3'", "-e", f"@{some}", "-vv", "--become-password-file", str(some)]
    with play.passed_on(parsed(*words)) as flags:
        assert flags == [
            "--user", "ops", "--extra-vars", "a=1 b='2 3'", "--extra-vars", f"@{some}", "-vv",
            "--become-password-file", str(some),
        ]  # fmt: skip


def test_inventories_add_up_and_a_list_of_hosts_stays_one(tmp_path):
    arguments = parsed("-i", str(tmp_path), "-i", "gpu-1,gpu-2")
    assert play.inventories(arguments) == [str(tmp_path), "gpu-1,gpu-2"]
    assert play.missing(arguments) == ""
    assert "no-such" in play.missing(parsed("-i", str(tmp_path / "no-such")))
    assert "no-such" in play.missing(parsed("-i", "a,", "--become-password-file", str(tmp_path / "no-such")))


@pytest.mark.parametrize("read", [True, False])
def test_a_typed_password_comes_through_a_pipe_that_goes_away(read, monkeypatch):
    monkeypatch.setattr(play.getpass, "getpass", lambda prompt: "hunter2-canary")
    with play.passed_on(parsed("-K")) as flags:
        assert "hunter2-canary" not in shlex.join(flags)
        pipe = Path(flags[flags.index("--become-password-file") + 1])
        assert pipe.is_fifo()
        if read:
            assert pipe.read_text() == "hunter2-canary\n"
    assert not pipe.exists()


def test_ansible_gets_the_password_and_the_variables(tmp_path, monkeypatch):
    """Of sudo's stand-in on a host: it takes what Ansible gives to it."""
    (tmp_path / "bin").mkdir()
    sudo = tmp_path / "bin/sudo"
    sudo.write_text(
        f"""#!/bin/sh
case "$*" in *-S*) read -r said; test "$said" = hunter2-canary && exec touch {tmp_path}/taken ;; esac
echo "sudo: a password is required" >&2
exit 1
"""
    )
    sudo.chmod(0o755)
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\nPATH="{tmp_path}/bin:$PATH" exec {os.sys.executable} -c "$(cat {tmp_path}/wrap.py)"\n'
    )
    (tmp_path / "wrap.py").write_text(
        "import os, sys; os.getuid = lambda: 4242; exec(compile(sys.stdin.read(), 'stdin', 'exec'))\n"
    )
    python.chmod(0o755)
    here = {"ansible_connection": "local", "ansible_python_interpreter": str(python)}
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"all": {"hosts": {"here": here}}}))
    monkeypatch.setattr(play.getpass, "getpass", lambda prompt: "hunter2-canary")
    kept = f"run_report_directory={tmp_path}/reports"
    main(["plan", "-i", str(inventory), "-K", "--want", kept, "-e", "verl_version=0.9.0"])
    assert (tmp_path / "taken").exists()
    written = "".join(path.read_text() for path in (tmp_path / "reports").rglob("*") if path.is_file())
    assert '"verl_version":"0.9.0"' in written.replace(" ", "") and "hunter2-canary" not in written
