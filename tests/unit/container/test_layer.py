"""verl_container.layer: what of a container's own layer is somebody's work."""

import os

import pytest
from ansible.module_utils.verl_container import layer

from .conftest import RECORDED

MOUNTS = ["/workspace/verl", "/root/data"]


@pytest.mark.parametrize(
    "path",
    [
        "/root/notes.txt",
        "/root/.netrc",
        "/root/.ssh/config",
        "/root/.bash_history",
        "/root/.cache/huggingface/hub/models--x/blobs/1",
        "/data/train.parquet",
        "/workspace/other/x",
        "/opt/venv/bin/python",
        "/usr/local/lib/python3.11/site-packages/nvidia/nccl/lib/libnccl.so.2",
        "/usr/local/lib/python3.11/dist-packages/verl_extras/x.py",
        "/usr/local/lib/python3.11/dist-packages/wandb-0.1.dist-info/RECORD",
        "/usr/local/bin/cudabench-results/x",
        "/etc/vim/vimrc",
        "/var/lib/mysql/x",
        "/tmpfoo/x",
    ],
)
def test_this_is_work(path):
    assert layer.users(layer.changed(f"A {path}\n"), MOUNTS) == [path]


@pytest.mark.parametrize(
    "path",
    [
        "/tmp/ray/session/x",
        "/run/secrets/x",
        "/var/lib/apt/lists/x",
        "/var/log/dpkg.log",
        "/root/.cache/pip/x",
        "/root/.cache/vllm/torch_compile_cache/x",
        "/root/.triton/cache/x",
        "/usr/lib/python3/dist-packages/torch/__pycache__/x.pyc",
        "/usr/lib/python3/dist-packages/__editable___verl_0_9_1_finder.py",
        "/usr/local/lib/python3.11/site-packages/__editable__.verl-0.9.1.pth",
        "/usr/local/lib/python3.11/site-packages/verl-0.9.1.dist-info/RECORD",
        "/usr/lib/x86_64-linux-gnu/libcuda.so.1",
        "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.580.95.05",
        "/usr/bin/nvidia-smi",
        "/etc/ld.so.cache",
        "/etc/vulkan/icd.d/nvidia_icd.json",
        "/workspace",
        "/workspace/verl",
        "/workspace/verl/x",
        "/root/data",
    ],
)
def test_this_is_not(path):
    assert layer.users(layer.changed(f"A {path}\n"), MOUNTS) == []


def test_what_a_real_container_has_after_our_installation_and_a_start_with_gpus_is_nobodys():
    """Of the lab's gpu-580: toolkit 1.20.0, verl 0.9.1 installed by `pip install -e`, verified."""
    said = (RECORDED / "docker-26.1/diff-untouched.txt").read_text()
    assert layer.users(layer.changed(said), ["/workspace/verl"]) == []


@pytest.mark.parametrize(
    ("name", "work"), [("untouched", ["/etc"]), ("used", ["/bin", "/etc", "/opt/new", "/root/notes.txt"])]
)
def test_what_real_podman_says_of_a_container_with_mounts(name, work):
    """Of Podman 4.3, with an image without /etc; folders of their own are left out later, by asking what they are."""
    said = (RECORDED / f"podman-4.3/diff-{name}.txt").read_text()
    assert layer.users(layer.changed(said), MOUNTS) == work


def test_folders_of_changed_paths_and_deletions_are_nothing_of_their_own():
    said = "C /root\nA /root/a\nA /root/a/b\nD /opt/gone\nC /etc\nC /etc/hosts\nnonsense\n"
    assert layer.changed(said) == ["/root/a/b", "/etc/hosts"]


def test_a_folder_that_root_makes_for_a_user_is_the_users(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(os, "chown", lambda path, uid, gid: made.append((path, uid)))
    monkeypatch.setattr(os, "getuid", lambda: 0)
    os_stat = os.stat
    monkeypatch.setattr(os, "stat", lambda path, **more: type("S", (), {
        "st_uid": 1000, "st_gid": 1000, "st_mode": os_stat(path, **more).st_mode})())  # fmt: skip
    layer.make_folder(f"{tmp_path}/home/verl")
    assert made == [(f"{tmp_path}/home", 1000), (f"{tmp_path}/home/verl", 1000)]
