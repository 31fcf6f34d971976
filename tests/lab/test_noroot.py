"""A user without any right, on a host that an administrator set up: each way to verl, and nothing else touched.

The host `noroot` (docs/lab.md): Docker is there and refuses the user, Podman, Apptainer and the toolkit are there.
"""

import subprocess
import sys

import pytest

from lab import hosts
from tests.lab.fleet import ROOT, play, report

pytestmark = [pytest.mark.lab, pytest.mark.slow]

HOST, USER = "noroot", "alice"
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
)
# The whole host: every file with its mode, owner, size and time of change; not what running itself writes.
FILES = (
    "find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /var/tmp "
    "-o -path /var/log -o -path /var/lib/systemd -o -path /var/lib/apt -o -path /var/cache -o -path /home \\) -prune "
    "-o -type f -printf '%p %m %u %s %T@\\n'; "
    f"find /home -xdev \\( {' -o '.join(f'-path /home/alice/{path}' for path in OWN)} \\) -prune "
    "-o -type f -printf '%p %m %u %s %T@\\n'"
)


@pytest.fixture(scope="module", autouse=True)
def up():
    """The host, which the lab starts only where it's named."""
    done = subprocess.run([sys.executable, "-m", "lab", "up", HOST], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    yield
    hosts.remove(hosts.HOSTS[HOST])


def files():
    """Everything on the host that isn't a run's to write."""
    return set(hosts.exec(HOST, FILES).out.splitlines())


def shell(command):
    """A command through verl-shell, as the user who logs in has it."""
    line = f"XDG_RUNTIME_DIR=/run/user/$(id -u {USER}) {SHELL} {command}"
    return hosts.exec(HOST, f"su --login {USER} --command '{line}' 2>/dev/null").out


def run(*wishes, fresh=True):
    """The main job, from a host as it was to verified; gives the report's line of it."""
    if fresh:
        hosts.reset(HOST)
    before = files()
    done = play("site.yml", "--limit", HOST, *(word for wish in wishes for word in ("-e", wish)))
    host = report()["hosts"][HOST]
    assert done.returncode == 0, done.stdout[-6000:]
    assert host["state"] == "verified", host["reason"]
    assert sorted(files() ^ before) == [], "files that aren't a run's own"
    return host, done


def again(*wishes):
    """A second run: nothing changes, nothing is fetched, no step is entered."""
    own = "find /home/alice/verl /home/alice/.local -xdev -type f -printf '%p %s %T@\\n' | grep -v /overlay/ | sort"
    before = hosts.exec(HOST, own).out
    host, done = run(*wishes, fresh=False)
    assert "changed=0" in done.stdout
    assert host["plan"]["steps"] == {}
    assert "preflight" not in done.stdout.lower() or "Ask for every" not in done.stdout, "something would be fetched"
    assert hosts.exec(HOST, own).out == before


def passed_over(host):
    """What the plan says about the backends before."""
    return {why.split()[2].rstrip(":"): why for why in host["plan"]["why"] if why.startswith("passed over")}


def test_rootless_podman_is_taken_and_docker_passed_over():
    host, _ = run()
    assert host["plan"]["backend"] == "podman"
    said = passed_over(host)
    assert set(said) == {"docker"}
    assert "permission denied" in said["docker"] and "alice" in said["docker"]
    assert shell("nvidia-smi -L").count("H100") == 8
    listing = f"su --login {USER} --command 'podman exec verl nvidia-smi -L' 2>/dev/null"
    assert hosts.exec(HOST, listing).out.count("H100") == 8
    assert shell('python3 -c "import verl; print(verl.__version__)"').split()[-1] == host["plan"]["verl_version"]
    again()


def test_apptainer_where_there_are_no_subordinate_ids():
    hosts.reset(HOST)
    hosts.exec(HOST, "sed -i /^alice:/d /etc/subuid /etc/subgid")
    host, _ = run(fresh=False)
    assert host["plan"]["backend"] == "apptainer"
    said = passed_over(host)
    assert set(said) == {"docker", "podman"}
    assert "subordinate ids" in said["podman"]
    assert shell("nvidia-smi -L").count("H100") == 8
    assert shell('python3 -c "import verl; print(verl.__version__)"').split()[-1] == host["plan"]["verl_version"]
    assert hosts.exec(HOST, "ls /home/alice/verl/images").out.split() == [
        f"{host['plan']['image']['id']}.sif", f"{host['plan']['image']['id']}.sif.json",
        f"{host['plan']['image']['id']}.sif.lock",
    ]  # fmt: skip
    again()
