"""verl_sif with an apptainer that writes down how it was called."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.catalog.registry_server import Registry

REPOSITORY = Path(__file__).resolve().parents[3]

DIGEST = "sha256:" + "a" * 64
APPTAINER = """#!/bin/sh
echo "$@" >>"$CALLS"
env | grep -E '^APPTAINER_' | sort >"$CALLS.env"
for word; do target=$last; last=$word; done
case $(cat "$CALLS.fails" 2>/dev/null) in
  "") echo image >"$target" ;;
  once) rm "$CALLS.fails"; echo "FATAL: received 503 from the registry" >&2; exit 255 ;;
  *) cat "$CALLS.fails" >&2; exit 255 ;;
esac
"""


@pytest.fixture
def sif(module, tmp_path, monkeypatch):
    """Pull into a file; returns the module's answer."""
    program = tmp_path / "bin/apptainer"
    program.parent.mkdir()
    program.write_text(APPTAINER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))

    def run(check=False, **more):
        args = {"file": str(tmp_path / "verl/images/x.sif"), "name": "docker.io/verlai/verl:x", "digest": DIGEST,
                "delay": 0, **more}  # fmt: skip
        return module("verl_sif", args, check=check)

    run.file = tmp_path / "verl/images/x.sif"
    run.calls = lambda: (tmp_path / "calls").read_text().splitlines() if (tmp_path / "calls").exists() else []
    run.fails = (tmp_path / "calls.fails").write_text
    run.environment = lambda: (tmp_path / "calls.env").read_text()
    return run


def test_a_digest_is_pulled_once_and_what_was_downloaded_is_cleared(sif):
    assert sif(check=True)["changed"]
    assert not sif.file.parent.exists()
    assert sif()["changed"]
    scratch = sif.file.parent / ".tmp"
    assert sif.calls() == [f"pull --force {scratch}/new.sif docker://docker.io/verlai/verl@{DIGEST}"]
    assert f"APPTAINER_CACHEDIR={sif.file.parent}/.cache" in sif.environment()
    assert sif.file.read_text() == "image\n"
    assert sorted(os.listdir(sif.file.parent)) == ["x.sif", "x.sif.json", "x.sif.lock"]
    assert json.loads((sif.file.parent / "x.sif.json").read_text())["digest"] == DIGEST
    assert not sif()["changed"]
    assert len(sif.calls()) == 1


def test_another_digest_replaces_the_file(sif):
    sif()
    assert sif(digest="sha256:" + "b" * 64)["changed"]
    assert len(sif.calls()) == 2


def test_a_tag_without_digest_a_mirror_and_plain_http(sif):
    assert sif(digest="", pull_ref="mirror:5000/verlai/verl:x", plain_http=True)["changed"]
    assert sif.calls()[0].startswith("pull --force --no-https ")
    assert sif.calls()[0].endswith(" docker://mirror:5000/verlai/verl:x")
    assert not sif(digest="")["changed"]


def test_an_error_that_passes_is_tried_again_and_another_is_told(sif):
    sif.fails("once")
    assert sif()["changed"]
    assert len(sif.calls()) == 2
    sif.fails("FATAL: manifest unknown")
    refused = sif(digest="sha256:" + "b" * 64)
    assert refused["failed"]
    assert "manifest unknown" in refused["msg"]
    assert len(sif.calls()) == 3
    # The old file stays, but nobody takes it for the wanted one.
    assert sif.file.exists()
    sif.fails("")
    assert sif(digest="sha256:" + "b" * 64)["changed"]


def test_a_password_is_in_no_argument(sif):
    sif(registry_logins=[{"key": "docker.io", "value": {"username": "me", "password": "canary"}}])
    assert "canary" not in " ".join(sif.calls())
    assert "APPTAINER_DOCKER_PASSWORD=canary" in sif.environment()


def test_too_little_disk_is_refused_before_anything_is_fetched(sif):
    refused = sif(size_gb=1e9)
    assert refused["failed"]
    assert "needed 1500000000.0 GB" in refused["msg"]
    assert sif.calls() == []


def test_without_apptainer_the_next_step_is_named(sif):
    refused = sif(command="no-apptainer-here")
    assert "no-apptainer-here is not installed" in refused["msg"]
    assert "administrator" in refused["fix"]


def test_a_pull_that_runs_is_looked_at_from_outside(sif):
    assert sif(phase="look") == {**sif(phase="look"), "changed": False, "pulling": False}
    folder = sif.file.parent
    (folder / ".cache").mkdir(parents=True)
    (folder / ".cache/layer").write_bytes(b"x" * 2_500_000)
    (folder / ".tmp/rootfs").mkdir(parents=True)
    (folder / ".tmp/rootfs/a").write_bytes(b"x" * 7_000_000)
    (folder / ".tmp/squashfs-1").write_bytes(b"x" * 1_200_000)
    with (folder / "x.sif.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        seen = sif(phase="look", wait_seconds=0)
    assert seen["pulling"] is True
    assert seen["progress"] == "2.5 MB downloaded, 7.0 MB unpacked, 1.2 MB of the file written"
    assert sif.calls() == []


def test_a_play_pulls_in_the_background_and_waits_for_the_answer(sif):
    program = Path(sys.executable).parent / "ansible"
    args = {"file": str(sif.file), "name": "docker.io/verlai/verl:x", "digest": DIGEST, "delay": 0, "wait_seconds": 1}
    done = subprocess.run(
        [program, "localhost", "-m", "verl_sif", "-a", json.dumps(args)],
        cwd=REPOSITORY,
        env={**os.environ, "ANSIBLE_ASYNC_DIR": str(sif.file.parents[2] / "jobs")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "CHANGED" in done.stdout, done.stdout + done.stderr
    assert sif.file.read_text() == "image\n"
    assert list((sif.file.parents[2] / "jobs").iterdir()) == []


def test_another_hosts_digest_is_asked_for_from_here(sif):
    with Registry(auth=None) as server:
        right = server.add("verlai/verl:x")
        args = {"pull_ref": f"{server.base}/verlai/verl:x", "confirm_digest": True}
        answer = sif(**args)
        assert answer["failed"] and right in answer["msg"] and "verl_image=" in answer["fix"]
        assert sif.calls() == []
        assert sif(**args, **{"digest": right})["changed"]
