"""What apt on a host would say to another source: the entry that is there is used, or the host is refused."""

import fnmatch
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from verl_provision.facts import AptPin, AptSource, Host
from verl_provision.plan.steps.step import Notes, warn

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
    if host.apt.unfinished:
        names = ", ".join(host.apt.unfinished[:5])
        notes += _package_error(
            f"dpkg could not end its work on {names}: each installation ends with its error",
            "packages that are configured",
            "sudo dpkg --configure -a && sudo apt-get --fix-broken install",
        )
    return notes


def installs(host: Host, packages: Mapping[str, str], makes_way: Iterable[str], uri: str) -> Notes:
    """What keeps apt from installing `packages` ({name: version}, "" for the newest) from the repository at `uri`.

    `makes_way` are packages that they replace, or that a change of theirs takes along.
    """
    notes = Notes()
    held = [name for name in host.apt.held if name in packages or name in makes_way]
    if held:
        names = " ".join(held)
        fix = f"sudo apt-mark unhold {names}   # they were put on hold by hand: is there a reason?"
        notes += _package_error(f"on hold: {names}", f"packages that apt may change: {', '.join(packages)}", fix)
    forbidding = [pin for pin in host.apt.pins if _forbids(pin, uri)]
    kept = [
        name
        for name, version in packages.items()
        if not version and any(fnmatch.fnmatchcase(name, pin.package) for pin in forbidding)
    ]
    if kept:
        files, names = ", ".join(sorted({pin.file for pin in forbidding})), ", ".join(kept)
        notes += _package_error(
            f"{files} forbids {names}: Pin: {forbidding[0].pin}, priority {forbidding[0].priority}",
            f"{names} from {uri}",
            f"Take that entry out of {files}; apt-cache policy {kept[0]} shows what it does.",
        )
    if host.apt.locked:
        message = f"apt is in use by {host.apt.locked}: the step waits for it, five minutes at most"
        notes += warn("apt_packages", message, "Let it end first: systemd-inhibit --list; then run again.")
    return notes


def _forbids(pin: AptPin, uri: str) -> bool:
    """Whether a pin keeps apt from whatever that repository has. A version asked for by name beats every pin."""
    kind, dummy, value = pin.pin.partition(" ")
    value = value.strip("\"'")
    host = urlsplit(uri).hostname or ""
    return pin.priority < 0 and (value == "*" or (kind == "origin" and fnmatch.fnmatchcase(host, value)))


def _package_error(found: str, needed: str, fix: str) -> Notes:
    return Notes(errors=({"rule": "apt_packages", "found": found, "needed": needed, "where": "apt", "fix": fix},))


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
