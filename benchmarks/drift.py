"""Change one item by hand on one host, and see who notices: equal work is only what catches the same things."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import contestants
import fleet
import harness
import yaml
from harness import Contestant

from lab import topology
from lab.build import gpu

DESCRIBED = yaml.safe_dump(gpu.describe(topology.HOSTS[fleet.BASE].machine) | {"count": 4}, width=200)
FOUR_GPUS = f"cat > /opt/lab/nvml.yaml <<'END'\n{DESCRIBED}END"  # the mock NVML reads it

TOOLKIT = "nvidia-container-toolkit nvidia-container-toolkit-base libnvidia-container1 libnvidia-container-tools"
OLDER = f"apt-get install -qq --allow-downgrades $(printf '%s=1.19.1-1 ' {TOOLKIT})"
COMMIT = "su ops -c 'git -C ~/verl/src -c user.name=ops -c user.email=ops@lab commit -q --allow-empty -m by-hand'"

# name: how it is changed on one host; its files are its own, so starting the fleet again mends it
FILES = {
    "nothing: healthy": "true",
    "Docker removed": "sed -i '/^Package: docker.io$/,/^$/d' /var/lib/dpkg/status; rm /usr/bin/docker",
    "another toolkit version": OLDER,
    "the runtime out of daemon.json": "sed -i '/runtimes/,$d; s/ads\": 6,/ads\": 6}/' /etc/docker/daemon.json",
    "four GPUs instead of eight": FOUR_GPUS,
    "the checkout on another commit": COMMIT,
    "the checkout edited": "echo '# by hand' >> /home/ops/verl/src/verl/__init__.py",
    "verl-shell removed": "rm /home/ops/.local/bin/verl-shell",
    "no stamp of a verification": "rm /home/ops/.local/state/verl-provision/verification.json",
}
LOOKED_FOR = "Docker removed"  # mending it would install and start the Docker that the whole fleet shares
# what the fleet shares: changed and mended on the base
SHARED = {
    "the container stopped": ("docker stop -t 0 verl", "docker start verl"),
}


@contextmanager
def drifted(name: str) -> Iterator[None]:
    """One host of a fresh fleet of two with one item changed."""
    fleet.start(2)
    if name in FILES:
        fleet.inside(fleet.members(2)[1], FILES[name])
        yield
        return
    change, mend = SHARED[name]
    fleet.base(change)
    try:
        yield
    finally:
        fleet.base(mend)


def show() -> None:
    """A row per item: who mended it, or said that something is wrong; nobody may do so in the first."""
    everybody = contestants.all_of(2, fleet.start(2))  # told what is healthy before anything is changed
    names = [contestant.name for contestant in everybody]
    print(f"\ndrift on one host of two, caught by{'':7}" + "".join(f"{name:>22}" for name in names))
    for item in FILES | SHARED:
        caught = []
        for contestant in everybody:
            with drifted(item):
                caught.append(notices(contestant, item == LOOKED_FOR))
        print(f"  {item:40}" + "".join(f"{'yes' if yes else 'NO':>22}" for yes in caught), flush=True)


def looking(contestant: Contestant) -> list[str]:
    """Its command, so that it changes nothing."""
    command = list(contestant.command)
    if contestant.name == "verl-provision":
        command[command.index("site.yml")] = "playbooks/plan.yml"
    elif contestant.name == "pyinfra":
        command[command.index("-y")] = "--dry"  # with both it doesn't say what it would change
    else:
        command.append("--check")
    return command


def notices(contestant: Contestant, only_looks: bool) -> bool:
    """Run it, perhaps so that it only looks, and read what it says."""
    command = looking(contestant) if only_looks else contestant.command
    environment = {**harness.os.environ, **contestant.environment}
    done = subprocess.run(command, cwd=contestant.cwd, env=environment, capture_output=True, text=True, check=False)
    return contestants.changed(contestant, done)
