"""The state of a host in a form that two looks at it can be compared."""

from dataclasses import asdict, dataclass

from lab import hosts

PACKAGES = "dpkg-query -W -f '${Package}=${Version}\\n'"
# Not what logging in leaves behind: Ansible's own folder, caches, the user's session.
FILES = (
    "find /etc /usr/local /opt /srv /home /root -xdev \\( -name .ansible -o -name .cache \\) -prune "
    "-o -type f -exec sha256sum {} + | sort -k2"
)
# Not what a user's session or the distribution's own timers start.
UNITS = (
    "systemctl list-units --type=service,path,socket --no-legend --plain | awk '{print $1, $4}' "
    "| grep -vE '^user[-@]|^(apt-daily|dpkg-db-backup|e2scrub|fstrim|logrotate|man-db|systemd-tmpfiles-clean)' | sort"
)
DAEMON = "systemctl show docker -p MainPID -p ActiveEnterTimestamp 2>/dev/null"
CONTAINERS = (
    "command -v docker >/dev/null && docker ps -aq --no-trunc | xargs -r docker inspect "
    "-f '{{.Name}} {{.Id}} {{.State.Pid}} {{.State.StartedAt}}' | sort; true"
)
IMAGES = "command -v docker >/dev/null && docker images --digests --no-trunc -q | sort -u; true"


@dataclass(frozen=True)
class Snapshot:
    """What a run may have changed on a host."""

    packages: tuple[str, ...]
    files: tuple[str, ...]
    units: tuple[str, ...]
    daemon: tuple[str, ...]
    containers: tuple[str, ...]
    images: tuple[str, ...]

    def difference(self, other: "Snapshot") -> list[str]:
        """Say what `other` has or lacks, one line each; empty where nothing changed."""
        lines = []
        for kind, before in asdict(self).items():
            after = getattr(other, kind)
            gone, new = set(before) - set(after), set(after) - set(before)
            lines += [f"{kind}: - {line}" for line in sorted(gone)] + [f"{kind}: + {line}" for line in sorted(new)]
        return lines


def snapshot(host: str) -> Snapshot:
    """Look at a host: packages, files, services, the Docker daemon, containers (with PID and start time), images."""

    def lines(command: str) -> tuple[str, ...]:
        return tuple(hosts.exec(host, command).out.splitlines())

    return Snapshot(*map(lines, (PACKAGES, FILES, UNITS, DAEMON, CONTAINERS, IMAGES)))
