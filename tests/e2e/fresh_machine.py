"""A minimal Debian root file system with only the README's prerequisites, and a newcomer who clones into it."""

import os
import shutil
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PREREQUISITES = ("git", "make", "python3", "python3-venv")  # what the README names
USER = "newcomer"
CLIENT_CONFIGURATION = ("PIP_", "SSL_", "REQUESTS_", "CURL_")  # how this machine reaches its package index


def client_configuration() -> dict[str, str]:
    """The environment variables that say how this machine reaches its package index."""
    found = {key: value for key, value in os.environ.items() if key.startswith(CLIENT_CONFIGURATION)}
    found.pop("PIP_FIND_LINKS", None)  # a directory of this machine
    return found


class FreshMachine:
    """The root file system, and commands run inside it in their own mount and process namespaces."""

    def __init__(self, root: Path, user: str = USER):
        self.root = root
        self.user = user
        self.home = root / "root" if user == "root" else root / "home" / user

    def build(self, suite: str = "bookworm") -> None:
        """Lay the system down from this machine's own apt sources, then clone the repository's HEAD into it."""
        packages = ",".join((*PREREQUISITES, "ca-certificates"))
        command = ["mmdebstrap", "--variant=minbase", f"--include={packages}", suite, str(self.root)]
        subprocess.run(command, check=True, capture_output=True)
        for path in ("/etc/resolv.conf", "/etc/ssl/certs/ca-certificates.crt"):
            shutil.copy(path, self.root / path.lstrip("/"))
        if self.user != "root":
            subprocess.run(["useradd", "--root", str(self.root), "--create-home", self.user], check=True)
        clone = self.home / "verl-provision"
        subprocess.run(["git", "clone", "--quiet", f"file://{REPOSITORY}", str(clone)], check=True)
        home = f"/{self.home.relative_to(self.root)}"
        subprocess.run(["chroot", str(self.root), "chown", "-R", f"{self.user}:", home], check=True)

    def run(self, command: str, timeout: int = 1500) -> subprocess.CompletedProcess:
        """Run `command` in the clone as the newcomer; stdout and stderr come back together."""
        inside = f"cd ~/verl-provision && {command}"
        enter = (
            'mount --rbind /dev "$1/dev" && mount -t proc proc "$1/proc" && '
            'exec /usr/sbin/chroot --userspec "$2" "$1" env HOME="/home/$2" bash -c "$3"'
        )
        namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        argv = [*namespaces, "bash", "-c", enter, "-", str(self.root), self.user, inside]
        environment = client_configuration() | {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
        return subprocess.run(
            argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout
        )

    def files(self) -> set[str]:
        """Every file outside what belongs to the newcomer's run: the clone, the prefix, the state, Ansible's own."""
        own = ("verl-provision", "verl", ".local/state/verl-provision", ".local/bin", ".ansible")
        theirs = tuple(str(self.home / part) for part in own)
        passing = tuple(str(self.root / part) for part in ("dev", "proc", "sys", "tmp", "var/tmp"))
        listing = set()
        for directory, _, names in os.walk(self.root):
            if directory.startswith((*theirs, *passing)):
                continue
            for name in names:
                status = (Path(directory) / name).lstat()
                listing.add(f"{directory}/{name} {status.st_mode} {status.st_size} {status.st_mtime_ns}")
        return listing
