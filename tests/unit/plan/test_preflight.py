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


D = "sha256:" + "7" * 64


def said(request, ok=True, **data):
    """One answer, as a host should give it."""
    plain = {"id": request["id"], "kind": request["kind"], "ok": ok, "found": "f", "needed": "n", "fix": "x"}
    return {**plain, "data": data}


def asking(fleet):
    """The fleet with its queue."""
    fleet["preflight"] = preflight.queue(fleet)
    return fleet


def answered(fleet, ok=True, controller=None, **data):
    """The fleet after every question: the controller's by `controller` (not reached where None), hosts' by `ok`."""
    fleet = fleet if "preflight" in fleet else asking(fleet)
    while fleet["preflight"]:
        batch = fleet["preflight"][0]
        if batch["controller"]:
            given = [controller(request) for request in batch["requests"]] if controller else []
        else:
            given = [said(request, ok, **data) for request in batch["requests"]]
        fleet = preflight.apply_answers(fleet, {"answers": given})
    return fleet


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


def test_the_controller_asks_for_images_and_the_first_host_that_fetches_for_all(fleet):
    queue = preflight.queue(fleet)
    assert [(batch["host"], batch["controller"], len(batch["requests"])) for batch in queue] == [
        ("gpu-1", True, 1), ("gpu-1", False, 4), ("cpu", False, 2),
    ]  # fmt: skip
    assert "hosts" not in queue[0]["requests"][0]
    assert preflight.queue({"hosts": {"a": {"ok": True, "steps": {}}}}) == preflight.queue({"hosts": {}}) == []


def test_hosts_with_another_proxy_or_login_ask_for_themselves(fleet):
    fleet["machines"]["gpu-2"]["access"] = 1
    queue = preflight.queue(fleet)
    assert [batch["host"] for batch in queue] == ["gpu-1", "gpu-2", "gpu-1", "gpu-2", "cpu"]
    after = answered(fleet, digest=D)
    assert "confirm_digest" not in str(after["hosts"])


def test_the_controllers_digest_is_filled_in_everywhere_and_keys_stay(fleet):
    before = copy.deepcopy(asking(fleet))
    after = preflight.apply_answers(fleet, {"answers": [said(fleet["preflight"][0]["requests"][0], digest=D)]})
    assert fleet == before
    for name in ("gpu-1", "gpu-2"):
        plan = after["hosts"][name]
        assert plan["ok"]
        assert plan["image"]["digest"] == D
        assert plan["steps"]["container_image"]["args"]["digest"] == D
        assert "confirm_digest" not in plan["steps"]["container_image"]["args"]
        assert plan["steps"]["container_image"]["key"] == "k"
        assert plan["steps"]["training_container"]["args"]["image"] == f"verlai/verl:x@{D}"
    asked = after["preflight"][0]["requests"][0]
    assert (asked["digest"], asked["known"]) == (D, True), "a host is only asked whether it gets there"


def test_what_the_controller_finds_missing_refuses_all_and_no_host_is_asked(fleet):
    asking(fleet)
    answer = said(fleet["preflight"][0]["requests"][0], ok=False, kind="missing")
    after = preflight.apply_answers(fleet, {"answers": [answer]})
    assert [after["hosts"][name]["ok"] for name in ("gpu-1", "gpu-2", "cpu")] == [False, False, True]
    assert "registry_manifest" not in [one["kind"] for batch in after["preflight"] for one in batch["requests"]]


@pytest.mark.parametrize("kind", ["unreachable", "denied", "limited", "odd", ""])
def test_what_the_controller_could_not_see_hosts_may(fleet, kind):
    after = answered(fleet, controller=lambda request: said(request, ok=False, kind=kind), digest=D)
    assert all(after["hosts"][name]["ok"] for name in ("gpu-1", "gpu-2"))
    first, second = (after["hosts"][name]["steps"]["container_image"]["args"] for name in ("gpu-1", "gpu-2"))
    assert first["digest"] == second["digest"] == D
    assert "confirm_digest" not in first
    assert second["confirm_digest"] is True, "it looks for itself before it pulls what another host said"


@pytest.mark.parametrize("pin", [D, "sha256:" + "8" * 64])
def test_a_pin_is_never_replaced(fleet, pin):
    fleet["hosts"] = {"gpu-1": gpu_host(pin), "gpu-2": gpu_host(pin)}
    after = answered(copy.deepcopy(fleet), digest=D)
    for name, plan in after["hosts"].items():
        assert plan["image"]["digest"] == plan["steps"]["container_image"]["args"]["digest"] == pin
        assert plan["steps"]["training_container"]["args"]["image"] == f"verlai/verl:x@{pin}"
        assert plan["ok"] is (pin == D or name == "gpu-2"), "a host that is given another one fails itself"
    by_controller = answered(fleet, controller=lambda request: said(request, digest=D), digest=pin)
    assert [plan["image"]["digest"] for plan in by_controller["hosts"].values()] == [pin, pin]


def test_what_a_host_finds_missing_refuses_it_and_warns_the_others(fleet):
    after = answered(fleet, ok=False)
    assert not after["hosts"]["gpu-1"]["ok"]
    assert [error["rule"] for error in after["hosts"]["gpu-1"]["errors"]] == [
        "preflight_registry_manifest", "preflight_gpg_key", "preflight_apt_package", "preflight_git_ref",
    ]  # fmt: skip
    assert set(after["hosts"]["gpu-1"]["errors"][0]) == {"rule", "found", "needed", "where", "fix"}
    assert [warning["rule"] for warning in after["hosts"]["gpu-2"]["warnings"]] == [
        "preflight_registry_manifest", "preflight_gpg_key", "preflight_apt_package", "preflight_git_ref",
    ]  # fmt: skip
    assert "gpu-1" in after["hosts"]["gpu-2"]["warnings"][0]["message"]
    assert after["hosts"]["healthy"]["ok"]
    assert len(after["hosts"]["refused"]["errors"]) == 1


def test_another_host_is_asked_for_a_digest_that_the_first_did_not_have(fleet):
    fleet = preflight.apply_answers(asking(fleet), {})
    fleet = preflight.apply_answers(fleet, {"unreachable": True, "msg": "timed out"})
    assert [batch["host"] for batch in fleet["preflight"]] == ["cpu", "gpu-2"]
    fleet = answered(fleet, digest=D)
    assert fleet["hosts"]["gpu-2"]["ok"] and fleet["hosts"]["gpu-2"]["image"]["digest"] == D
    assert fleet["hosts"]["gpu-1"]["ok"] is False
    assert "timed out" in fleet["hosts"]["gpu-1"]["errors"][0]["found"]


EVIL = "sha256:x --privileged"
MALFORMED = {
    "no mapping": lambda request: "x",
    "answers is text": lambda request: {"answers": "x"},
    "answers is a mapping": lambda request: {"answers": {"id": request["id"]}},
    "an answer is text": lambda request: {"answers": ["x", None, 3, []]},
    "no id": lambda request: {"answers": [{"ok": True}]},
    "an id that is none": lambda request: {"answers": [{**said(request), "id": {"a": []}}]},
    "ok is text": lambda request: {"answers": [{**said(request), "ok": "yes"}]},
    "nothing but an id": lambda request: {"answers": [{"id": request["id"]}]},
    "data is a list": lambda request: {"answers": [{**said(request), "data": ["digest"]}]},
    "found is a mapping": lambda request: {"answers": [{**said(request, ok=False), "found": {"a": 1}}]},
    "fix is a number": lambda request: {"answers": [{**said(request, ok=False), "fix": 3}]},
    "a digest that is none": lambda request: {"answers": [said(request, digest=EVIL)]},
    "a digest and more": lambda request: {"answers": [said(request, digest=D + "\n")]},
    "a digest that is a list": lambda request: {"answers": [said(request, digest=[D])]},
    "no digest": lambda request: {"answers": [said(request)]},
    "msg is a mapping": lambda request: {"failed": True, "msg": {"a": "\x1b[2J"}},
}


@pytest.mark.parametrize("what", MALFORMED)
def test_an_answer_that_is_none_costs_only_its_host(fleet, what):
    """The first host is asked for all, and says what it likes."""
    fleet = preflight.apply_answers(asking(fleet), {})
    request = fleet["preflight"][0]["requests"][0]
    after = answered(preflight.apply_answers(fleet, MALFORMED[what](request)), digest=D)
    assert not after["hosts"]["gpu-1"]["ok"]
    assert "gpu-1" in after["hosts"]["gpu-1"]["errors"][0]["found"]
    for name in ("gpu-2", "cpu", "healthy"):
        assert after["hosts"][name]["ok"], name
    assert after["hosts"]["gpu-2"]["image"]["digest"] == D, "from the next host, confirmed by itself"
    assert "privileged" not in str(after["hosts"]["gpu-2"]["steps"])


def test_what_a_host_says_is_one_harmless_line(fleet):
    fleet = preflight.apply_answers(asking(fleet), {})
    evil = {**said(fleet["preflight"][0]["requests"][0], ok=False), "found": "a\n\x1b[2J\u202eb\ud800" + "c" * 9000}
    after = preflight.apply_answers(fleet, {"answers": [evil]})
    found = after["hosts"]["gpu-1"]["errors"][0]["found"]
    assert found.startswith(r"a \u001b[2J\u202eb\ud800c") and len(found) <= 400
    assert "\x1b" not in after["hosts"]["gpu-2"]["warnings"][0]["message"]


@pytest.mark.parametrize(
    "result", [{"failed": True, "msg": "no python"}, {"unreachable": True, "msg": "timed out"}, {}, None, []]
)
def test_a_batch_that_fails_as_a_whole_refuses_the_host_that_was_asked(fleet, result):
    fleet = preflight.apply_answers(asking(fleet), result)
    assert all(fleet["hosts"][name]["ok"] for name in ("gpu-1", "gpu-2"))
    after = preflight.apply_answers(fleet, result)
    assert [name for name, plan in after["hosts"].items() if not plan["ok"]] == ["refused", "gpu-1"]
    assert after["hosts"]["gpu-1"]["errors"][0]["found"].startswith("gpu-1 could not ask: ")
    assert "--limit" in after["hosts"]["gpu-1"]["errors"][0]["fix"]
    assert answered(after, digest=D)["hosts"]["cpu"]["ok"]


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
    after = answered(fleet, ok=False)["hosts"]["bare"]
    assert [error["where"] for error in after["errors"]] == ["verl_mirror_apt"] * 2


@pytest.mark.parametrize(
    ("args", "machine"), [({"source": "distro"}, {"docker": False}), ({"source": "docker"}, {"docker": True})]
)
def test_an_engine_that_is_there_or_the_distributions_needs_no_repository_of_dockers(args, machine):
    plan = {"ok": True, "errors": [], "steps": {"docker_engine": {"args": args}}}
    assert preflight.requests_for({"hosts": {"bare": plan}, "machines": {"bare": machine}}) == []
