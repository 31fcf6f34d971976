"""The fault matrix: something breaks in the middle of a run; the next run ends verified, and nothing is lost.

Each case that passes leaves its row in docs/faults.json, of which `make docs` makes docs/faults.md.
"""

import contextlib
import json
import os
import random
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from lab import engine, hosts, proxy, services, topology
from lab.waiting import until
from tests.lab import foreign
from tests.lab.fleet import ROOT, begin, play, report

pytestmark = [pytest.mark.lab, pytest.mark.slow]

HOST, OTHER = "gpu-580", "spare"
RECORD = ROOT / "docs/faults.json"
MID_PULL = 60_000_000  # bytes of an image of 570 MB
KEEPER = "verlai/verl:sgl0512.latest"  # shares the big layers with what is planned here
SEED = int(os.environ.get("VERL_FAULTS_SEED", "20261125"))
_MOMENT = random.Random(SEED)
KILLS = [_MOMENT.uniform(2, 25) for _ in range(5)]  # seconds; a whole run takes longer
OURS = "/home/ops/verl/src/notes-of-the-user.txt"
TEN_KEYS = {
    "log-driver": "json-file",
    "log-opts": {"max-file": "3", "max-size": "20m"},
    "max-concurrent-downloads": 6,
    "max-concurrent-uploads": 2,
    "labels": ["rack=7", "owner=somebody"],
    "shutdown-timeout": 20,
    "debug": False,
    "default-shm-size": "128M",
    "max-download-attempts": 4,
    "default-address-pools": [{"base": "10.200.0.0/16", "size": 24}],
}


class Scene:
    """The host, the registry before it, and what must not be lost there."""

    def __init__(self, registry: proxy.Registry):
        self.registry = registry
        self.settings = {
            "verl_mirror_registry": registry.address,
            "docker_engine_insecure_registries": [registry.address],
            "container_image_attempts": 2,
            "container_image_retry_delay": 2,
        }
        self.daemon_json: dict = {}
        self.theirs: tuple[str, int] | None = None
        self.verified = False

    def run(self, **settings: object) -> tuple[subprocess.CompletedProcess, dict]:
        """A run and what its report says of the host."""
        done = play("site.yml", "--limit", HOST, *self.arguments(**settings))
        return done, report()["hosts"][HOST]

    def arguments(self, **settings: object) -> list[str]:
        """What a run is given."""
        return ["-e", json.dumps(self.settings | settings)]

    def ready(self) -> None:
        """A host that is verified, with something of its user's and of somebody else's on it."""
        if not self.verified:
            self.converges()
        if not hosts.exec(HOST, f"docker images -q '*/{KEEPER}'").out:
            hosts.exec(HOST, f"docker pull -q {self.registry.address}/{KEEPER}")
        if hosts.exec(HOST, "docker start theirs", check=False).rc:
            hosts.exec(HOST, foreign.RUN)
        self.keep()

    def keep(self) -> None:
        """Remember what must still be there in the end."""
        hosts.exec(HOST, f"mkdir -p $(dirname {OURS}) && echo mine > {OURS}", user="ops")
        self.daemon_json = json.loads(hosts.exec(HOST, "cat /etc/docker/daemon.json").out)
        self.theirs = foreign.identity(HOST)

    def without_image(self) -> None:
        """Take away container and image, down to the layers that the other image has too."""
        hosts.exec(HOST, "docker rm --force verl; docker images -q 'verlai/verl:vllm*' | xargs -r docker rmi --force")

    def without_toolkit(self) -> None:
        """Take away the toolkit's packages and the notes of what was done."""
        packages = "'nvidia-container-*' 'libnvidia-container*'"
        hosts.exec(HOST, f"DEBIAN_FRONTEND=noninteractive apt-get purge -qy {packages}")
        hosts.exec(HOST, "rm -rf /home/ops/.local/state/verl-provision")

    def converges(self, **settings: object) -> dict:
        """The next run ends verified, and what was there is there."""
        done, host = self.run(**settings)
        assert done.returncode == 0, done.stdout[-6000:]
        assert host["state"] == "verified", host["reason"]
        self.verified = True
        assert hosts.exec(HOST, "docker exec verl nvidia-smi -L").out.count("H100") == 8
        if self.theirs:
            assert foreign.identity(HOST) == self.theirs
        if self.daemon_json:
            assert hosts.exec(HOST, f"cat {OURS}").out == "mine\n"
            now = json.loads(hosts.exec(HOST, "cat /etc/docker/daemon.json").out)
            assert {key: now.get(key) for key in self.daemon_json} == self.daemon_json
        return host

    def settled(self) -> None:
        """A run that follows changes nothing."""
        done, _ = self.run()
        assert done.returncode == 0, done.stdout[-6000:]
        assert "changed=0 " in done.stdout, done.stdout[-6000:]


@pytest.fixture(scope="module")
def fresh() -> Iterator[Scene]:
    """A host as it was when the lab came up, but for somebody else's container."""
    hosts.reset(HOST)
    with proxy.registry() as registry:
        scene = Scene(registry)
        scene.theirs = foreign.start(HOST)
        yield scene
    hosts.reset(HOST)


@pytest.fixture
def scene(fresh) -> Scene:
    """The same, verified."""
    fresh.ready()
    return fresh


@pytest.fixture
def recorded():
    """Call it with what was seen, when all of it held: the row of the table."""

    def write(fault: str, how: str, during: str, after: str) -> None:
        rows = json.loads(RECORD.read_text())["rows"] if RECORD.exists() else []
        rows = [row for row in rows if row["fault"] != fault]
        rows.append(
            {"fault": fault, "how": how, "during": during, "after": after, "seconds": round(time.monotonic() - began),
             "date": time.strftime("%Y-%m-%d", time.gmtime()), "commit": commit()}
        )  # fmt: skip
        order = list(FAULTS)
        rows.sort(key=lambda row: order.index(row["fault"]) if row["fault"] in order else len(order))
        RECORD.write_text(json.dumps({"rows": rows}, indent=1) + "\n")

    began = time.monotonic()
    return write


def commit() -> str:
    """What is tested here."""
    return subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


RIDDEN_OUT = "ridden out: the run itself ended verified"


def said(host: dict) -> str:
    """A host's state and reason in a few words."""
    first = host["reason"].splitlines()[0]
    return f"{host['state']}: {first[:240]}"


FAULTS = (
    "registry dies in the middle of a pull",
    "registry answers 429 and 503, then recovers",
    "dockerd killed in the middle of a run",
    "sshd killed in the middle of a run",
    "controller killed (SIGKILL) at five random moments",
    "disk fills in the middle of a pull",
    "apt's lock is held",
    "clock a day behind",
    "name resolution gone",
    "daemon.json cut off",
    "daemon.json with ten keys of somebody else",
    "host takes the connection and hangs",
)


def test_registry_dies_in_the_middle_of_a_pull(fresh, recorded):
    container = engine.client().containers.get(topology.REGISTRY)
    fresh.registry.after(MID_PULL, container.kill)
    try:
        done, host = fresh.run()
    finally:
        container.start()
        services.wait()
    assert done.returncode != 0
    assert host["state"] == "failed"
    assert host["failure"]["step"] == "container_image"
    fresh.converges()
    recorded(FAULTS[0], "the registry's process gets SIGKILL when 60 MB of blobs went through", said(host), "verified")


def test_registry_answers_429_and_503_then_recovers(scene, recorded):
    scene.without_image()
    scene.registry.refusals += [(429, {"Retry-After": "1"}), (503, {})] * 2
    host = scene.converges(container_image_attempts=5)
    assert scene.registry.refusals == []
    how = "a proxy before it gives 429, 503, 429, 503 to the first four requests for manifests and blobs"
    assert "container_image" in host["plan"]["steps"]
    recorded(FAULTS[1], how, RIDDEN_OUT, "verified")


def test_dockerd_killed_in_the_middle_of_a_run(scene, recorded):
    scene.without_image()
    foreign.end(HOST)  # a dockerd that is killed ends the containers when it comes back, unless it knows live-restore
    scene.theirs = None
    scene.registry.after(1, lambda: hosts.exec(HOST, "pkill -KILL -x dockerd"))
    done, host = scene.run()
    during = RIDDEN_OUT if done.returncode == 0 else said(host)
    until("dockerd to be back", lambda: hosts.exec(HOST, "docker info", check=False).rc == 0, 120)
    scene.converges()
    recorded(FAULTS[2], "dockerd gets SIGKILL in the middle of a pull; systemd starts it again", during, "verified")


def test_sshd_killed_in_the_middle_of_a_run(scene, recorded):
    scene.without_image()
    kill = "systemctl stop ssh; pkill -KILL -x sshd; pkill -KILL sshd-session; true"
    scene.registry.after(1, lambda: hosts.exec(HOST, kill))
    try:
        done, host = scene.run()
    finally:
        hosts.exec(HOST, "systemctl start ssh")
    assert done.returncode != 0
    assert host["state"] == "unreachable", host["reason"]
    scene.converges()
    recorded(FAULTS[3], "sshd and its sessions get SIGKILL in the middle of a pull", said(host), "verified")


def test_apts_lock_is_held(scene, recorded):
    scene.without_toolkit()
    with apt_locked("3600"):
        done, host = scene.run(nvidia_container_toolkit_apt_lock_timeout=5)
    assert done.returncode != 0
    assert host["state"] == "failed"
    assert "lock" in host["reason"]
    with apt_locked("60"):  # and one that ends while the run waits
        scene.converges()
    how = "a process holds /var/lib/dpkg/lock-frontend; the run may wait 5 s for it"
    recorded(FAULTS[6], how, said(host), "verified, with the lock held for its first minute")


@contextlib.contextmanager
def apt_locked(seconds: str) -> Iterator[None]:
    """Another package manager at work, for so long or until the end of this."""
    hold = (
        "import fcntl, time; handle = open('/var/lib/dpkg/lock-frontend', 'w'); "
        f"fcntl.lockf(handle, fcntl.LOCK_EX); open('/run/locked', 'w'); time.sleep({seconds})"
    )
    hosts.exec(HOST, f"rm -f /run/locked; nohup python3 -c {shlex.quote(hold)} >/dev/null 2>&1 & echo $! > /run/locker")
    until("apt's lock to be held", lambda: hosts.exec(HOST, "test -e /run/locked", check=False).rc == 0, 60)
    try:
        yield
    finally:
        hosts.exec(HOST, "kill $(cat /run/locker); rm -f /run/locked /run/locker", check=False)


def test_clock_a_day_behind(scene, recorded):
    """A container has no clock of its own, so the modules and all they start see another: Debian's faketime."""
    scene.without_toolkit()
    hosts.exec(HOST, "apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy faketime")
    place = "/usr/local/bin/python-yesterday"
    wrapper = '#!/bin/sh\nexport FAKETIME_DONT_FAKE_MONOTONIC=1\nexec faketime -f -1d /usr/bin/python3 "$@"\n'
    hosts.exec(HOST, f"printf {shlex.quote(wrapper)} > {place} && chmod +x {place}")
    done, host = scene.run(ansible_python_interpreter=place)
    during = RIDDEN_OUT if done.returncode == 0 else said(host)
    scene.converges()
    how = (
        "faketime shows yesterday to every module and all it starts (apt, gpg, docker's client). A container has no "
        "clock of its own, so dockerd and sshd keep the right time"
    )
    recorded(FAULTS[7], how, during, "verified")


def test_name_resolution_gone(scene, recorded):
    scene.without_toolkit()
    web = f"http://{topology.WEB}"
    named = {"verl_mirror_toolkit": f"{web}/libnvidia-container"}
    hosts.exec(HOST, "cp /etc/resolv.conf /tmp/resolv.conf && echo 'nameserver 192.0.2.1' > /etc/resolv.conf")
    try:
        done, host = scene.run(**named)
    finally:
        hosts.exec(HOST, "cat /tmp/resolv.conf > /etc/resolv.conf")
    assert done.returncode != 0
    assert host["state"] == "refused"
    assert topology.WEB in host["reason"]
    scene.converges(**named)
    how = "the host's resolv.conf names a server that doesn't answer; the toolkit's mirror is given by name"
    recorded(FAULTS[8], how, said(host), "verified")


def test_daemon_json_cut_off(scene, recorded):
    more = {"docker_engine_manage_daemon_json": {"max-concurrent-uploads": 3}}
    look = "cat /etc/docker/daemon.json; stat -c %Y /etc/docker/daemon.json"
    hosts.exec(HOST, "cp -a /etc/docker/daemon.json /tmp/whole.json && truncate --size=20 /etc/docker/daemon.json")
    try:
        cut = hosts.exec(HOST, look).out
        done, host = scene.run(**more)
        assert hosts.exec(HOST, look).out == cut
    finally:
        hosts.exec(HOST, "mv /tmp/whole.json /etc/docker/daemon.json")
    assert done.returncode != 0
    assert host["state"] == "refused"
    assert "daemon_json" in host["reason"]
    scene.converges(**more)
    recorded(FAULTS[9], "only its first 20 bytes are left", f"{said(host)} The file was not touched.",
             "verified, once its owner had mended it")  # fmt: skip


def test_daemon_json_with_ten_keys_of_somebody_else(scene, recorded):
    scene.without_toolkit()
    insecure = json.loads(hosts.exec(HOST, "cat /etc/docker/daemon.json").out)["insecure-registries"]
    keys = {**TEN_KEYS, "insecure-registries": [entry for entry in insecure if entry != scene.registry.address]}
    hosts.exec(HOST, f"echo {shlex.quote(json.dumps(keys))} > /etc/docker/daemon.json && systemctl reload docker")
    scene.daemon_json = TEN_KEYS
    host = scene.converges()
    now = json.loads(hosts.exec(HOST, "cat /etc/docker/daemon.json").out)
    assert set(now) == {*TEN_KEYS, "insecure-registries", "runtimes"}
    recorded(FAULTS[10], "ten valid keys: " + ", ".join(sorted(TEN_KEYS)),
             f"the run did {', '.join(host['plan']['steps'])} and added runtimes and a registry",
             "verified, the ten unchanged")  # fmt: skip


def test_host_takes_the_connection_and_hangs(scene, recorded):
    hosts.exec(
        HOST, "cp /etc/ssh/sshd_config /tmp/sshd_config && echo 'ForceCommand sleep 3600' >> /etc/ssh/sshd_config"
    )
    hosts.exec(HOST, "pkill -KILL sshd-session; systemctl restart ssh")
    try:
        done = play("playbooks/plan.yml", "--limit", f"{HOST},{OTHER}", *scene.arguments(verl_look_timeout=30))
        host, other = (report()["hosts"][name] for name in (HOST, OTHER))
    finally:
        # The sessions that hang would be used again: Ansible keeps its connections for a while.
        mend = (
            "pkill -KILL -u ops -x sleep; pkill -KILL sshd-session; cp /tmp/sshd_config /etc/ssh; systemctl restart ssh"
        )
        hosts.exec(HOST, mend)
    assert done.returncode != 0
    assert host["state"] == "failed"
    assert "within 30 s" in host["reason"]
    assert other["state"] == "planned", other["reason"]
    scene.converges()
    recorded(FAULTS[11], "sshd's ForceCommand sleeps for an hour; verl_look_timeout is 30",
             f"{said(host)} The other host was planned.", "verified")  # fmt: skip


def test_controller_killed_at_five_random_moments(scene, recorded, tmp_path):
    print(f"seed {SEED}: killed after {', '.join(f'{moment:.0f}' for moment in KILLS)} s")
    where = []
    for number, moment in enumerate(KILLS):
        scene.without_image()
        scene.without_toolkit()
        output = tmp_path / f"{number}.log"
        run = begin(output, "site.yml", "--limit", HOST, *scene.arguments())
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.wait(moment)
        assert run.poll() is None, "the run ended before it could be killed"
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        tasks = [line[6:].partition("]")[0] for line in output.read_text().splitlines() if line.startswith("TASK [")]
        where.append(f"{moment:.0f} s ({tasks[-1] if tasks else 'before the first task'})")
        print("killed after", where[-1])
        scene.converges()
    scene.settled()
    how = f"the process group of ansible-playbook gets SIGKILL (seed {SEED}), each time with toolkit and image to fetch"
    recorded(FAULTS[4], how, "killed after " + ", ".join(where), "verified, five times")


@contextlib.contextmanager
def docker_on_a_disk_of_its_own(size: str) -> Iterator[None]:
    """Docker's data root on a file system whose size can be changed."""
    hosts.exec(HOST, f"systemctl stop docker.socket docker && mount -t tmpfs -o size={size} tmpfs /var/lib/docker")
    hosts.exec(HOST, "systemctl start docker")
    try:
        yield
    finally:
        hosts.exec(HOST, "systemctl stop docker.socket docker && umount -l /var/lib/docker && systemctl start docker")


def test_disk_fills_in_the_middle_of_a_pull(scene, recorded):
    foreign.end(HOST)
    scene.theirs = None
    with docker_on_a_disk_of_its_own("60g"):
        used = "$(( $(df --output=used -k /var/lib/docker | tail -1) + 51200 ))"
        scene.registry.after(MID_PULL, lambda: hosts.exec(HOST, f"mount -o remount,size={used}k /var/lib/docker"))
        done, host = scene.run()
        hosts.exec(HOST, "mount -o remount,size=60g /var/lib/docker")
        assert done.returncode != 0
        assert host["state"] == "failed"
        assert "no space left" in host["reason"]
        scene.converges()
        scene.settled()
    scene.verified = False
    how = "the file system of Docker's data shrinks to what is used and 50 MB more"
    recorded(FAULTS[5], how, said(host), "verified")
