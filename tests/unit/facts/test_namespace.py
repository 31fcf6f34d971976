"""What shares a PID namespace, read from this machine's own /proc."""

import os
import subprocess
import sys

import pytest
from ansible.module_utils.verl_probes import namespace


def test_a_namespace_has_its_init_first_and_every_other_process():
    with subprocess.Popen([sys.executable, "-c", "input('(odd) name')"], stdin=subprocess.PIPE) as child:
        found = namespace.processes(os.getpid())
        child.communicate(b"\n")
    assert found[0]["pid"] == os.getpid()
    row = next(row for row in found if row["pid"] == child.pid)
    assert (row["parent"], row["name"][:6]) == (os.getpid(), "python")
    assert "(odd) name" in row["command"]


def test_a_process_that_is_gone_cannot_be_read():
    with pytest.raises(OSError):
        namespace.processes(2**22 + 1)
