"""Podman, and that looking at it makes no store for a user who has none."""

import json

import pytest
from ansible.module_utils.verl_probes import podman, toolkit
from ansible.module_utils.verl_probes.command import Result

from .recorded import RecordedHost

USER = {"name": "ops", "uid": 1000, "home": "/home/ops", "root": False, "sudo": "none", "docker_group": False}
CONTAINER = {"Id": "a" * 64, "Names": ["verl"], "State": "running", "Image": "docker.io/verlai/verl:vllm024.latest"}
INSPECTED = {
    "Id": "a" * 64,
    "Name": "verl",
    "Image": "c" * 64,
    "State": {"Running": True, "Pid": 4242, "StartedAt": "2026-11-23T10:00:01Z"},
    "Config": {"Image": CONTAINER["Image"], "Cmd": ["sleep", "infinity"], "Entrypoint": None, "Env": ["A=b"]},
    "HostConfig": {"ShmSize": 65536, "CapAdd": ["CAP_SYS_ADMIN"]},
}
IMAGES = [
    {
        "Id": "c" * 64,
        "Names": [CONTAINER["Image"]],
        "RepoDigests": ["docker.io/verlai/verl@sha256:" + "d" * 64],
        "Size": 24_300_000_000,
    },
    {"Id": "e" * 64, "Names": ["docker.io/library/debian:12"], "RepoDigests": [], "Size": 1},
    {"Id": "f" * 64, "Names": None, "RepoDigests": None, "Size": 1},
]


class Host(RecordedHost):
    def __init__(self, store, answers):
        super().__init__("no_gpu")
        self.store, self.answers, self.asked = store, answers, []

    def which(self, name, path=None):
        return "/usr/bin/" + name

    def exists(self, path):
        return self.store and path.endswith("containers/storage")

    def read(self, path, limit=65536):
        return "root:1:2\nops:100000:65536" if path.endswith(("subuid", "subgid")) else None

    def run(self, argv, timeout=None, env=None):
        self.asked.append(argv[1])
        return Result(argv, rc=0, stdout=self.answers[argv[1]])


def test_a_user_without_a_store_is_not_given_one():
    host, facts = Host(False, {"--version": "podman version 5.4.2\n"}), podman.empty()
    assert podman.probe(host, USER, facts) == ([], None, None, [])
    assert facts == {
        "installed": True, "version": "5.4.2", "rootless": True, "subids": True, "running": [],
        "root_dir": "/home/ops/.local/share/containers/storage",
    }  # fmt: skip
    assert host.asked == ["--version"]


def test_images_and_our_container():
    answers = {
        "--version": "podman version 5.4.2\n",
        "ps": json.dumps([CONTAINER]),
        "inspect": json.dumps([INSPECTED]),
        "images": json.dumps(IMAGES),
    }
    facts = podman.empty()
    images, container, _ray, _kept = podman.probe(Host(True, answers), USER, facts)
    assert [item["name"] for item in facts["running"]] == ["verl"]
    assert (container["engine"], container["running"], container["processes"]) == ("podman", True, [])
    assert len(images) == 1 and images[0]["digests"] == ["sha256:" + "d" * 64] and images[0]["size_gb"] == 24.3


def test_what_was_replaced_and_kept_is_told():
    kept, own = "b" * 64, "d" * 64
    rows = [
        {"Id": kept, "Names": [f"verl-before-{kept[:12]}"], "State": "exited"},
        {"Id": own, "Names": ["verl-before-mine"], "State": "exited"},
    ]
    answers = {"--version": "podman version 5.4.2\n", "ps": json.dumps(rows), "images": "[]"}
    found = podman.probe(Host(True, answers), USER, podman.empty())[3]
    assert found == [{"engine": "podman", "name": f"verl-before-{kept[:12]}", "id": kept}]


@pytest.mark.parametrize(
    ("files", "store"),
    [
        ({}, "/home/ops/.local/share/containers/storage"),
        ({"/home/ops/.config/containers/storage.conf": 'graphroot = "/data/$USER/store"\n'}, "/data/ops/store"),
        ({"/etc/containers/storage.conf": 'rootless_storage_path = "/scratch/$UID"\n'}, "/scratch/1000"),
        ({"/etc/containers/storage.conf": 'graphroot = "/var/x"\n# rootless_storage_path = "/no"\n'},
         "/home/ops/.local/share/containers/storage"),
    ],
)  # fmt: skip
def test_where_the_store_is(files, store, monkeypatch):
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    host, facts = Host(False, {"--version": "podman version 5.4.2\n"}), podman.empty()
    real, host.file = host.read, lambda path: path
    host.read = lambda path, limit=65536: files.get(path) or real(path, limit)
    podman.probe(host, USER, facts)
    assert facts["root_dir"] == store


@pytest.mark.parametrize("output", ["", "null", "[]", "not json", "[1]"])
def test_odd_listings(output):
    answers = {"--version": "podman version 5.4.2\n", "ps": output, "images": output}
    assert podman.probe(Host(True, answers), USER, podman.empty()) == ([], None, None, [])


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ('[nvidia-container-runtime]\nlog-level = "info"\nmode = "cdi"\n[nvidia-container-runtime.modes]\n', "cdi"),
        ('[other]\nmode = "legacy"\n', None),
        ('[nvidia-container-runtime]\n#mode = "auto"\n', None),
        (None, None),
    ],
)
def test_toolkit_mode(config, expected):
    assert toolkit.mode(config) == expected
