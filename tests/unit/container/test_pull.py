"""Reading progress, joining a pull, and which errors are worth another try."""

import json
import time

import pytest

from tests.unit.catalog.registry_server import Registry

DOCKER = (
    "vllm024.latest: Pulling from verlai/verl\r\n"
    "\x1b[1A\x1b[2K\r8f14c3f9a2b1: Pulling fs layer \r\x1b[1B\x1b[1A\x1b[2K\r9aa0c3f9a2b1: Waiting \r\x1b[1B"
    "\x1b[1A\x1b[2K\r8f14c3f9a2b1: Downloading [=====>          ]  12.58MB/125.8MB\r\x1b[1B"
    "\x1b[1A\x1b[2K\r9aa0c3f9a2b1: Downloading [=>              ]  1.024kB/2.048kB\r\x1b[1B"
)


@pytest.fixture
def lib():
    """The functions under test."""
    from ansible.module_utils.verl_container import pull

    return pull


def test_dockers_progress_in_bytes(lib):
    progress = lib.Progress()
    progress.feed(DOCKER)
    assert progress.sums() == {"bytes": 12_581_024, "total": 125_802_048, "unpacked": 0, "layers": 2, "layers_done": 0}
    progress.feed("\r8f14c3f9a2b1: Extracting [==>     ]  33.42MB/125.8MB\r\n9aa0c3f9a2b1: Download complete\r\n")
    assert (progress.sums()["bytes"], progress.sums()["unpacked"]) == (125_802_048, 33_420_000)
    progress.feed("8f14c3f9a2b1: Pull complete\r\n9aa0c3f9a2b1: Pull complete\r\n")
    assert progress.sums()["layers_done"] == 2


def test_podmans_progress_in_bytes(lib):
    progress = lib.Progress()
    progress.feed("Copying blob 8f14c3f9a2b1 [=====>---------------------------------] 12.0MiB / 120.0MiB\r\n")
    assert progress.sums() == {"bytes": 12_000_000, "total": 120_000_000, "unpacked": 0, "layers": 1, "layers_done": 0}


@pytest.mark.parametrize(
    ("said", "final"),
    [
        ("Error response from daemon: manifest unknown: manifest unknown", True),
        ("Error response from daemon: manifest for a/b:c not found: manifest unknown", True),
        ("Error response from daemon: pull access denied for a/b, repository does not exist", True),
        ("failed to register layer: Error processing tar file(exit status 1): no space left on device", True),
        ("toomanyrequests: You have reached your pull rate limit", False),
        ("received unexpected HTTP status: 503 Service Unavailable", False),
        ("Get https://x/v2/: net/http: TLS handshake timeout", False),
        ("dial tcp 10.0.0.1:5000: connect: connection refused", False),
        ("read: connection reset by peer", False),
        ("unexpected EOF", False),
    ],
)
def test_which_errors_are_worth_another_try(lib, said, final):
    assert lib.permanent(said) is final


def test_a_line_for_people(lib):
    job = {"bytes": 3.2e9, "total": 18.4e9, "layers": 30, "layers_done": 4, "started": 1000.0, "attempt": 2}
    text = lib.line(job, now=1100.0)
    assert text == "3.2 GB of 18.4 GB downloaded (32.0 MB/s), 0 B unpacked, 4 of 30 layers done, try 2"
    waiting = {"state": "waiting", "until": 1112.0, "attempt": 1, "attempts": 5, "error": "503"}
    assert lib.line(waiting, now=1100.0) == "waits 12 s before try 2 of 5: 503"


def test_passing_errors_are_tried_again_with_growing_pauses(lib, fake, tmp_path):
    docker = fake("docker")
    docker.says(["pull"], out="503 Service Unavailable\n", rc=1, times=2).says(["pull"], out="Digest: sha256:1\n")
    pauses = []
    job = lib.pull("docker", "a/b@sha256:1", str(tmp_path / "job.json"), delay=10, sleep=pauses.append)
    assert (job["state"], job["attempt"]) == ("ok", 3)
    assert 5 <= pauses[0] <= 15
    assert 10 <= pauses[1] <= 30


def test_hopeless_errors_are_not(lib, fake, tmp_path):
    docker = fake("docker").says(["pull"], out="Error response from daemon: manifest unknown\n", rc=1)
    job = lib.pull("docker", "a/b@sha256:1", str(tmp_path / "job.json"), sleep=lambda _: None)
    assert (job["state"], len(docker.called("pull"))) == ("failed", 1)
    assert "manifest unknown" in job["error"]


DIGEST = "sha256:" + "7" * 64
IMAGE = [{"Id": "sha256:1", "RepoDigests": [f"mirror:5000/verlai/verl@{DIGEST}"], "Size": 2_000_000_000}]
ARGS = {"name": "verlai/verl:x", "pull_ref": "mirror:5000/verlai/verl:x", "digest": DIGEST}


def test_an_image_that_is_there_is_not_pulled(module, fake):
    docker = fake("docker").says(["images"]).says(["image", "inspect", "verlai/verl:x"], out=IMAGE)
    answer = module("verl_image", ARGS)
    assert not answer["changed"]
    assert answer["image"]["size_gb"] == 2.0
    assert not docker.called("pull")


def test_an_image_under_another_name_is_only_tagged(module, fake):
    docker = fake("docker").says(["images"])
    docker.says(["image", "inspect", "verlai/verl:x"], err="Error: No such image", rc=1, times=1)
    docker.says(["image", "inspect", f"mirror:5000/verlai/verl@{DIGEST}"], out=IMAGE).says(["tag"])
    docker.says(["image", "inspect", "verlai/verl:x"], out=IMAGE)
    answer = module("verl_image", ARGS)
    assert answer["changed"]
    assert docker.called("tag") == [["tag", "sha256:1", "verlai/verl:x"]]
    assert not docker.called("pull")


def test_an_image_that_came_from_another_mirror_is_only_tagged(module, fake):
    docker = fake("docker").says(["images"], out=f"<none> sha256:0\n{DIGEST} sha256:1\n").says(["tag"])
    docker.says(["image", "inspect", "sha256:1"], out=IMAGE)
    docker.says(["image", "inspect", "verlai/verl:x"], err="Error: No such image", rc=1, times=1)
    docker.says(["image", "inspect", "verlai/verl:x"], out=IMAGE)
    assert module("verl_image", ARGS)["changed"]
    assert not docker.called("pull")


def test_it_is_pulled_by_digest_tagged_and_verified(module, fake, tmp_path):
    docker = fake("docker").says(["images"])
    docker.says(["image", "inspect", "verlai/verl:x"], err="Error: No such image", rc=1, times=2)
    for name in (f"mirror:5000/verlai/verl@{DIGEST}", f"verlai/verl@{DIGEST}"):
        docker.says(["image", "inspect", name], err="Error: No such image", rc=1, times=1)
    docker.says(["pull", f"mirror:5000/verlai/verl@{DIGEST}"], out=DOCKER)
    docker.says(["image", "inspect", f"mirror:5000/verlai/verl@{DIGEST}"], out=IMAGE).says(["tag"])
    docker.says(["image", "inspect", "verlai/verl:x"], out=IMAGE)
    answer = module("verl_image", {**ARGS, "job_dir": str(tmp_path / "jobs")})
    assert answer["changed"], answer
    assert len(docker.called("pull")) == 1


def test_another_hosts_digest_is_asked_for_from_here_before_anything_is_done(module, fake):
    """An image with that digest may be here already, under any name: that isn't enough."""
    docker = fake("docker").says(["images"], out=f"{DIGEST} sha256:1\n").says(["tag"])
    docker.says(["image", "inspect", "sha256:1"], out=IMAGE)
    with Registry(auth=None) as server:
        right = server.add("verlai/verl:x")
        args = {**ARGS, "pull_ref": f"{server.base}/verlai/verl:x", "confirm_digest": True}
        answer = module("verl_image", args)
        assert answer["failed"] and right in answer["msg"] and DIGEST in answer["msg"]
        assert "verl_image=" in answer["fix"]
        assert docker.called("tag") == docker.called("pull") == []
        docker.says(["image", "inspect", "verlai/verl:x"], out=[{"Id": "sha256:1", "RepoDigests": [f"v@{right}"]}])
        assert module("verl_image", {**args, "digest": right})["image"]["digest"] == right
    gone = module("verl_image", args)
    assert gone["failed"] and "can't be asked" in gone["msg"]


def test_an_image_that_does_not_match_afterwards_fails(module, fake, tmp_path):
    docker = fake("docker").says(["images"]).says(["pull"], out="Status: Downloaded\n")
    answer = module("verl_image", {**ARGS, "job_dir": str(tmp_path / "jobs")})
    assert answer["failed"]
    assert DIGEST in answer["msg"]
    assert not docker.called("tag")


def test_too_small_a_disk_is_refused_before_the_pull(module, fake, tmp_path):
    docker = fake("docker").says(["images"]).says(["info"], out={"DockerRootDir": str(tmp_path)})
    for check in (True, False):
        answer = module("verl_image", {**ARGS, "size_gb": 1e6, "job_dir": str(tmp_path / "jobs")}, check=check)
        assert answer["failed"]
        assert "1000002.0 GB needed" in answer["msg"]
    assert not docker.called("pull")


def test_check_mode_on_a_host_without_an_engine_plans_the_pull(module, fake):
    answer = module("verl_image", ARGS, check=True)
    assert answer["changed"]
    assert module("verl_image", ARGS)["failed"]


def test_a_running_pull_is_joined(module, fake, tmp_path, lib):
    import os

    docker = fake("docker").says(["images"]).says(["image", "inspect"], err="Error: No such image", rc=1)
    args = {**ARGS, "job_dir": str(tmp_path), "phase": "begin"}
    exact = f"mirror:5000/verlai/verl@{DIGEST}"
    import hashlib

    path = tmp_path / f"pull-{hashlib.sha256(exact.encode()).hexdigest()[:16]}.json"
    job = {"pid": os.getpid(), "pid_start": lib.process_start(os.getpid()), "state": "pulling", "started": time.time()}
    path.write_text(json.dumps({**job, "attempt": 1, "bytes": 5, "total": 10}))
    answer = module("verl_image", args)
    assert answer["pulling"]
    assert "5 B of 10 B" in answer["progress"]
    assert not docker.called("pull")


def test_a_job_of_a_process_that_died_is_started_anew(lib, tmp_path):
    path = tmp_path / "job.json"
    path.write_text(json.dumps({"pid": 1, "pid_start": -5, "state": "pulling"}))
    assert lib.read(str(path))["alive"] is False


LOGINS = [
    {"key": "other:5000", "value": {"username": "x", "password": "x"}},
    {"key": "mirror:5000", "value": {"username": "u", "password": "hunter2-canary"}},
]


def test_the_password_goes_in_by_standard_input_and_stays_nowhere(module, fake, tmp_path):
    docker = fake("docker").says(["images"]).says(["login"], err="Error: unauthorized: bad hunter2-canary", rc=1)
    args = {**ARGS, "registry_logins": LOGINS, "job_dir": str(tmp_path / "jobs")}
    answer = module("verl_image", args)
    assert answer["failed"]
    assert "hunter2-canary" not in json.dumps(answer)
    assert "hunter2-canary" not in json.dumps(docker.calls)
    assert docker.called("login") == [["login", "--username", "u", "--password-stdin", "mirror:5000"]]


def test_the_login_goes_away_with_the_pull(module, fake, tmp_path, monkeypatch):
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    docker = fake("docker").says(["images"]).says(["login"]).says(["pull"], out="unauthorized: no\n", rc=1)
    args = {**ARGS, "registry_logins": LOGINS, "job_dir": str(tmp_path / "jobs")}
    answer = module("verl_image", args)
    assert answer["failed"]
    assert len(docker.called("pull")) == 1
    deadline = time.time() + 5
    while list(tmp_path.glob("verl-login-*")) and time.time() < deadline:
        time.sleep(0.05)
    assert list(tmp_path.glob("verl-login-*")) == []
    assert "hunter2-canary" not in "".join(path.read_text() for path in (tmp_path / "jobs").iterdir())


FULL_OF_STATUSES = "sha256:5042942950342e8d8b5a2503e6f429a11d0c5042e7d8b4429bb03a1c9d0502e1"


@pytest.mark.parametrize(
    ("said", "final"),
    [
        (f"manifest for verlai/verl@{FULL_OF_STATUSES} not found: manifest unknown: manifest unknown", True),
        (f"failed to register layer: write /blobs/{FULL_OF_STATUSES}: no space left on device", True),
        ('Get "https://r.invalid/v2/": x509: certificate has expired or is not yet valid', True),
        ("unexpected status from HEAD request to https://r.invalid/v2/x/manifests/y: 403 Forbidden", True),
        ("toomanyrequests: You have reached your pull rate limit", False),
        ("received unexpected HTTP status: 503 Service Unavailable", False),
        (f"error pulling image: download failed for {FULL_OF_STATUSES}: unexpected EOF", False),
    ],
)
def test_a_digests_digits_are_no_status(said, final):
    from ansible.module_utils.verl_container import pull

    assert pull.permanent(said) is final
