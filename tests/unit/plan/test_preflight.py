"""What a plan fetches, and what the answers do to it."""

import copy

import pytest

from verl_provision.plan import preflight

FINGERPRINT = "C95B321B61E88C1809C4F759DDCAE044F796ECB0"


def gpu_host(digest=None):
    """A host that fetches everything."""
    return {
        "ok": True,
        "image": {"ref": "verlai/verl:x", "pull_ref": "mirror:5000/verlai/verl:x", "digest": digest},
        "errors": [],
        "steps": {
            "docker_engine": {"args": {"registry_mirrors": ["https://m.example"]}},
            "nvidia_container_toolkit": {
                "args": {"version": "1.20.0", "mirror": "https://n.example/l/", "key_fingerprint": FINGERPRINT}
            },
            "container_image": {"key": "k", "args": {"ref": "verlai/verl:x", "digest": digest}},
            "verl_checkout": {"args": {"repo": "https://g.example/verl.git", "version": "v0.9.0"}},
            "training_container": {"args": {"image": "verlai/verl:x" + (f"@{digest}" if digest else "")}},
        },
    }


def cpu_host():
    """A host with the source environment."""
    args = {"method": "pypi", "verl_version": "0.9.0", "torch": "2.11.0+cpu", "torch_index": "https://t.example/cpu"}
    return {"ok": True, "errors": [], "steps": {"source_environment": {"args": args}}}


@pytest.fixture
def fleet():
    """Two GPU hosts, one without, one healthy, one refused."""
    return {
        "hosts": {
            "healthy": {"ok": True, "steps": {}, "errors": []},
            "refused": {"ok": False, "steps": gpu_host()["steps"], "errors": [{"rule": "driver_state"}]},
            "gpu-1": gpu_host(),
            "gpu-2": gpu_host(),
            "cpu": cpu_host(),
        },
        "machines": {"gpu-1": {"arch": "x86_64"}, "gpu-2": {"arch": "x86_64"}, "cpu": {"arch": "aarch64"}},
    }


def test_a_manager_that_will_be_fetched_is_asked_for():
    host = cpu_host()
    args = host["steps"]["source_environment"]["args"]
    args["manager_download"] = {"name": "uv", "version": "0.12.1", "url": "https://d.example/uv.tar.gz", "package": {}}
    args["downloads_mirror"] = "https://mirror.example/files/"
    asked = preflight.requests_for({"hosts": {"cpu": host}})
    found = next(request for request in asked if request["kind"] == "manager")
    assert (found["name"], found["version"], found["package"]) == ("uv", "0.12.1", False)
    assert found["url"] == "https://mirror.example/files/uv.tar.gz"
    args["manager_download"] = {}
    assert "manager" not in [request["kind"] for request in preflight.requests_for({"hosts": {"cpu": host}})]


def answer_all(fleet, ok=True, **data):
    """Answers to every request of the first batch."""
    return {
        "answers": [
            {
                "id": request["id"],
                "kind": request["kind"],
                "ok": ok,
                "found": "f",
                "needed": "n",
                "fix": "x",
                "data": data,
            }
            for request in preflight.batches(fleet)[0]["requests"]
        ]
    }


def test_each_thing_is_asked_for_once(fleet):
    requests = preflight.requests_for(fleet)
    kinds = [request["kind"] for request in requests]
    assert kinds == ["registry_manifest", "gpg_key", "apt_package", "git_ref", "pypi", "pypi"]
    assert [request["hosts"] for request in requests[:4]] == [["gpu-1", "gpu-2"]] * 4
    manifest, key, packages, git, verl, torch = requests
    assert manifest["ref"] == "mirror:5000/verlai/verl:x"
    assert manifest["mirrors"] == ["https://m.example"]
    assert key["url"] == "https://n.example/l/gpgkey"
    assert packages["url"] == "https://n.example/l/stable/deb/amd64"
    assert {package["version"] for package in packages["packages"]} == {"1.20.0-1"}
    assert len(packages["packages"]) == 4
    assert git["version"] == "v0.9.0"
    assert (verl["name"], verl["version"], verl["indexes"]) == ("verl", "0.9.0", [None])
    assert (torch["version"], torch["indexes"]) == ("2.11.0", ["https://t.example/cpu", None])


def test_a_fleet_that_fetches_nothing_asks_nothing():
    assert preflight.batches({"hosts": {"a": {"ok": True, "steps": {}}}}) == []
    assert preflight.batches({"hosts": {}}) == []


def test_the_first_host_that_fetches_asks(fleet):
    batches = preflight.batches(fleet)
    assert [(batch["host"], len(batch["requests"])) for batch in batches] == [("gpu-1", 4), ("cpu", 2)]
    assert "hosts" not in batches[0]["requests"][0]


def test_digests_are_filled_in_everywhere_and_keys_stay(fleet):
    before = copy.deepcopy(fleet)
    after = preflight.apply_answers(fleet, answer_all(fleet, digest="sha256:7"))
    assert fleet == before
    for name in ("gpu-1", "gpu-2"):
        plan = after["hosts"][name]
        assert plan["ok"]
        assert plan["image"]["digest"] == "sha256:7"
        assert plan["steps"]["container_image"]["args"]["digest"] == "sha256:7"
        assert plan["steps"]["container_image"]["key"] == "k"
        assert plan["steps"]["training_container"]["args"]["image"] == "verlai/verl:x@sha256:7"


def test_a_known_digest_is_not_written_twice(fleet):
    fleet["hosts"] = {"gpu-1": gpu_host("sha256:7")}
    after = preflight.apply_answers(fleet, answer_all(fleet, digest="sha256:7"))
    assert after["hosts"]["gpu-1"]["steps"]["training_container"]["args"]["image"] == "verlai/verl:x@sha256:7"


def test_everything_that_is_missing_is_said_at_once_on_the_hosts_that_need_it(fleet):
    after = preflight.apply_answers(fleet, answer_all(fleet, ok=False))
    for name in ("gpu-1", "gpu-2"):
        assert not after["hosts"][name]["ok"]
        assert [error["rule"] for error in after["hosts"][name]["errors"]] == [
            "preflight_registry_manifest", "preflight_gpg_key", "preflight_apt_package", "preflight_git_ref",
        ]  # fmt: skip
    assert set(after["hosts"]["gpu-1"]["errors"][0]) == {"rule", "found", "needed", "where", "fix"}
    assert after["hosts"]["cpu"]["ok"]
    assert after["hosts"]["healthy"]["ok"]
    assert len(after["hosts"]["refused"]["errors"]) == 1


@pytest.mark.parametrize(
    "result", [{"failed": True, "msg": "no python"}, {"unreachable": True, "msg": "timed out"}, {}]
)
def test_a_batch_that_fails_as_a_whole_refuses_its_hosts_only(fleet, result):
    fleet["preflight"] = preflight.batches(fleet)
    after = preflight.apply_answers(fleet, result)
    assert [name for name, plan in after["hosts"].items() if not plan["ok"]] == ["refused", "gpu-1", "gpu-2"]
    assert after["hosts"]["gpu-1"]["errors"][0]["found"].startswith("gpu-1 could not ask: ")
    assert "--limit" in after["hosts"]["gpu-1"]["errors"][0]["fix"]
    cpu = {"answers": [{"id": r["id"], "ok": True, "data": {}} for r in fleet["preflight"][1]["requests"]]}
    assert preflight.apply_answers(after, cpu)["hosts"]["cpu"]["ok"]


@pytest.mark.parametrize(("version", "asked"), [("", ""), ("26.1.4", "5:26.1.4*")])
def test_dockers_own_repository_is_asked_for_its_key_and_packages(version, asked):
    args = {"source": "docker", "version": version, "mirror_apt": "https://d.example/linux/", "key_fingerprint": "9D"}
    plan = {"ok": True, "errors": [], "steps": {"docker_engine": {"args": args}}}
    machine = {"arch": "aarch64", "os": "debian", "codename": "trixie", "docker": False}
    key, packages = preflight.requests_for({"hosts": {"bare": plan}, "machines": {"bare": machine}})
    assert (key["url"], key["fingerprint"]) == ("https://d.example/linux/debian/gpg", "9D")
    assert packages["url"] == "https://d.example/linux/debian/dists/trixie/stable/binary-arm64"
    wanted = {package["name"]: package["version"] for package in packages["packages"]}
    assert wanted == {"docker-ce": asked, "docker-ce-cli": asked, "containerd.io": "", "docker-buildx-plugin": ""}
    fleet = {"hosts": {"bare": plan}, "machines": {"bare": machine}}
    after = preflight.apply_answers(fleet, answer_all(fleet, ok=False))["hosts"]["bare"]
    assert [error["where"] for error in after["errors"]] == ["verl_mirror_apt"] * 2


@pytest.mark.parametrize(
    ("args", "machine"), [({"source": "distro"}, {"docker": False}), ({"source": "docker"}, {"docker": True})]
)
def test_an_engine_that_is_there_or_the_distributions_needs_no_repository_of_dockers(args, machine):
    plan = {"ok": True, "errors": [], "steps": {"docker_engine": {"args": args}}}
    assert preflight.requests_for({"hosts": {"bare": plan}, "machines": {"bare": machine}}) == []
