"""Our container as facts."""

import pytest
from ansible.module_utils.verl_probes import container

LISTING = "PID PPID STAT COMMAND\n"


@pytest.mark.parametrize(
    ("rows", "pid", "command", "expected"),
    [
        ("100 1 Ss sleep\n", 100, ["sleep", "infinity"], []),
        ("100 1 Ss sleep\n101 1 S bash\n102 101 Sl python3\n103 101 Z python3\n", 100, ["sleep"], ["bash", "python3"]),
        # with --init the command is a child of the init
        ("100 1 Ss docker-init\n101 100 S sleep\n", 100, ["sleep", "infinity"], []),
        ("100 1 Ss tini\n101 100 S sleep\n150 100 S sleep\n", 100, ["/bin/sleep", "1"], []),
        ("100 1 Ss sleep\n200 1 S sleep\n", 100, ["sleep", "infinity"], ["sleep"]),
        ("", 100, [], []),
    ],
)
def test_processes(rows, pid, command, expected):
    assert container.processes(container.listed(LISTING + rows), pid, command) == expected


def test_a_spec_of_nothing():
    spec = container.spec({})
    assert spec["mounts"] == [] and spec["env"] == {} and spec["privileged"] is False


def test_a_spec_has_no_secrets():
    spec = container.spec(
        {
            "Config": {
                "Env": ["HF_TOKEN=hf_secret", "NVIDIA_VISIBLE_DEVICES=all", "ODD"],
                "Cmd": ["serve", "--api-key", "--token=abc123", "https://me:pw@example.org/x"],
            }
        }
    )
    assert spec["env"] == {"NVIDIA_VISIBLE_DEVICES": "all"} and spec["env_names"] == ["HF_TOKEN", "ODD"]
    text = str(spec)
    assert "hf_secret" not in text and "abc123" not in text and "me:pw" not in text


def test_podman_writes_its_fields_otherwise():
    spec = container.spec({"Config": {"Entrypoint": "/entry"}, "HostConfig": {"CapAdd": ["CAP_SYS_ADMIN"]}})
    assert spec["entrypoint"] == ["/entry"] and spec["cap_add"] == ["SYS_ADMIN"]
