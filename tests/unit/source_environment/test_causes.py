"""The cause that pip's output names last, not the first line that looks like one."""

import pytest
from ansible.module_utils.verl_source import failure

VLLM = "vllm==0.24.0"
TLS = "WARNING: Retrying: SSLError(SSLCertVerificationError(1, 'CERTIFICATE_VERIFY_FAILED'))\n"
NONE = "ERROR: No matching distribution found for {0}\n"
OTHERS = (
    "ERROR: Ignored the following versions that require a different python version: 0.1.0 Requires-Python >=3.8,<3.9\n"
)
FROM = "ERROR: Could not find a version that satisfies the requirement {0} (from versions: {1})\n"


@pytest.mark.parametrize(
    ("text", "what", "fix"),
    [
        (OTHERS + FROM.format(VLLM, "0.2.0, 0.20.0") + NONE.format(VLLM), "newest is 0.20.0", "index"),
        (OTHERS.replace("0.1.0 ", "0.24.0 ") + NONE.format(VLLM), "for this Python", "interpreter"),
        ("ERROR: Package 'x' requires a different Python: 3.9.2 not in '>=3.10'\n", "for this Python", "interpreter"),
        ("RuntimeError: flash_attn: nvcc was not found\nerror: subprocess-exited-with-error\n", "nvcc", "ready wheel"),
        ("ModuleNotFoundError: No module named 'torch'\nFailed to build x\n", "isolated", "--no-build-isolation"),
        ("error: externally-managed-environment\n", "PEP 668", "venv"),
        ("      Killed\n  ERROR: Failed building wheel for flash-attn\n", "memory", "MAX_JOBS"),
        ("ERROR: x-cp38-abi3-linux_x86_64.whl is not a supported wheel on this platform.\n", "another CPU", "pip"),
        (TLS + NONE.format("verl"), "certificate", "PIP_CERT"),
        ("NewConnectionError: Name or service not known\n" + NONE.format("verl"), "can't be reached", "network"),
        ("error: command '/usr/bin/g++' failed with exit code 1\n", "compiled on this host", "log"),
    ],
)  # fmt: skip
def test_the_cause(text, what, fix):
    found = failure.explain_pip(text, 1)
    assert what in found[0] and fix in found[1], found


def test_a_pip_that_was_killed_says_so_whatever_it_printed_before():
    what, _ = failure.explain_pip("Building wheel\nerror: subprocess-exited-with-error\n", -9)
    assert "signal 9" in what
