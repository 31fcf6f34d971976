"""A healthy host has nothing to do; whatever somebody changes by hand on it, the plan says so."""

import pytest

from tests.unit.decide.machines import machine, plan, settle

KEYS = {"max-concurrent-downloads": 5}
RUNTIMES = {"runtimes": {"nvidia": {"path": "nvidia-container-runtime", "args": []}}}
SETTINGS = {"docker_engine": {"docker_engine_manage_daemon_json": KEYS}}


@pytest.fixture(scope="module")
def gpu_host():
    """A GPU host after a run."""
    facts = machine(toolkit={"installed": False, "version": None})
    facts["engines"]["docker"] |= {"gpus_flag": False, "runtimes": ["runc"]}
    facts = settle(facts, plan(facts, SETTINGS))
    file = {"path": "/etc/docker/daemon.json", "parsed": KEYS | RUNTIMES, "error": None}
    facts["engines"]["docker"]["daemon_json"] = file
    facts["stamps"]["training_container"]["id"] = facts["container"]["id"]
    facts["stamps"]["verl_checkout"]["commit"] = facts["verl_checkout"]["commit"]
    assert work(facts, SETTINGS) == set()
    return facts


@pytest.fixture(scope="module")
def cpu_host():
    """A host without a GPU after a run."""
    facts = settle(machine(None), plan(machine(None)))
    assert work(facts) == set()
    return facts


def work(facts, settings=None):
    """What the plan would do."""
    planned = plan(facts, settings)
    assert planned["ok"], planned["errors"]
    return {*planned["steps"], *(["verification"] if planned["verification"]["needed"] else [])}


def changed(facts, path, value):
    """The facts with one value other than it was."""
    head, _, rest = path.partition(".")
    if not rest:
        return {name: inner for name, inner in facts.items() if name != head} | ({} if value is DROP else {head: value})
    return facts | {head: changed(facts[head], rest, value)}


DROP = object()
BY_HAND = [  # (what somebody did, where it shows, what it is now, the step that mends it), on a GPU host
    (
        "a key of daemon.json",
        "engines.docker.daemon_json.parsed",
        {"max-concurrent-downloads": 3} | RUNTIMES,
        "docker_engine",
    ),
    (
        "the runtime's entry, while dockerd still has it",
        "engines.docker.daemon_json.parsed",
        KEYS,
        "nvidia_container_toolkit",
    ),
    (
        "daemon.json removed",
        "engines.docker.daemon_json",
        {"path": None, "parsed": None, "error": None},
        "nvidia_container_toolkit",
    ),
    ("the runtime, after a restart of dockerd", "engines.docker.runtimes", ["runc"], "nvidia_container_toolkit"),
    ("the toolkit removed", "toolkit.version", None, "nvidia_container_toolkit"),
    ("an old toolkit", "toolkit.version", "1.13.5", "nvidia_container_toolkit"),
    ("the image removed", "images", [], "container_image"),
    ("the checkout moved", "verl_checkout.tag", "v0.4.1", "verl_checkout"),
    (
        "a commit on top of the checkout",
        "verl_checkout",
        {"path": "/home/user/verl/src", "commit": "d" * 40, "tag": None, "dirty": False},
        "verl_checkout",
    ),
    ("the checkout removed", "verl_checkout", None, "verl_checkout"),
    ("the container stopped", "container.running", False, "training_container"),
    ("the container removed", "container", None, "training_container"),
    ("the container made anew with other flags", "container.id", "ba0987654321", "training_container"),
    ("the container's stamp", "stamps.training_container", {"key": "other"}, "training_container"),
    ("verl-shell removed", "verl_shell", None, "verl_shell"),
    ("the pass forgotten", "verification", None, "verification"),
]
IN_THE_ENVIRONMENT = [  # on a host without a GPU
    ("the environment removed", "source_environment", None, "source_environment"),
    ("its Python broken", "source_environment.python_ok", False, "source_environment"),
    ("another verl in it", "source_environment.verl_version", "0.4.1", "source_environment"),
    ("its stamp removed", "stamps.source_environment", DROP, "source_environment"),
    ("verl-shell removed", "verl_shell", None, "verl_shell"),
    ("the pass forgotten", "verification", None, "verification"),
]


def cases(entries):
    return pytest.mark.parametrize(
        ("path", "value", "step"), [entry[1:] for entry in entries], ids=[e[0] for e in entries]
    )


@cases(BY_HAND)
def test_a_change_on_a_gpu_host_is_in_the_plan(gpu_host, path, value, step):
    assert step in work(changed(gpu_host, path, value), SETTINGS)


@cases(IN_THE_ENVIRONMENT)
def test_a_change_on_a_host_without_gpu_is_in_the_plan(cpu_host, path, value, step):
    assert step in work(changed(cpu_host, path, value))


def without_entry(facts, **docker):
    """The host with the runtime's entry taken out of daemon.json, and other things of Docker changed."""
    gone = changed(facts, "engines.docker.daemon_json.parsed", KEYS)
    return changed(gone, "engines.docker", gone["engines"]["docker"] | docker)


def test_the_runtimes_entry_is_put_back_without_a_restart(gpu_host):
    busy = without_entry(gpu_host, running=[{"id": "ffffffffffff", "name": "somebodys", "image": "busybox"}])
    for facts in (without_entry(gpu_host), busy):
        planned = plan(facts, SETTINGS)
        assert list(planned["steps"]) == ["nvidia_container_toolkit"] and planned["deferred"] == []
        step = planned["steps"]["nvidia_container_toolkit"]
        assert step["disruption"] == "none"
        assert step["reason"] == "/etc/docker/daemon.json lacks runtimes.nvidia, which an earlier run put there"


def test_a_runtime_that_lies_elsewhere_is_nobodys_drift(gpu_host):
    """Registered by others (no stamp), in another file, by a daemon's own option; or GPUs come by CDI."""
    gone = without_entry(gpu_host)
    assert work(changed(gone, "stamps.nvidia_container_toolkit", DROP), SETTINGS) == set()
    for own in ({"runtime": "none"}, {"daemon_json": "/srv/daemon.json"}):
        named = {f"nvidia_container_toolkit_{name}": value for name, value in own.items()}
        assert "nvidia_container_toolkit" not in work(gone, SETTINGS | {"nvidia_container_toolkit": named})
    by_cdi = without_entry(gpu_host, cdi=True, cdi_devices=["nvidia.com/gpu=all"])
    assert "nvidia_container_toolkit" not in work(by_cdi, SETTINGS)


def test_a_daemon_json_that_cannot_be_read_says_nothing_about_the_runtime(gpu_host):
    hidden = {"path": "/etc/docker/daemon.json", "parsed": None, "error": "/etc/docker/daemon.json cannot be read"}
    facts = changed(gpu_host, "engines.docker.daemon_json", hidden)
    assert plan(facts)["ok"] and "nvidia_container_toolkit" not in work(facts)
