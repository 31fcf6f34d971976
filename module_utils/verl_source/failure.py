"""One kind of failure, and what pip's output says about it."""

from __future__ import annotations

import re


class BuildFailure(Exception):
    """A build can't go on; `fix` is the next command or change for the user."""

    def __init__(self, message, fix, stage=None, tail=None):
        super().__init__(message)
        self.message = message
        self.fix = fix
        self.stage = stage
        self.tail = tail or []


NETWORK = re.compile(
    r"connection broken|Could not fetch URL|NewConnectionError|ConnectTimeout|ReadTimeout|Read timed out"
    r"|Name or service not known|Temporary failure in name resolution|ProxyError|IncompleteRead"
    r"|ConnectionResetError|SSLError|Network is unreachable|Max retries exceeded",
)
# pip lines that say nothing about the cause.
_NOISE = re.compile(r"^\s*$|^\[notice\]|^WARNING: There was an error checking|^\s*Requirement already satisfied")

# (pattern, what, fix); the first that matches wins, so the more certain causes come first.
_CAUSES = [
    (
        r"No space left on device|\[Errno 28\]|\[Errno 122\]|Disk quota exceeded",
        "the disk is full",
        "free space there (or choose another source_environment_prefix), then run again",
    ),
    (
        r"401 Client Error|403 Client Error|User for .* Credentials",
        "the package index refuses access",
        "check the index's address and credentials in pip.conf or source_environment_pypi_index, then run again",
    ),
    (
        r"THESE PACKAGES DO NOT MATCH THE HASHES|hash mismatch",
        "a downloaded file isn't what its index promises",
        "check the mirror, then run again",
    ),
    (
        # Older pips take what came before the cut for the whole file.
        r"Wheel '.*' located at .* is invalid|has an invalid wheel|BadZipFile|File is not a zip file",
        "a download was cut off",
        "check the network, then run again: what has been installed so far is kept",
    ),
    (
        r"requires a different Python|Requires-Python",
        "there is no build of it for this Python",
        "choose another interpreter with source_environment_python, or another verl release",
    ),
    (
        r"ResolutionImpossible|conflicting dependencies|has requirement .* but you have",
        "the wanted versions exclude one another",
        "loosen source_environment_constraints, source_environment_torch or source_environment_extra_packages",
    ),
    (
        r"Failed building wheel|Failed to build|subprocess-exited-with-error|error: command '.*' failed",
        "a package has to be compiled on this host and that failed",
        "the log says what the compiler misses; a newer pip or another Python often has a ready wheel",
    ),
]


def explain_pip(text, returncode):
    """(what, fix) for pip's output `text`."""
    for pattern, what, fix in _CAUSES:
        if re.search(pattern, text):
            return what, fix
    if NETWORK.search(text):
        return (
            "the package index can't be reached",
            "check the network, the proxy and source_environment_pypi_index, then run again: "
            "what has been installed so far is kept",
        )
    missing = re.findall(r"No matching distribution found for (\S+)", text)
    if missing:
        return (
            "the package index has no %s for this Python and machine" % missing[-1],
            "choose a release that exists: pip index versions %s" % re.split(r"[=<>!~\[]", missing[-1])[0],
        )
    if returncode < 0:
        return (
            "pip was stopped by signal %d%s" % (-returncode, " (out of memory?)" if returncode == -9 else ""),
            "run again: what has been installed so far is kept",
        )
    return "pip ended with exit status %d" % returncode, "see the log, mend the cause, then run again"


def telling_lines(text, count=6):
    """The last `count` lines of `text` that say something; errors are preferred over the rest."""
    lines = [line.rstrip() for line in text.splitlines() if not _NOISE.search(line)]
    errors = [line for line in lines if line.lstrip().startswith(("ERROR", "error:", "OSError"))]
    chosen = errors[-count:] if errors else lines[-count:]
    return [line[:300] for line in chosen]
