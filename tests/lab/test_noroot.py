"""A user without any right, on a host that an administrator set up: each way to verl, and nothing else touched.

The host `noroot` (docs/lab.md): Docker is there and refuses the user, Podman, Apptainer and the toolkit are there.
`cpu` has no engine at all: a source environment needs its Python 3.11, since no other can be fetched in the lab.
"""

import shlex
import subprocess
import sys

import pytest

from lab import hosts, lifecycle, network
from lab.waiting import until
from tests.lab.fleet import ROOT, play, report
from tests.lab.manager import CONDA

pytestmark = [pytest.mark.lab, pytest.mark.slow]

USER = "alice"  # on both hosts
SHELL = "/home/alice/.local/bin/verl-shell"
# What a run may write: the prefix, the state, verl-shell; Ansible's own; the store and the caches of the user's engine.
OWN = (
    "verl",
    ".local/state/verl-provision",
    ".local/bin",
    ".ansible",
    ".local/share/containers",
    ".config/containers",
    ".cache",
    ".apptainer",
    ".local/share/docker",
    "conda.calls",
)
# The whole host: every file with its mode, owner, size and time of change; not what running itself writes.
FILES = (
    "find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /var/tmp "
    "-o -path /var/log -o -path /var/lib/systemd -o -path /var/lib/apt -o -path /var/cache -o -path /home \\) -prune "
    "-o -type f -printf '%p %m %u %s %T@\\n'; "
    f"find /home -xdev \\( {' -o '.join(f'-path /home/alice/{path}' for path in OWN)} \\) -prune "
    "-o -type f -printf '%p %m %u %s %T@\\n'"
)


@pytest.fixture(autouse=True)
def fresh(request):
    """The test's host as an administrator left it; the lab starts `noroot` only where it's named."""
    name = request.param
    done = subprocess.run([sys.executable, "-m", "lab", "up", name], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    hosts.reset(name)
    yield name
    if not hosts.HOSTS[name].default:
        lifecycle.forget(name)


def on(name):
    """A test of this host."""
    return pytest.mark.parametrize("fresh", [name], indirect=True)


def files(name):
    """Everything on the host that isn't a run's to write."""
    return set(hosts.exec(name, FILES).out.splitlines())


def shell(name, command):
    """A command through verl-shell, as the user who logs in has it."""
    line = f"XDG_RUNTIME_DIR=/run/user/$(id -u) {SHELL} {command}"
    return hosts.exec(name, f"su --login {USER} --command {shlex.quote(line)} 2>/dev/null").out


def run(name, *requests):
    """The main job; gives the report's line of the host, and what was printed."""
    before = files(name)
    done = play("site.yml", "--limit", name, *(word for request in requests for word in ("-e", request)))
    assert sorted(files(name) ^ before) == [], "files that aren't a run's own"
    return report()["hosts"][name], done


def verified(name, *requests):
    """The main job, which ends well; then once more: nothing changes, nothing is asked for, no step is entered."""
    host, done = run(name, *requests)
    assert done.returncode == 0, done.stdout[-6000:]
    assert host["state"] == "verified", host["reason"]
    own = "find /home/alice/verl /home/alice/.local -xdev -path '*/overlay*' -prune -o -type f -printf '%p %s %T@\\n'"
    before = sorted(hosts.exec(name, own).out.splitlines())
    second, done = run(name, *requests)
    assert done.returncode == 0, done.stdout[-6000:]
    assert "changed=0" in done.stdout
    assert second["plan"]["steps"] == {}
    assert sorted(hosts.exec(name, own).out.splitlines()) == before
    return host


def passed_over(host):
    """What the plan says about the backends before."""
    return {why.split()[1].rstrip(":"): why for why in host["plan"]["why"] if why.startswith("skipped")}


def sees_all(name, host):
    """verl-shell opens what was planned, with its GPUs."""
    assert shell(name, "nvidia-smi -L").count("H100") == 8
    code = "import verl; print(verl.__version__)"
    assert shell(name, f"python3 -c '{code}'").split()[-1] == host["plan"]["verl_version"]


@on("noroot")
def test_rootless_podman_is_taken_and_docker_passed_over(fresh):
    host = verified(fresh)
    assert host["plan"]["backend"] == "podman"
    said = passed_over(host)
    assert set(said) == {"docker"}
    assert "permission denied" in said["docker"] and "alice" in said["docker"]
    sees_all(fresh, host)
    listing = f"su --login {USER} --command 'podman exec verl nvidia-smi -L' 2>/dev/null"
    assert hosts.exec(fresh, listing).out.count("H100") == 8


@on("noroot")
def test_apptainer_where_there_are_no_subordinate_ids(fresh):
    hosts.exec(fresh, "sed -i /^alice:/d /etc/subuid /etc/subgid")
    host = verified(fresh)
    assert host["plan"]["backend"] == "apptainer"
    said = passed_over(host)
    assert set(said) == {"docker", "podman"}
    assert "subordinate ids" in said["podman"]
    sees_all(fresh, host)
    image = f"{host['plan']['image']['id']}.sif"
    assert hosts.exec(fresh, "ls /home/alice/verl/images").out.split() == [image, f"{image}.json", f"{image}.lock"]


@on("noroot")
def test_rootless_docker_is_taken_first(fresh):
    """The user's own, set up by Docker's tool; its toolkit runtime is in the user's daemon.json."""
    set_up = f"""
        mkdir -p ~/bin ~/.config/docker
        # Docker's tool wants its client beside it; Debian has the two in different folders.
        ln -s /usr/share/docker.io/contrib/dockerd-rootless*.sh /usr/bin/docker ~/bin
        export PATH=$HOME/bin:$PATH XDG_RUNTIME_DIR=/run/user/$(id -u)
        echo '{{"insecure-registries": ["{network.registry()}"]}}' > ~/.config/docker/daemon.json
        nvidia-ctk runtime configure --runtime=docker --config=$HOME/.config/docker/daemon.json
        dockerd-rootless-setuptool.sh install --skip-iptables
    """
    hosts.exec(fresh, f"loginctl enable-linger {USER}")
    until("the user's systemd", lambda: hosts.exec(fresh, "test -S /run/user/1000/bus", check=False).rc == 0)
    hosts.exec(fresh, f"su --login {USER} --command {shlex.quote(set_up)}")
    host = verified(fresh)
    assert host["plan"]["backend"] == "docker"
    assert "rootless Docker" in host["plan"]["why"][0]
    sees_all(fresh, host)


@on("cpu")
def test_a_source_environment_by_venv_leaves_all_else_alone(fresh):
    host = verified(fresh)
    assert host["plan"]["backend"] == "source"
    assert shell(fresh, "python -c 'import verl; print(verl.__version__)'").split()[-1] == "0.9.1"


@on("cpu")
def test_the_seeds_way_names_what_the_script_left_out(fresh):
    """conda, verl's checkout, its script with USE_MEGATRON=0: which ends well here, having installed nothing."""
    place = "/home/alice/miniconda3/bin/conda"
    hosts.exec(fresh, f"mkdir -p $(dirname {place}) && cat > {place} <<'END'\n{CONDA}END")
    hosts.exec(fresh, f"chmod +x {place} && chown -R {USER}: /home/alice/miniconda3")
    requests = ("verl_version=0.5.0", "verl_source_method=script", "verl_source_manager=conda", "verl_trainer=fsdp")
    host, done = run(fresh, *requests)
    assert done.returncode != 0
    assert host["state"] == "failed", host
    assert "scripts/install_vllm_sglang_mcore.sh ended with exit status 0, but has not installed: " in host["reason"]
    for name in ("flash-attn", "ray", "tensordict", "torch", "vllm"):
        assert name in host["reason"]
    calls = hosts.exec(fresh, "cat /home/alice/conda.calls").out
    assert calls.startswith("create --yes --quiet --prefix /home/alice/verl/env --override-channels --channel ")
    assert "python=3.10 pip" in calls
    log = hosts.exec(fresh, "cat /home/alice/.local/state/verl-provision/log/source_environment.log").out
    assert "USE_MEGATRON=0 USE_SGLANG=0" in log
    assert hosts.exec(fresh, f"su {USER} -c 'git -C /home/alice/verl/src describe --tags'").out.strip() == "v0.5.0"
