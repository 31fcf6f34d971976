"""daemon.json: nobody's keys are lost, what can't be read isn't touched, and what takes effect how."""

import errno
import json
import os
from pathlib import Path

import pytest

NVIDIA = {"runtimes": {"nvidia": {"path": "nvidia-container-runtime", "args": []}}}
FOREIGN = {
    "log-driver": "local",
    "log-opts": {"max-size": "10m"},
    "data-root": "/data/docker",
    "exec-opts": ["native.cgroupdriver=cgroupfs"],
    "features": {"containerd-snapshotter": True},
    "registry-mirrors": ["https://mirror.example"],
    "runtimes": {"crun": {"path": "/usr/bin/crun"}},
    "default-address-pools": [{"base": "10.200.0.0/16", "size": 24}],
    "storage-driver": "overlay2",
    "max-concurrent-downloads": 6,
}


@pytest.fixture
def lib():
    """The functions under test."""
    from ansible.module_utils.verl_container import daemon_json

    return daemon_json


def test_ten_foreign_keys_are_kept(module, tmp_path):
    path = tmp_path / "daemon.json"
    path.write_text(json.dumps(FOREIGN))
    settings = {**NVIDIA, "registry-mirrors": ["https://ours.example"], "features": {"cdi": True}}
    answer = module("verl_daemon_json", {"path": str(path), "settings": settings, "ask_daemon": False})
    after = json.loads(path.read_text())
    assert answer["changed"]
    assert answer["changed_keys"] == ["features.cdi", "registry-mirrors", "runtimes"]
    assert after["registry-mirrors"] == ["https://mirror.example", "https://ours.example"]
    assert after["features"] == {"containerd-snapshotter": True, "cdi": True}
    assert after["runtimes"]["crun"] == {"path": "/usr/bin/crun"}
    for key in set(FOREIGN) - {"registry-mirrors", "features", "runtimes"}:
        assert after[key] == FOREIGN[key]
    assert json.loads(Path(answer["backup_file"]).read_text()) == FOREIGN
    again = module("verl_daemon_json", {"path": str(path), "settings": settings, "ask_daemon": False})
    assert not again["changed"]
    assert again["diff"]["before"] == again["diff"]["after"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"runtimes": {"nvidia": {', "not valid JSON"),
        ('{"a": 1,}', "line 1"),
        ("[1]", "needed is an object"),
        ("", "is empty"),
        (" \n", "is empty"),
        ('{"dns": ["10.0.0.1"], "dns": ["10.0.0.2"]}', "twice"),
        ('{"runtimes": {"a": {}, "a": {}}}', "twice"),
        ('{"mtu": NaN}', "NaN"),
        ("[" * 100000, "not valid JSON"),
        ("\xff\xfe".encode("latin-1"), "can't be read"),
    ],
)
def test_a_broken_file_is_refused_and_left_as_it_is(module, tmp_path, text, says):
    path = tmp_path / "daemon.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    before = path.read_bytes(), path.stat().st_mtime_ns
    answer = module("verl_daemon_json", {"path": str(path), "settings": NVIDIA, "ask_daemon": False})
    assert answer["failed"]
    assert says in answer["msg"]
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert [entry.name for entry in tmp_path.iterdir() if "daemon" in entry.name] == ["daemon.json"]


def test_a_file_without_settings_says_so(module, tmp_path):
    path = tmp_path / "daemon.json"
    path.write_text("{}\n")
    path.chmod(0o640)
    assert module("verl_daemon_json", {"path": str(path), "settings": NVIDIA, "ask_daemon": False})["changed"]
    assert json.loads(path.read_text()) == NVIDIA
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("written", range(3), ids=["nothing", "the backup", "all but its name on the disk"])
def test_a_full_disk_changes_nothing_and_is_named(module, tmp_path, monkeypatch, written):
    path = tmp_path / "daemon.json"
    path.write_text(json.dumps(FOREIGN))
    calls = []

    def fsync(_descriptor):
        calls.append(1)
        if len(calls) > (0, 2, 3)[written]:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    answer = module("verl_daemon_json", {"path": str(path), "settings": NVIDIA, "ask_daemon": False})
    if written < 2:
        assert answer["failed"]
        assert f"{path}" in answer["msg"]
        assert "No space left on device. What was there is as it was" in answer["msg"]
        assert answer["fix"].startswith(f"df -h {tmp_path}")
        assert json.loads(path.read_text()) == FOREIGN
    names = {entry.name for entry in tmp_path.iterdir()}
    backups = {name for name in names if name.endswith("~")}
    assert (len(backups), names - backups) == (min(written, 1), {"daemon.json"})


def test_check_mode_writes_nothing_and_shows_the_difference(module, tmp_path):
    path = tmp_path / "docker" / "daemon.json"
    answer = module("verl_daemon_json", {"path": str(path), "settings": NVIDIA, "ask_daemon": False}, check=True)
    assert answer["changed"]
    assert "nvidia-container-runtime" in answer["diff"]["after"]
    assert not path.parent.exists()


def test_dockerd_itself_may_refuse(module, tmp_path, fake):
    fake("dockerd").says(["--validate"], err="unable to configure: unknown key hosts2\n", rc=1)
    path = tmp_path / "daemon.json"
    path.write_text("{}")
    answer = module("verl_daemon_json", {"path": str(path), "settings": {"hosts2": 1}, "ask_daemon": False})
    assert answer["failed"]
    assert "hosts2" in answer["msg"]
    assert path.read_text() == "{}"


def test_an_old_dockerd_that_does_not_know_validate_is_no_refusal(module, tmp_path, fake):
    fake("dockerd").says(["--validate"], err="unknown flag: --validate\n", rc=125)
    path = tmp_path / "daemon.json"
    assert module("verl_daemon_json", {"path": str(path), "settings": NVIDIA, "ask_daemon": False})["changed"]


@pytest.mark.parametrize(
    ("keys", "engine", "late"),
    [
        (["runtimes", "default-runtime", "live-restore", "registry-mirrors", "insecure-registries"], "20.10.24", []),
        (["features.cdi"], "26.1.5", ["features.cdi"]),
        (["features.cdi"], "28.1.1", ["features.cdi"]),
        (["features.cdi"], "28.2.2", []),
        (["features.cdi"], None, ["features.cdi"]),
        (["features.buildkit"], "26.1.5", []),
        (["exec-opts", "data-root", "runtimes"], "29.0.0", ["exec-opts", "data-root"]),
    ],
)
def test_what_a_reload_does_not_reach(lib, keys, engine, late):
    assert lib.needs_restart(keys, engine) == late


def test_a_change_that_an_interrupted_run_wrote_is_pending(module, tmp_path, fake, recorded):
    info = recorded("docker-20.10/info.json")
    fake("docker").says(["info"], out=info)
    path = tmp_path / "daemon.json"
    path.write_text(json.dumps(NVIDIA))
    answer = module("verl_daemon_json", {"path": str(path), "settings": NVIDIA})
    assert not answer["changed"]
    assert (answer["pending_keys"], answer["action"]) == (["runtimes"], "reload")


def test_a_file_that_nobody_vouches_for_is_read_again(module, tmp_path, fake, recorded):
    info = recorded("docker-20.10/info.json")
    info["Runtimes"]["nvidia"] = NVIDIA["runtimes"]["nvidia"]
    fake("docker").says(["info"], out=info)
    path = tmp_path / "daemon.json"
    module("verl_daemon_json", {"path": str(path), "settings": NVIDIA})
    args = {"path": str(path), "settings": NVIDIA}
    assert not module("verl_daemon_json", args)["reload"]
    assert module("verl_daemon_json", {**args, "settled": False})["reload"]
    assert not module("verl_daemon_json", {"path": str(path), "settled": False})["reload"]  # nothing is wanted


def test_what_the_daemon_shows_is_not_pending(lib, recorded):
    info = recorded("docker-20.10/info.json")
    info["Runtimes"]["nvidia"] = {"path": "nvidia-container-runtime"}
    info["RegistryConfig"]["Mirrors"] = ["https://m.example/"]
    info["LiveRestoreEnabled"] = True
    wanted = {**NVIDIA, "registry-mirrors": ["https://m.example"], "live-restore": True}
    assert lib.pending(wanted, info) == []
    assert lib.pending({"insecure-registries": ["10.0.0.1:5000"]}, info) == ["insecure-registries"]
    info["RegistryConfig"]["IndexConfigs"]["10.0.0.1:5000"] = {"Secure": False}
    assert lib.pending({"insecure-registries": ["10.0.0.1:5000"]}, info) == []
    assert lib.pending({"features": {"cdi": True}}, info) == []  # 20.10 has no CDI to wait for


def test_merging_is_idempotent_and_never_loses_a_key(lib):
    from hypothesis import given
    from hypothesis import strategies as st

    values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
        max_leaves=8,
    )
    objects = st.dictionaries(st.text(max_size=2), values, max_size=4)

    @given(objects, objects)
    def check(have, want):
        once = lib.merge(have, want)
        assert set(once) == set(have) | set(want)
        assert lib.merge(once, want) == once
        assert all(once[key] == have[key] for key in set(have) - set(want))

    check()
