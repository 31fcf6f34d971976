"""Ray over three hosts of the lab, with the real Ray of the stand-in images, and a fourth host that is no node."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lab import hosts, network, topology
from lab.machine import LabError
from lab.waiting import until
from tests.lab.fleet import play, report, states

pytestmark = [pytest.mark.lab, pytest.mark.slow]

HEAD, WORKERS = "gpu-580", ("spare", "gpu-550")
NODES = (HEAD, *WORKERS)
IMAGE = "verlai/verl:app-verl0.4-vllm0.8.5-mcore0.12.2-te2.2"  # what the older driver carries too
ROOT = Path(__file__).resolve().parents[2]
# A bundle a node: without, a quick node would take the tasks of one whose worker is still starting.
WHERE = """
import ray, time
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy as In
ray.init()
group = placement_group([{"GPU": 8}] * 3, strategy="STRICT_SPREAD")
assert group.wait(300), ray.available_resources()
@ray.remote(num_gpus=8, num_cpus=0)
def where(seconds):
    import verl
    time.sleep(seconds)
    return ray.util.get_node_ip_address()
places = [In(group, placement_group_bundle_index=number) for number in range(3)]
print("NODES", sorted(ray.get([where.options(scheduling_strategy=place).remote(%d) for place in places])))
"""
# Deadlines are for three Rays that start at once on two cores; where all is well, none is reached.
JOINS, LONG = 300, 600


@pytest.fixture(scope="module")
def inventory(tmp_path_factory):
    """The group `cluster`, beside the lab's inventory."""
    path = tmp_path_factory.mktemp("cluster") / "cluster.yml"
    group = {"hosts": dict.fromkeys(NODES), "vars": {"verl_image": IMAGE}}
    path.write_text(yaml.safe_dump({"all": {"children": {"cluster": group}}}, sort_keys=False))
    return path


def site(inventory, *arguments, limit=NODES, playbook="site.yml"):
    return play(playbook, "-i", str(inventory), "--limit", ",".join(limit), *arguments)


def address(name):
    return network.address(topology.HOSTS[name].address)


def nodes():
    """(address, GPUs, id) of every node that Ray says is alive; [] where Ray doesn't answer."""
    program = (
        "import json, ray; ray.init(address='auto', log_to_driver=False, logging_level='ERROR'); "
        "alive = [n for n in ray.nodes() if n['Alive']]; "
        "alive = [(n['NodeManagerAddress'], n['Resources'].get('GPU'), n['NodeID']) for n in alive]; "
        "print('ALIVE', json.dumps(alive))"
    )
    line = ["timeout", "90", "docker", "exec", "verl-ray", "python3", "-c", program]
    said = hosts.exec(HEAD, line, check=False).out
    lines = [line for line in said.splitlines() if line.startswith("ALIVE ")]
    return json.loads(lines[0].removeprefix("ALIVE ")) if lines else []


def whole():
    """Whether each node is there once, with its GPUs: one that died is listed until Ray has noticed."""
    return sorted(node[:2] for node in nodes()) == sorted([address(name), 8.0] for name in NODES)


def ids(name):
    """The ids of a host's nodes: another id, another start of Ray."""
    return {node[2] for node in nodes() if node[0] == address(name)}


def tell():
    """What a failure has to show: how the hosts ended, and Ray's last words on each."""
    said = []
    with contextlib.suppress(OSError, ValueError):
        said += [f"{name}: {host['state']}: {host.get('reason')}" for name, host in report()["hosts"].items()]
    for name in NODES:
        logs = hosts.exec(name, "docker ps -a; docker logs --tail 20 verl-ray", check=False).out
        said.append(f"--- {name}\n{logs[-2500:]}")
    return "\n".join(said)


def well(run):
    """A run that ended well, or all that can be said of why not."""
    assert run.returncode == 0, run.stdout[-6000:] + tell()
    return run


def busy(name):
    """Whether the job works on a host; processes that end while they are listed don't matter."""
    return "ray::where" in hosts.exec(name, "cat /proc/[0-9]*/comm 2>/dev/null", check=False).out


def ray_is_whole(what="all nodes to be there once"):
    try:
        until(what, whole, LONG, every=2)
    except LabError as error:
        raise AssertionError(f"{error}\n{nodes()}\n{tell()}") from None


def submit(seconds, *options):
    """A job that holds all GPUs of all nodes, by the command that a person would use."""
    hosts.exec(HEAD, f"cat > /home/ops/verl/src/where.py <<'EOF'\n{WHERE % seconds}\nEOF")
    command = f"timeout {LONG} ~/.local/bin/verl-shell --submit {' '.join(options)} -- python3 where.py"
    said = hosts.exec(HEAD, command, user="ops", check=False)
    assert said.rc == 0, said.out[-4000:] + tell()
    return said


def open_port(name, port, target=HEAD):
    """Whether a host gets a connection to a port of another."""
    program = f"import socket; socket.create_connection(('{address(target)}', {port}), timeout=5)"
    return hosts.exec(name, ["python3", "-c", program], check=False).rc == 0


def test_three_nodes_are_ready_with_their_gpus(inventory):
    for name in NODES:
        hosts.reset(name)
    well(site(inventory))
    assert set(states().values()) == {"verified"}, states()
    ray_is_whole()


def test_again_changes_nothing_and_enters_no_step(inventory):
    run = well(site(inventory))
    assert run.stdout.count("changed=0") == len(NODES), run.stdout[-3000:]
    steps = {name: host["plan"]["steps"] for name, host in report()["hosts"].items()}
    assert not any(steps.values()), steps


def test_a_job_runs_on_all_nodes():
    said = submit(1).out
    assert f"NODES {sorted(address(name) for name in NODES)}" in said, said[-3000:] + tell()


def test_no_secret_and_no_open_door():
    token = hosts.exec(HEAD, "cat /home/ops/.local/state/verl-provision/ray/token").out.strip()
    assert len(token) == 64
    for name in NODES:
        path = "/home/ops/.local/state/verl-provision/ray/token"
        assert hosts.exec(name, f"cat {path}; stat -c %a {path}").out.split() == [token, "600"]
        assert token not in hosts.exec(name, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '; docker inspect verl-ray").out
    for report_file in (ROOT / "build/lab/reports").glob("*/*"):
        assert token not in report_file.read_text(errors="replace")


def test_gcs_and_dashboard_are_not_reachable_from_a_host_outside():
    for port in (6379, 8265, 10001, 6380, 6381, 6383):
        assert not open_port("cpu", port), port
    assert open_port(WORKERS[0], 6379)
    assert not open_port(WORKERS[0], 8265)  # nor is the dashboard from a node: it is on the head's loopback


def test_the_token_is_asked_for_inside_the_fence_too():
    program = "import ray; ray.init(address='auto')"
    said = hosts.exec(
        HEAD,
        f'docker exec -e RAY_AUTH_MODE=disabled -e RAY_AUTH_TOKEN_PATH= verl-ray python3 -c "{program}"',
        check=False,
    )
    assert said.rc != 0
    assert "auth" in said.out.lower(), said.out[-2000:]


def test_a_worker_that_was_killed_is_back_after_a_run_of_it_alone(inventory):
    before = ids("spare")
    hosts.exec("spare", "docker kill verl-ray")
    well(site(inventory, limit=["spare"]))
    ray_is_whole()
    assert not ids("spare") & before


def test_a_process_that_dies_is_mended_without_a_run():
    before = ids("gpu-550")
    hosts.exec("gpu-550", "pkill -9 -x raylet")
    until("Ray to have another node there", lambda: ids("gpu-550") - before, LONG, every=2)
    ray_is_whole()


def test_a_worker_that_reboots_is_back_without_a_run():
    before = ids("spare")
    hosts.reboot("spare")
    until("Ray to have another node there", lambda: ids("spare") - before, LONG, every=2)
    ray_is_whole()
    assert not open_port("cpu", 6380, target="spare")  # the fence is up again, too


def test_the_head_restarts_and_the_workers_join_again():
    before = ids(HEAD)
    hosts.exec(HEAD, "docker restart verl-ray")
    until("Ray to answer on the head", lambda: ids(HEAD) - before, LONG, every=2)
    ray_is_whole("the workers to have joined again")


@pytest.fixture
def survivor():
    """A job on all nodes; whatever becomes of the test, it is gone before the next one."""
    job = "docker exec verl-ray ray job {} --address http://127.0.0.1:8265 survivor"
    submit(3600, "--no-wait", "--submission-id", "survivor")
    until("the job to hold all nodes", lambda: all(busy(name) for name in NODES), LONG, every=1)
    yield job
    hosts.exec(HEAD, job.format("stop"), check=False)
    until("the job to end", lambda: not any(busy(name) for name in NODES), JOINS, every=1)


def test_a_running_job_survives_ten_runs(inventory, survivor):
    since = "docker inspect -f '{{.State.StartedAt}}' verl-ray"
    started = {name: hosts.exec(name, since).out for name in NODES}
    for _ in range(10):
        # A change that would restart Ray.
        run = well(site(inventory, "-e", json.dumps({"ray_cluster_env": {"NCCL_DEBUG": "INFO"}})))
        assert run.stdout.count("changed=0") == len(NODES), run.stdout[-3000:]
        deferred = report()["hosts"][HEAD]["plan"]["deferred"]
        assert any(item["step"] == "ray_cluster" for item in deferred), deferred
    said = hosts.exec(HEAD, survivor.format("status")).out
    assert "RUNNING" in said, said + tell()
    assert {name: hosts.exec(name, since).out for name in NODES} == started


def test_a_port_that_a_firewall_drops_is_named_with_the_node(inventory):
    rule = "add table inet theirs; add chain inet theirs input {{ type filter hook input priority -50; }}; "
    rule += "add rule inet theirs input ip saddr {} tcp dport 6379 drop"
    hosts.exec(HEAD, ["nft", rule.format(address("spare")).replace("{{", "{").replace("}}", "}")])
    hosts.exec("spare", "docker rm -f verl-ray")
    try:
        run = site(inventory, "-e", "ray_cluster_timeout=15", limit=["spare"])
    finally:
        hosts.exec(HEAD, "nft delete table inet theirs")
    assert run.returncode != 0, run.stdout[-6000:]
    failure = report()["hosts"]["spare"].get("failure") or {}
    said = f"spare can't reach {HEAD} ({address(HEAD)}) port 6379 (GCS): no answer"
    assert said in failure.get("message", ""), run.stdout[-6000:]
    well(site(inventory, limit=["spare"]))


def test_a_node_leaves_and_the_others_stay(inventory):
    well(site(inventory, "-e", "{verl_cluster_state: absent}", limit=["gpu-550"]))
    assert "verl-ray" not in hosts.exec("gpu-550", "docker ps -a --format '{{.Names}}'").out
    assert hosts.exec("gpu-550", "nft list tables").out.strip().count("verl_ray") == 0
    left = {address(HEAD), address("spare")}
    until("Ray to forget the node", lambda: {node[0] for node in nodes()} == left, JOINS, every=2)


def test_a_node_with_another_image_is_refused_by_name_before_anything_starts(inventory, tmp_path):
    for name in NODES:
        hosts.exec(name, "docker rm -f verl-ray", check=False)
    own = tmp_path / "own.yml"  # each chooses by its own driver
    own.write_text(inventory.read_text().replace(f"verl_image: {IMAGE}", "verl_version: auto"))
    run = site(own, playbook="playbooks/cluster.yml")
    assert run.returncode != 0, run.stdout[-6000:]
    refused = {name: host for name, host in report()["hosts"].items() if host["state"] == "refused"}
    assert set(refused) == {"gpu-550"}, run.stdout[-6000:]
    assert "cluster_same" in refused["gpu-550"]["reason"]
    assert "vllm0.8.5" in refused["gpu-550"]["reason"]
    assert "vllm024" in refused["gpu-550"]["reason"]
    assert all("verl-ray" not in hosts.exec(name, "docker ps -a --format '{{.Names}}'").out for name in NODES)


def test_the_hosts_are_given_back_fresh():
    for name in NODES:
        subprocess.run([sys.executable, "-m", "lab", "reset", name], cwd=ROOT, check=True)
