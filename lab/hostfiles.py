"""The files that make a plain Debian root file system one particular host of the lab."""

import io
import json
import os
import shutil
import tarfile
import tempfile
from pathlib import Path

from lab import cache, engine, keys, machine, network, settings
from lab.build import gpu, toolkit
from lab.topology import Host

PIP_CACHE = "/var/cache/lab-pip"  # the GPU-less host's, kept between labs
PCI = [0x18, 0x2A, 0x3A, 0x5D, 0x9A, 0xAB, 0xBA, 0xDB]  # as nvml_mock.c shows them


def _write(root: Path, path: str, text: str, mode: int = 0o644) -> None:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    target.chmod(mode)


def _probes(root: Path, host: Host) -> None:
    """Record the parts of /proc and /sys that a container can't show (docs/lab.md)."""
    probe = "opt/lab/probe"
    devices = f"{probe}/sys/bus/pci/devices"
    nic = f"{devices}/0000:05:00.0"
    for name, value in {"vendor": "0x8086", "device": "0x1521", "class": "0x020000"}.items():
        _write(root, f"{nic}/{name}", value + "\n")
    if not host.machine:
        return
    version = gpu.describe(host.machine)["driver_version"]
    _write(
        root,
        f"{probe}/proc/driver/nvidia/version",
        f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {version}  Tue Apr  8 12:41:17 UTC 2025\n"
        "GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n",
    )
    _write(root, f"{probe}/sys/module/nvidia/version", version + "\n")
    for bus in PCI[: gpu.describe(host.machine)["count"]]:
        for name, value in {"vendor": "0x10de", "device": "0x2330", "class": "0x030200"}.items():
            _write(root, f"{devices}/0000:{bus:02x}:00.0/{name}", value + "\n")


def _tree(root: Path, host: Host) -> None:
    unit = "etc/systemd/system/lab-machine.service"
    for source, target in (("machine-up", "opt/lab/machine-up"), ("lab-machine.service", unit)):
        (root / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(settings.FILES / "host" / source, root / target)
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True)
    (wants / "lab-machine.service").symlink_to("/etc/systemd/system/lab-machine.service")

    # It looks for LVM's snapshots among the machine's disks, which aren't the host's, and fails where it may not look.
    (root / "etc/systemd/system/e2scrub_reap.service").symlink_to("/dev/null")

    # Debian's unit starts it again after a failure only: told to end, it would leave a host that nobody reaches.
    _write(root, "etc/systemd/system/ssh.service.d/lab.conf", "[Service]\nRestart=always\n")
    _write(root, "root/lab-key.pub", keys.private_key().with_suffix(".pub").read_text())
    if machine.ca_bundle():
        _write(root, "etc/ssl/certs/ca-certificates.crt", machine.ca_bundle().read_text())
    web = network.web_address()
    kept = {} if host.machine else {"cache-dir": PIP_CACHE}
    _write(root, "etc/pip.conf", machine.pip_conf(**_with_host(web), **kept))
    _write(root, "etc/apt/apt.conf.d/80lab", 'Acquire::Check-Valid-Until "false";\nAcquire::Languages "none";\n')
    _probes(root, host)
    if host.machine:
        gpu.install(host.machine, root)
        _write(root, "opt/lab/gpus", str(gpu.describe(host.machine)["count"]))
        # nvidia-cdi-refresh.service looks here for the driver's module before it does anything.
        _write(root, f"lib/modules/{os.uname().release}/modules.dep", "updates/dkms/nvidia.ko:\n")
        # A site's own settings, there before verl-provision: some of them only the lab needs, some foreign.
        _write(
            root,
            "etc/docker/daemon.json",
            json.dumps(
                {
                    "insecure-registries": [network.registry()],
                    "log-driver": "json-file",
                    "log-opts": {"max-file": "3", "max-size": "20m"},
                    "max-concurrent-downloads": 6,
                },
                indent=2,
            )
            + "\n",
        )

    if host.no_root:
        _administrators(root)


def _administrators(root: Path) -> None:
    """What an administrator left on a host whose users have no rights: the toolkit's packages, and site settings."""
    version = settings.TOOLKIT_VERSIONS[-1]
    for package in (toolkit.make() / "repository/stable/deb/amd64").glob(f"*_{version}-1_amd64.deb"):
        (root / "opt/lab/toolkit").mkdir(parents=True, exist_ok=True)
        shutil.copy2(package, root / "opt/lab/toolkit")
    registry = f'[[registry]]\nlocation = "{network.registry()}"\ninsecure = true\n'
    _write(root, "etc/containers/registries.conf.d/site.conf", registry)
    if not Path("/sys/fs/cgroup/cgroup.controllers").exists():
        # Rootless Podman can do nothing with cgroups v1.
        _write(root, "etc/containers/containers.conf.d/site.conf", '[containers]\ncgroups = "disabled"\n')


def _with_host(web: str) -> dict[str, str]:
    """Let pip trust the lab's plain-http web server, beside the hosts that the machine already trusts."""
    trusted = machine.pip_settings().get("trusted-host", "")
    return {"trusted-host": f"{trusted} {web}".strip()}


def digest(host: Host) -> str:
    """Hash all that makes a host what it is when it comes up, this lab's SSH key and addresses included."""
    with tempfile.TemporaryDirectory() as folder:
        _tree(Path(folder), host)
        return cache.digest_of(repr(host), SETUP, ADMINISTRATOR, Path(folder))


def archive(host: Host) -> bytes:
    """Pack a host's files, owned by root, for Docker to unpack at /."""
    packed = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _tree(root, host)

        def owned(entry: tarfile.TarInfo) -> tarfile.TarInfo:
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = "root"
            # /lib is a link on these hosts: an entry for it would replace the link.
            if entry.name == "lib" or entry.name.startswith("lib/"):
                entry.name = f"usr/{entry.name}"
            return entry

        with tarfile.open(fileobj=packed, mode="w") as tar:
            for path in sorted(root.rglob("*")):
                if path.is_symlink() or not path.is_dir():
                    tar.add(path, str(path.relative_to(root)), recursive=False, filter=owned)
    return packed.getvalue()


SETUP = r"""
set -eu
user=$1; sudo=$2
id "$user" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$user"
home=$(getent passwd "$user" | cut -d: -f6)
install -d -m 700 -o "$user" -g "$user" "$home/.ssh"
install -m 600 -o "$user" -g "$user" /root/lab-key.pub "$home/.ssh/authorized_keys"
if [ "$sudo" = yes ]; then
    echo "$user ALL=(ALL) NOPASSWD: ALL" > /etc/sudoers.d/lab
    chmod 440 /etc/sudoers.d/lab
fi
if [ -d "$3" ] && [ "$(stat -c %U "$3")" != "$user" ]; then
    chown -R "$user:$user" "$3"
fi
"""


# Once: a host that is up already was administered before.
ADMINISTRATOR = r"""
set -eu
[ -d /opt/lab/toolkit ] || exit 0
dpkg --install /opt/lab/toolkit/*.deb
rm -r /opt/lab/toolkit
"""


def install(container, host: Host) -> None:
    """Make the login user of a started host."""
    status, said = container.exec_run(["sh", "-c", SETUP, "sh", host.user, "yes" if host.sudo else "no", PIP_CACHE])
    if status:
        raise machine.LabError(f"Setting up {host.name} failed:\n{said.decode(errors='replace')}")


def put(container, host: Host) -> None:
    """Lay a host's files into its container, which hasn't started yet."""
    engine.client().api.put_archive(container.id, "/", archive(host))
