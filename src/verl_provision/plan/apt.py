"""What apt on a host would say to another source: the entry that is there is used, or the host is refused."""

from typing import Any

from verl_provision.facts import AptSource, Host
from verl_provision.plan.steps.step import Notes

DEBIAN_ARCH = {"x86_64": "amd64", "aarch64": "arm64"}


def existing_source(host: Host, uri: str, suite: str, fingerprint: Any, own: str) -> tuple[str, Notes]:
    """The file that names this repository and is used as it is; "" where ours (`own`) is written.

    apt refuses two sources of one repository that name different keys, and then everything else on the host too: an
    entry that can't be used is an error of the plan.
    """
    broken = works(host)
    if broken:
        return "", broken
    uri, key = uri.rstrip("/"), str(fingerprint).replace(" ", "").upper().removeprefix("0X")
    there = [entry for entry in host.apt.sources if (entry.uri, entry.suite) == (uri, suite)]
    for entry in there:
        if key in entry.keys and _for_this_cpu(entry, host):
            return entry.file, Notes()
    for entry in there:
        if entry.file != own or any(other.uri != uri for other in host.apt.sources if other.file == own):
            return "", _unfit(entry, key)
    return "", Notes()


def retired(host: Host, names: tuple[str, ...]) -> Notes:
    """Refuse sources of repositories that were given up."""
    found = sorted({entry.file for entry in host.apt.sources if entry.file.rpartition("/")[2] in names})
    if not found:
        return Notes()
    return _error(
        f"sources of NVIDIA's retired repositories: {', '.join(found)}",
        "the repository of today alone",
        f"sudo mv {' '.join(found)} /root/",
    )


def works(host: Host) -> Notes:
    """What keeps apt from installing anything at all."""
    notes = Notes()
    for conflict in host.apt.conflicts:
        found = (
            f"apt reads no source at all: {' and '.join(conflict.files)} name {conflict.uri} {conflict.suite} with "
            "different keys (Conflicting values set for option Signed-By)"
        )
        fix = f"Keep the right one: sudo mv {conflict.files[-1]} /root/; sudo apt-get update"
        if len(conflict.files) == 1 or conflict.files[-1] == "/etc/apt/sources.list":
            fix = f"Edit {conflict.files[-1]}, then: sudo apt-get update"
        notes += _error(found, "one source of a repository, or the same Signed-By in all", fix)
    if host.apt.interrupted:
        found = "dpkg was interrupted: its journal in /var/lib/dpkg/updates is not empty, and apt installs nothing"
        notes += _error(found, "a dpkg that has ended its work", "sudo dpkg --configure -a")
    return notes


def _for_this_cpu(entry: AptSource, host: Host) -> bool:
    return not entry.arch or DEBIAN_ARCH.get(host.arch or "", host.arch) in entry.arch


def _unfit(entry: AptSource, key: str) -> Notes:
    named = f"signed by {entry.signed_by}" if entry.signed_by else "without a key of its own"
    holds = f"which holds the key {', '.join(entry.keys)}" if entry.keys else "with no key that can be read"
    cpu = f", for {', '.join(entry.arch)} only" if entry.arch and key in entry.keys else ""
    move = f"sudo mv {entry.file} /root/"
    if entry.file == "/etc/apt/sources.list":
        move = f"Take the line out of {entry.file}"
    return _error(
        f"{entry.file} names {entry.uri} {entry.suite} already, {named}, {holds}{cpu}",
        f"that source with the key {key}, or none: with a second one beside it that names another key apt reads no "
        "source at all any more",
        f"{move}, then run again.",
    )


def _error(found: str, needed: str, fix: str) -> Notes:
    return Notes(errors=({"rule": "apt_sources", "found": found, "needed": needed, "where": "/etc/apt", "fix": fix},))
