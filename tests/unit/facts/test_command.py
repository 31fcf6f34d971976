"""An external command never keeps the module waiting, and leaves nothing behind."""

import os
import stat
import time

from ansible.module_utils.verl_probes import command


def script(path, text):
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def gone(pid):
    """Dead, or dead and not yet collected by whoever became its parent."""
    try:
        with open(f"/proc/{pid}/stat") as handle:
            return handle.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_until_gone(pid):
    for _ in range(200):
        if gone(pid):
            return True
        time.sleep(0.02)
    return False


def test_a_hanging_command_and_its_children_are_ended(tmp_path):
    pids = tmp_path / "pids"
    # A shell that ignores TERM, with a grandchild that holds the output open.
    hang = script(
        tmp_path / "nvidia-smi",
        f"trap '' TERM INT\nsh -c 'echo $$ >>{pids}; exec sleep 600' &\necho $$ >>{pids}\nsleep 600\n",
    )
    result = command.run([hang], timeout=1)
    assert (result.rc, result.timed_out, result.ok) == (None, True, False)
    assert result.message() == "no answer within 1 s"
    found = [int(line) for line in pids.read_text().split()]
    assert len(found) == 2
    assert all(wait_until_gone(pid) for pid in found)


def test_a_command_that_leaves_a_child_with_its_output_did_answer(tmp_path):
    quick = script(tmp_path / "quick", "echo answer\nsleep 600 &\nexit 3\n")
    result = command.run([quick], timeout=2)
    assert (result.rc, result.stdout, result.timed_out) == (3, "answer\n", False)


def test_a_command_has_no_terminal_and_no_input(tmp_path):
    ask = script(tmp_path / "ask", "read answer && echo got-$answer\n[ -t 0 ] && echo terminal\nexit 0\n")
    assert command.run([ask], timeout=5).stdout == ""


def test_a_command_that_is_not_there():
    result = command.run(["/nonexistent/nvidia-smi"], timeout=1)
    assert result.rc is None and not result.timed_out
    assert result.message() == "cannot run /nonexistent/nvidia-smi: No such file or directory"


def test_output_that_is_not_text(tmp_path):
    odd = script(tmp_path / "odd", "printf '\\377\\376ok'\n")
    assert command.run([odd], timeout=5).stdout.endswith("ok")


def test_output_is_limited(tmp_path):
    loud = script(tmp_path / "loud", "head -c 3000000 /dev/zero | tr '\\0' x\n")
    assert len(command.run([loud], timeout=20).stdout) == command.MAX_OUTPUT


def test_it_runs_in_a_process_group_of_its_own(tmp_path):
    own = script(tmp_path / "own", "ps -o pgid= -p $$ 2>/dev/null || cut -d' ' -f5 /proc/$$/stat\n")
    assert int(command.run([own], timeout=5).stdout) != os.getpgid(0)
