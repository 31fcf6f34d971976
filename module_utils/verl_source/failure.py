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
        r"externally-managed-environment",
        "this Python is the distribution's own, in which pip installs nothing (PEP 668)",
        "let verl-provision make an environment of its own (unset source_environment_python, or name one with venv)",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|SSLCertVerificationError",
        "the certificate of the package index is not trusted: a proxy may break TLS open",
        "have this host trust the proxy's certificate (PIP_CERT, or global.cert in pip.conf), then run again",
    ),
    (
        r"(?m)Killed signal terminated program|^\s*Killed\s*$|\bKilled\b.*(?:cc1plus|cicc|ptxas)|fatal error: Killed",
        "the compiler was killed: the memory was full",
        "compile fewer files at once (MAX_JOBS=2 in the environment), or on a machine with more memory",
    ),
    (
        r"nvcc was not found|CUDA_HOME environment variable is not set|No such file or directory: '?[^'\n]*nvcc",
        "a package is compiled for the GPU, and there is no CUDA compiler (nvcc) here",
        "choose a version with a ready wheel for this Python and torch, or install the CUDA toolkit of torch's version",
    ),
    (
        r"ModuleNotFoundError: No module named '(?:torch|packaging|psutil|numpy)'",
        "a package is compiled in an isolated build, which does not see the installed torch",
        "install what it needs first and build it with --no-build-isolation, or choose a version with a ready wheel",
    ),
    (
        r"is not a supported wheel on this platform",
        "the wheel is for another CPU, Python or C library",
        "choose one for this machine, or let pip choose (no direct link to a file)",
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
        r"requires a different Python",
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
    if returncode < 0:
        return (
            "pip was stopped by signal %d%s" % (-returncode, " (out of memory?)" if returncode == -9 else ""),
            "run again: what has been installed so far is kept",
        )
    for pattern, what, fix in _CAUSES:
        if re.search(pattern, text):
            return what, fix
    missing = re.findall(r"No matching distribution found for (\S+)", text)
    if missing and not NETWORK.search(text):
        return _missing(missing[-1], text)
    if NETWORK.search(text):
        return (
            "the package index can't be reached",
            "check the network, the proxy and source_environment_pypi_index, then run again: "
            "what has been installed so far is kept",
        )
    return "pip ended with exit status %d" % returncode, "see the log, mend the cause, then run again"


def _missing(wanted, text):
    """What is said of a requirement that the index doesn't have for this Python and machine."""
    name = re.split(r"[=<>!~\[]", wanted)[0]
    version = wanted.partition("==")[2]
    offered = re.findall(r"from versions: ([^)]*)\)", text)
    if version and re.search(
        r"Ignored the following versions that require a different python version:[^\n]*\b%s\b" % re.escape(version),
        text,
    ):
        return (
            "there is no build of %s for this Python" % wanted,
            "choose another interpreter with source_environment_python, or another verl release",
        )
    newest = offered[-1].split(",")[-1].strip() if offered and offered[-1] not in ("none", "") else ""
    behind = ": its newest is %s, so a mirror may lag behind" % newest if newest else ""
    return (
        "the package index has no %s for this Python and machine%s" % (wanted, behind),
        "choose a release that exists: pip index versions %s; or another index (source_environment_pypi_index)" % name,
    )


def telling_lines(text, count=6):
    """The last `count` lines of `text` that say something; errors are preferred over the rest."""
    lines = [line.rstrip() for line in text.splitlines() if not _NOISE.search(line)]
    errors = [line for line in lines if line.lstrip().startswith(("ERROR", "error:", "OSError"))]
    chosen = errors[-count:] if errors else lines[-count:]
    return [line[:300] for line in chosen]
