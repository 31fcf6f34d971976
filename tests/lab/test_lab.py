"""The lab itself: each part is what it says it is. Needs the lab up (make lab); resets gpu-580 at the end."""

import os
import shlex
import shutil
import subprocess
import sys

import pytest
import requests
import yaml

from lab import engine, faults, hosts, network, settings, topology
from lab.build import gpu, toolkit
from lab.snapshot import snapshot
from lab.waiting import until

pytestmark = pytest.mark.lab

HOSTS = [host for host in topology.HOSTS.values() if host.default]  # those that are up for these tests
GPU_HOSTS = [host for host in HOSTS if host.machine]
PACKAGES = (
    "nvidia-container-toolkit",
    "nvidia-container-toolkit-base",
    "libnvidia-container-tools",
    "libnvidia-container1",
)
KEYRING = "/usr/share/keyrings/nvidia-container-toolkit-keyring.gpg"
SOURCE = "/etc/apt/sources.list.d/nvidia-container-toolkit.list"
OLDER = {
    "verlai/verl:app-verl0.4-vllm0.8.5-mcore0.12.2-te2.2": "0.5.0",
    "whatcanyousee/verl:ngc-cu124-vllm0.8.5-sglang0.4.6.post5-mcore0.12.1-te2.3-deepseekv3": "0.4.1",
}
HIYOUGA = "hiyouga/verl:ngc-th2.6.0-cu126-vllm0.8.4-flashinfer0.2.2-cxx11abi0"
ONLY_TOOLKIT = f"-o Dir::Etc::SourceList={SOURCE} -o Dir::Etc::SourceParts=-"


def named(values):
    """Ids of a parametrised list of hosts."""
    return [value.name for value in values]


@pytest.fixture(scope="module", autouse=True)
def _up():
    if not (settings.INVENTORY / "hosts.yml").exists():
        pytest.fail("The lab isn't up. Start it: make lab")


@pytest.fixture
def fresh():
    """A host as it was when the lab came up, put back afterwards."""
    name = "gpu-580"
    hosts.reset(name)
    yield name
    hosts.reset(name)


def add_toolkit_source(host: str) -> None:
    """Do what NVIDIA's install guide says, with the lab's addresses."""
    base = f"http://{network.web_address()}/libnvidia-container"
    hosts.exec(host, f"curl -fsS {base}/gpgkey | gpg --batch --yes --dearmor -o {KEYRING}")
    line = f"deb [signed-by={KEYRING}] {base}/stable/deb/$(ARCH) /"
    hosts.exec(host, f"echo {shlex.quote(line)} > {SOURCE}")


@pytest.mark.parametrize("host", HOSTS, ids=named(HOSTS))
def test_hosts_run_systemd_without_a_failed_unit(host):
    assert hosts.exec(host.name, "systemctl is-system-running", check=False).out.strip() == "running"


@pytest.mark.parametrize("host", HOSTS, ids=named(HOSTS))
def test_ssh_opens_with_the_inventory_and_the_rights_are_as_planned(host):
    inventory = yaml.safe_load((settings.INVENTORY / "hosts.yml").read_text())["all"]
    variables = inventory["vars"]
    command = [
        "ssh",
        *shlex.split(variables["ansible_ssh_common_args"]),
        "-o",
        "BatchMode=yes",
        "-i",
        variables["ansible_ssh_private_key_file"],
        f"{host.user}@{network.address(host.address)}",
        "id -un; sudo -n true && echo root; command -v docker",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    lines = done.stdout.split()
    assert lines[:1] == [host.user], done.stderr
    assert ("root" in lines) is host.sudo
    if host.name in {"gpu-550", "gpu-580", "cpu"}:  # the spare's is asked for below
        assert ("/usr/bin/docker" in lines) is host.docker


@pytest.mark.parametrize("host", GPU_HOSTS, ids=named(GPU_HOSTS))
def test_nvidia_smi_lists_eight_gpus_of_the_right_driver(host):
    machine = gpu.describe(host.machine)
    listed = hosts.exec(host.name, "nvidia-smi -L").out.splitlines()
    assert len(listed) == 8
    assert all("NVIDIA H100 80GB HBM3" in line for line in listed)
    fields = "driver_version,memory.total,compute_cap"
    query = hosts.exec(host.name, f"nvidia-smi --query-gpu={fields} --format=csv,noheader")
    assert set(query.out.splitlines()) == {f"{machine['driver_version']}, 81559 MiB, 9.0"}
    table = hosts.exec(host.name, "nvidia-smi").out
    cuda = machine["cuda_version"]
    assert f"CUDA Version: {cuda // 1000}.{cuda % 1000 // 10}" in table
    library = hosts.exec(host.name, f"readlink /{gpu.LIBRARIES}/libnvidia-ml.so.1").out.strip()
    assert library == f"libnvidia-ml.so.{machine['driver_version']}"


def test_a_host_answers_only_while_its_ssh_server_runs(fresh):
    host = topology.HOSTS[fresh]
    assert hosts.answers(host)
    hosts.exec(fresh, "systemctl stop ssh.service")
    assert not hosts.answers(host)
    hosts.exec(fresh, "systemctl start ssh.service")
    assert hosts.answers(host)


def test_an_ssh_server_that_was_told_to_end_is_started_again(fresh):
    before = hosts.exec(fresh, "systemctl show --value -p MainPID ssh").out
    hosts.exec(fresh, f"kill {before}")
    until(
        "another SSH server",
        lambda: hosts.exec(fresh, "systemctl show --value -p MainPID ssh").out not in {before, "0\n"},
        30,
    )
    until("it to answer", lambda: hosts.answers(topology.HOSTS[fresh]), 30)


def test_the_spare_starts_bare():
    hosts.reset("spare")
    assert hosts.exec("spare", "command -v docker podman apptainer nvidia-ctk", check=False).out == ""
    assert hosts.exec("spare", "dpkg -l docker.io", check=False).rc != 0


def test_a_user_without_rights_may_mount_a_proc_of_his_own():
    assert hosts.exec("cpu", "unshare --user --map-root-user --pid --fork --mount-proc true", user="alice").rc == 0


def lab_in(folder, *command):
    """One of the lab's commands from a checkout in `folder`, for a lab of another name."""
    environment = {**os.environ, "VERL_LAB_NAME": f"{settings.NAME}beside"}
    done = subprocess.run(
        [sys.executable, "-m", "lab", *command], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def found(network):
    """What Docker has of the lab with this network: containers, volumes and networks, each with its state."""
    client, of_lab = engine.client(), {"label": f"{settings.LABEL}={network}"}
    containers = {item.name: (item.id, item.status) for item in client.containers.list(all=True, filters=of_lab)}
    parts = [*client.volumes.list(filters=of_lab), *client.networks.list(filters=of_lab)]
    return containers, {part.name for part in parts}


def test_another_lab_comes_and_goes_and_leaves_this_one_alone(tmp_path):
    for part in ("lab", "catalog"):
        shutil.copytree(settings.CHECKOUT / part, tmp_path / part)
    before, inventory = found(settings.NETWORK), (settings.INVENTORY / "hosts.yml").read_text()
    other = f"verl-lab-{settings.NAME}beside"
    try:
        lab_in(tmp_path, "up", "cpu")
        hosts_of_other = yaml.safe_load((tmp_path / "inventories/lab/hosts.yml").read_text())["all"]["children"]
        assert list(hosts_of_other["lab_cpu"]["hosts"]) == ["cpu"]
        assert found(other)[0][f"{other}-cpu"][1] == "running"
    finally:
        lab_in(tmp_path, "down")
    assert found(other) == ({}, set())
    assert not (tmp_path / "inventories").exists() or not any((tmp_path / "inventories").rglob("*.yml"))
    assert found(settings.NETWORK) == before
    assert (settings.INVENTORY / "hosts.yml").read_text() == inventory
    assert requests.get(f"http://{network.registry()}/v2/", timeout=10).ok


def test_no_two_hosts_have_the_same_gpu():
    listed = [line for host in GPU_HOSTS for line in hosts.exec(host.name, "nvidia-smi -L").out.splitlines()]
    uuids = {line.rpartition("UUID: ")[2] for line in listed}
    assert len(uuids) == 8 * len(GPU_HOSTS)


def test_probe_trees_say_what_nvml_says():
    for host in GPU_HOSTS:
        version = gpu.describe(host.machine)["driver_version"]
        assert version in hosts.exec(host.name, "cat /opt/lab/probe/proc/driver/nvidia/version").out
        assert hosts.exec(host.name, "cat /opt/lab/probe/sys/module/nvidia/version").out.strip() == version
        devices = hosts.exec(host.name, "grep -l 0x10de /opt/lab/probe/sys/bus/pci/devices/*/vendor").out.split()
        buses = {path.split("/")[-2] for path in devices}
        told = hosts.exec(host.name, "nvidia-smi --query-gpu=pci.bus_id --format=csv,noheader").out.split()
        assert buses == {bus.lower().removeprefix("0000") for bus in told}
    assert hosts.exec("cpu", "ls -d /opt/lab/probe/proc/driver", check=False).rc != 0


def test_machine_can_be_made_to_fail():
    with faults.nvml("gpu-550", error=18):
        broken = hosts.exec("gpu-550", "nvidia-smi", check=False)
    assert broken.rc == 18
    assert "version mismatch" in broken.out
    assert hosts.exec("gpu-550", "nvidia-smi -L").rc == 0


def test_registry_has_the_stand_ins_under_their_real_names():
    overlay = yaml.safe_load(settings.OVERLAY.read_text())["images"]
    wanted = yaml.safe_load((settings.FILES / "image/images.yaml").read_text())
    assert [entry["ref"] for entry in overlay] == wanted
    shared = set()
    for entry in overlay:
        name, _, tag = entry["ref"].rpartition(":")
        answer = requests.get(
            f"http://{network.registry()}/v2/{name}/manifests/{tag}",
            timeout=10,
            headers={"Accept": "application/vnd.docker.distribution.manifest.v2+json"},
        )
        assert answer.headers["Docker-Content-Digest"] == entry["digest"]
        big = [layer["digest"] for layer in answer.json()["layers"] if layer["size"] > 10_000_000]
        shared.add(tuple(big))
    assert len(shared) == 1, "all images share the big layers, so that a host pulls them once"


def test_a_tag_can_be_taken_away():
    ref = "verlai/verl:vllm024.latest"
    url = f"http://{network.registry()}/v2/verlai/verl/manifests/vllm024.latest"
    with faults.tag_missing(ref):
        assert requests.get(url, timeout=10).status_code == 404
    assert requests.get(url, timeout=10).ok


def test_git_serves_verls_releases(tmp_path):
    url = f"http://{network.web_address()}/verl.git"
    subprocess.run(
        ["git", "clone", "-q", "--depth", "1", "--branch", "v0.9.1", url, tmp_path / "verl"],
        check=True,
        capture_output=True,
    )
    assert (tmp_path / "verl/verl/version/version").read_text().strip() == "0.9.1"
    assert (tmp_path / "verl/setup.py").exists()
    assert os.access(tmp_path / "verl/scripts/install_vllm_sglang_mcore.sh", os.X_OK)
    tags = subprocess.run(["git", "ls-remote", "--tags", url], check=True, capture_output=True, text=True).stdout
    assert {line.rpartition("/v")[2] for line in tags.splitlines()} == set(settings.VERL_RELEASES)


def test_apt_takes_the_toolkit_from_a_signed_repository_and_refuses_another_key(fresh):
    add_toolkit_source(fresh)
    shown = hosts.exec(fresh, f"gpg --show-keys --with-colons {KEYRING}").out
    assert toolkit.fingerprint() in shown
    hosts.exec(fresh, f"apt-get update {ONLY_TOOLKIT}")
    for package in PACKAGES:
        versions = hosts.exec(fresh, f"apt-cache madison {package}").out
        assert all(f"{version}-1" in versions for version in settings.TOOLKIT_VERSIONS)
        assert f"Candidate: {settings.TOOLKIT_VERSIONS[-1]}-1" in hosts.exec(fresh, f"apt-cache policy {package}").out
    with faults.other_apt_key():
        refused = hosts.exec(fresh, f"apt-get update -o APT::Update::Error-Mode=any {ONLY_TOOLKIT}", check=False)
        assert refused.rc != 0
        assert "NO_PUBKEY" in refused.out or "not signed" in refused.out or "Missing key" in refused.out


def test_from_bare_docker_to_verl_in_a_container_with_the_write_ups_flags(fresh):
    """The whole way by hand: what the roles must be able to do here."""
    before = snapshot(fresh)
    assert not before.difference(snapshot(fresh))

    add_toolkit_source(fresh)
    hosts.exec(fresh, f"apt-get update -q {ONLY_TOOLKIT}")
    hosts.exec(fresh, f"DEBIAN_FRONTEND=noninteractive apt-get install -qy {' '.join(PACKAGES)}")
    # The packages' own scripts ran: daemon-reload, the units enabled, the CDI specification written.
    assert hosts.exec(fresh, "systemctl is-enabled nvidia-cdi-refresh.path nvidia-cdi-refresh.service").rc == 0
    assert "nvidia.com/gpu=7" in hosts.exec(fresh, "nvidia-ctk cdi list 2>/dev/null").out

    kept = yaml.safe_load(hosts.exec(fresh, "cat /etc/docker/daemon.json").out)
    hosts.exec(fresh, "nvidia-ctk runtime configure --runtime=docker")
    merged = yaml.safe_load(hosts.exec(fresh, "cat /etc/docker/daemon.json").out)
    assert kept.items() <= merged.items()
    assert "nvidia" in merged["runtimes"]
    hosts.exec(fresh, "systemctl restart docker")

    image = f"{network.registry()}/verlai/verl:vllm024.latest"
    hosts.exec(fresh, f"docker pull -q {image}")
    hosts.exec(fresh, f"git clone -q --branch v0.9.1 http://{network.web_address()}/verl.git /srv/verl")
    hosts.exec(
        fresh,
        "docker create --runtime=nvidia --gpus all --net=host --shm-size=10g --cap-add=SYS_ADMIN "
        f"-v /srv/verl:/workspace/verl --name verl {image} sleep infinity",
    )
    hosts.exec(fresh, "docker start verl")
    assert len(hosts.exec(fresh, "docker exec verl nvidia-smi -L").out.splitlines()) == 8
    # Not in /workspace, where the mounted checkout itself looks like a package.
    assert hosts.exec(fresh, "docker exec -w / verl python -c 'import verl'", check=False).rc, "verl isn't in the image"
    hosts.exec(fresh, "docker exec -w /workspace/verl verl pip install --no-deps -e .")
    said = hosts.exec(fresh, "docker exec -w / verl python -c 'import verl; print(verl.__version__)'").out
    assert said.split()[-1] == "0.9.1"
    torch = hosts.exec(
        fresh,
        "docker exec verl python -c 'import torch; print(torch.__version__, torch.version.cuda, "
        "torch.backends.cudnn.enabled, torch.backends.cudnn.version())'",
    ).out
    assert torch.split()[-4:] == ["2.11.0+cu130", "13.0", "True", "91900"]

    # The older images, with the releases that they served. hiyouga's has a verl of its own.
    for ref, release in OLDER.items():
        tree = f"/srv/verl-{release}"
        hosts.exec(fresh, f"git clone -q --branch v{release} http://{network.web_address()}/verl.git {tree}")
        script = "pip install -q --no-deps -e . && cd / && python -c 'import verl; print(verl.__version__)'"
        said = hosts.exec(
            fresh,
            f"docker run --rm --net=host -v {tree}:/workspace/verl -w /workspace/verl "
            f"{network.registry()}/{ref} sh -c {shlex.quote(script)}",
        )
        assert said.out.split()[-1] == release
    inside = hosts.exec(
        fresh, f"docker run --rm -w / {network.registry()}/{HIYOUGA} python -c 'import verl; print(verl.__version__)'"
    )
    assert inside.out.split()[-1] == "0.3.0.post1"

    changed = before.difference(snapshot(fresh))
    assert any(line.startswith("packages: + nvidia-container-toolkit=1.20.0-1") for line in changed)
    assert any(line.startswith("containers: + /verl ") for line in changed)
