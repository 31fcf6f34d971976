"""A real Slurm on this machine: Debian's slurm-wlm in its own root file system and namespaces, two virtual nodes with
eight GPUs each that are character devices without a driver. Stand-ins take the place of what needs real GPUs."""

import subprocess
from pathlib import Path

from lab import cache, machine

SUITE = "bookworm"
PACKAGES = ("slurm-wlm", "munge", "iproute2", "procps", "python3-venv", "ca-certificates")
NODES, GPUS, CPUS = 2, 8, 128

SLURM_CONF = f"""\
ClusterName=test
SlurmctldHost=node1
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation=/run/slurm
SlurmdSpoolDir=/run/slurmd-%n
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd-%n.pid
SlurmctldLogFile=/out/slurmctld.log
SlurmdLogFile=/out/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
ReturnToService=2
MpiDefault=none
KillWait=5
SlurmdParameters=config_overrides
NodeName=node[1-2] NodeHostname=node1 NodeAddr=192.0.2.[1-2] Port=[26821-26822] CPUs={CPUS} RealMemory=900000 \\
Gres=gpu:h100:8
PartitionName=gpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
GRES_CONF = "NodeName=node[1-2] Name=gpu Type=h100 File=/dev/fakegpu[0-7]\n"

# Both nodes are this one kernel; /tmp and /dev/shm are each one's own. With `lo` alone Slurm finds no address, so a
# pair of virtual interfaces carries them.
START = """
set -e
hostname node1
ip link set lo up
ip link add d0 type veth peer name d1
ip addr add 192.0.2.1/24 dev d0 && ip addr add 192.0.2.2/24 dev d0
ip link set d0 up && ip link set d1 up
for i in 0 1 2 3 4 5 6 7; do mknod /dev/fakegpu$i c 240 $i; done
printf '127.0.0.1 localhost\\n192.0.2.1 node1\\n192.0.2.2 node2\\n' >/etc/hosts
mungekey -c -f
install -d -o munge -g munge /run/munge
chown munge: /etc/munge/munge.key
install -d /run/slurm /run/slurmd-node1 /run/slurmd-node2
setpriv --reuid munge --regid munge --init-groups munged --force
slurmctld
slurmd -N node1
unshare --mount sh -c 'mount -t tmpfs tmpfs /tmp && mount -t tmpfs tmpfs /dev/shm && exec slurmd -N node2'
until [ "$(sinfo -h -N -t idle -o %N | wc -l)" = 2 ]; do read -rt 0.2 <> <(:) || :; done
cd /out
"""
ENTER = """
mount -t tmpfs tmpfs "$2" && mkdir "$2/up" "$2/work" "$2/root"
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/up,workdir=$2/work" "$2/root"
cd "$2/root"
mkdir -p out shared
mount --bind "$3" out && mount --bind "$4" shared
mount -t proc proc proc && mount -t sysfs -o ro sysfs sys && mount -t tmpfs tmpfs dev
mkdir dev/shm && mount -t tmpfs tmpfs dev/shm
for device in null zero random urandom full; do touch "dev/$device" && mount --bind "/dev/$device" "dev/$device"; done
ln -s /proc/self/fd dev/fd
[ -z "${PROJECT:-}" ] || { mkdir -p ".$PROJECT" && mount --bind -o ro "$PROJECT" ".$PROJECT"; }
exec /usr/sbin/chroot . bash -c "$5"
"""


def root() -> Path:
    """The root file system, built where the cache lacks it."""

    def build(folder: Path) -> None:
        mirror = machine.debian_mirror()
        command = [
            machine.need("mmdebstrap", "mmdebstrap"), "--quiet", "--variant=minbase",
            f"--include={','.join(PACKAGES)}", '--aptopt=Acquire::Check-Valid-Until "false"',
            '--aptopt=Acquire::Languages "none"', "--dpkgopt=force-unsafe-io",
            SUITE, str(folder / "root"), *([mirror] if mirror else []),
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True)
        (folder / "root/etc/slurm").mkdir(exist_ok=True)
        (folder / "root/etc/slurm/slurm.conf").write_text(SLURM_CONF)
        (folder / "root/etc/slurm/gres.conf").write_text(GRES_CONF)
        (folder / "root/etc/slurm/cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")

    return cache.step("slurm", [SUITE, PACKAGES, SLURM_CONF, GRES_CONF], build) / "root"


class SlurmCluster:
    """The cluster, started anew for each script that is run on its first node."""

    def __init__(self, folder: Path):
        self.out, self.shared, self.mount = folder / "out", folder / "shared", folder / "mount"
        for made in (self.out, self.shared, self.mount):
            made.mkdir()

    def stand_in(self, name: str, script: str) -> None:
        """A program in place of a real one, first on PATH."""
        path = self.shared / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)

    def run(self, script: str, timeout: int = 300, project: Path | None = None) -> subprocess.CompletedProcess:
        """Start the cluster, run `script` in /out on its first node, end the cluster with all that runs on it."""
        namespaces = ["unshare", "--mount", "--pid", "--fork", "--net", "--uts", "--ipc", "--kill-child"]
        path = "/shared/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        places = [str(root()), str(self.mount), str(self.out), str(self.shared)]
        return subprocess.run(
            [*namespaces, "bash", "-ec", ENTER, "enter", *places, f"{START}\nset +e\n{script}"],
            env={"PATH": path, "HOME": "/root", "LANG": "C.UTF-8", **({"PROJECT": str(project)} if project else {})},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout,
        )  # fmt: skip
