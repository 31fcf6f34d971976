"""One function per kind of thing that a plan fetches. Each returns (ok, found, data) or raises Missing with a fix."""

import fnmatch
import glob
import gzip
import json
import lzma
import os
import re
import sys

from ansible.module_utils.verl_access import logins
from ansible.module_utils.verl_container import cli, registry, web
from ansible.module_utils.verl_probes import openpgp

DAEMON_JSON = ("/etc/docker/daemon.json", "~/.config/docker/daemon.json")
REGISTRIES_CONF = tuple(
    "{0}/containers/registries.conf{1}".format(place, part)
    for place in ("/etc", "~/.config")
    for part in ("", ".d/*.conf")
)


class Missing(Exception):
    """It isn't there, or isn't what's needed."""

    def __init__(self, found, fix, needed=None, data=None):
        super().__init__(found)
        self.found = found
        self.fix = fix
        self.needed = needed
        self.data = data or {}


def hide(text):
    """Return text without the user part of URLs."""
    return re.sub(r"://[^/@\s]+@", "://", str(text))


def daemon_json(key):
    """Return a list of names in this host's daemon.json files, the system's and rootless Docker's."""
    found = []
    for path in DAEMON_JSON:
        try:
            with open(os.path.expanduser(path), encoding="utf-8") as handle:
                entries = json.load(handle).get(key)
        except (OSError, ValueError, AttributeError):
            continue
        found += [entry for entry in entries if isinstance(entry, str)] if isinstance(entries, list) else []
    return found


def insecure_registries():
    """Return the registries that this host's operator named insecure: for Docker, and for Podman (registries.conf)."""
    found = daemon_json("insecure-registries")
    for pattern in REGISTRIES_CONF:
        for path in sorted(glob.glob(os.path.expanduser(pattern))):
            try:
                with open(path, encoding="utf-8") as handle:
                    blocks = re.split(r"(?m)^\s*\[", handle.read())
            except (OSError, ValueError):
                continue
            for block in blocks:
                place = re.search(r"""(?m)^\s*location\s*=\s*["']([^"'/]+)""", block)
                if place and re.search(r"(?m)^\s*insecure\s*=\s*true\b", block):
                    found.append(place.group(1))
    return found


def registry_manifest(request, context):
    """The image's manifest is there for this platform; resolves a tag to its digest.

    `known` says that what is there is known already: then only whether this host gets at it is asked, by HEAD.
    """
    name, repository, tag = registry.parse(request["ref"])
    wanted = request.get("digest") or tag
    login = logins.login_for(name, context.get("registry_logins") or [])
    insecure = list(request.get("insecure") or []) + insecure_registries()
    architecture = registry.ARCHITECTURES.get(request.get("arch"), request.get("arch") or "amd64")
    addresses = [(name, login)]
    if name in registry.HUB:
        mirrors = list(request.get("mirrors") or []) + daemon_json("registry-mirrors")
        addresses = [(mirror, None) for mirror in mirrors] + addresses
    failures = []
    for address, its_login in addresses:
        try:
            place = registry.Registry(address, its_login, context["timeout"], insecure, context.get("attempts") or 5)
            if request.get("known"):
                found = {"digest": place.digest(repository, wanted) or wanted, "platforms": []}
            else:
                found = place.manifest(repository, wanted, architecture)
            break
        except registry.RegistryError as error:
            failures.append(error)
        except ValueError as error:
            failures.append(registry.RegistryError("odd", str(error)))
    else:
        raise _absent(name, repository, wanted, next((one for one in failures if one.status), failures[-1]))
    platform = "linux/" + architecture
    if found["platforms"] and not any((there + "/").startswith(platform + "/") for there in found["platforms"]):
        raise Missing(
            "only for {0}".format(", ".join(sorted(set(found["platforms"])))),
            "Choose an image that is built for {0}".format(platform),
            needed=platform,
            data={"kind": "missing"},
        )
    return "manifest {0}".format(found["digest"][:19]), found


def confirm(reference, digest, registry_logins, timeout=20):
    """Raise Missing unless the registry says from here, too, that a tag has this digest: another host found it out."""
    request = {"ref": reference, "arch": os.uname().machine}
    _said, found = registry_manifest(request, {"timeout": timeout, "registry_logins": registry_logins})
    if found["digest"] != digest:
        raise Missing(
            "{0} is {1} for this host, and was {2} for the one that was asked for all".format(
                reference, found["digest"], digest
            ),
            "Find out which is right, then name it: verl_image={0}@sha256:...".format(reference),
        )


def _absent(name, repository, wanted, error):
    """What to say of an image that no registry gave."""
    data = {"kind": error.kind}
    if error.kind == "missing":
        return Missing(
            "{0} has no {1} {2} in {3}".format(
                name, "digest" if registry.is_digest(wanted) else "tag", wanted, repository
            ),
            "Look which tags there are, then correct verl_image or the catalog; or unset verl_mirror_registry",
            data=data,
        )
    if error.kind == "denied":
        return Missing(
            "{0} refuses access to {1} ({2})".format(name, repository, error),
            "Is the name right? A private one needs a login: verl_registry_logins; a token service outside its domain "
            "is named there too (realm)",
            data=data,
        )
    if error.kind == "limited":
        return Missing(
            "{0} limits requests ({1})".format(name, error),
            "Wait, log in, or use a mirror: verl_mirror_registry",
            data=data,
        )
    fix = "curl -I https://{0}/v2/ on this host; set verl_mirror_registry or verl_proxy".format(name)
    if "certificate" in str(error) or "TLS" in str(error):
        fix = (
            "Put the CA of {0} at {1}/{0}/ca.crt; one without TLS has to be named: docker_engine_insecure_registries"
        ).format(name, registry.CERTIFICATES)
    return Missing("{0} can't be asked: {1}".format(name, error), fix, data=data)


def gpg_key(request, context):
    """The key has the expected fingerprint."""
    try:
        data = web.get(request["url"], timeout=context["timeout"], limit=1024 * 1024).body
        found = openpgp.fingerprints(data)
    except web.WebError as error:
        raise Missing(
            "{0}: {1}".format(hide(request["url"]), error), "curl -fsSL {0} | head".format(hide(request["url"]))
        ) from error
    except openpgp.NotAKey as error:
        raise Missing(
            "{0}: {1}".format(hide(request["url"]), error), "curl -fsSL {0} | head".format(hide(request["url"]))
        ) from error
    wanted = openpgp.normal(request["fingerprint"])
    if found != [wanted]:
        raise Missing(
            "key with fingerprint {0}".format(", ".join(found)),
            "Find out from the repository's owner which key is right before you change the expected fingerprint",
            needed="key with fingerprint {0}".format(wanted),
        )
    return "key {0}".format(wanted), {"fingerprint": wanted}


def packages_index(base, timeout):
    """Return the text of a repository's Packages file, compressed or not."""
    last = None
    for suffix, unpack in ((".gz", gzip.decompress), (".xz", lzma.decompress), ("", lambda data: data)):
        try:
            return unpack(web.get("{0}/Packages{1}".format(base.rstrip("/"), suffix), timeout=timeout).body).decode()
        except web.WebError as error:
            if last is None or error.status != 404:
                last = error
            if error.status is None:
                break
        except (OSError, EOFError, lzma.LZMAError, UnicodeDecodeError) as error:
            last = web.WebError("Packages{0} is damaged: {1}".format(suffix, error))
    raise last


def versions_in(index):
    """Return {package: [versions]} of a Packages file."""
    found = {}
    for stanza in index.split("\n\n"):
        name = re.search(r"^Package: *(\S+)", stanza, re.MULTILINE)
        version = re.search(r"^Version: *(\S+)", stanza, re.MULTILINE)
        if name and version:
            found.setdefault(name.group(1), []).append(version.group(1))
    return found


def apt_package(request, context):
    """The repository has these packages in these versions; a version may hold `*`, as apt's own may."""
    base = request["url"]
    try:
        index = versions_in(packages_index(base, context["timeout"]))
    except web.WebError as error:
        raise Missing(
            "{0}/Packages: {1}".format(hide(base), error),
            "curl -fsSI {0}/Packages.gz; is this the right repository or mirror?".format(hide(base)),
        ) from error
    lacking = []
    for package in request["packages"]:
        have = index.get(package["name"], [])
        if package.get("version") and not fnmatch.filter(have, package["version"]):
            newest = ", ".join(have[-3:]) or "none"
            lacking.append("{0} {1} (it has {2})".format(package["name"], package["version"], newest))
        elif not have:
            lacking.append(package["name"])
    if lacking:
        raise Missing(
            "{0} lacks {1}".format(hide(base), "; ".join(lacking)), "Choose a version that the repository has"
        )
    return "{0} packages".format(len(request["packages"])), {}


def refs_over_http(repo, timeout):
    """Return {ref: commit} by git's own HTTP protocol, for hosts that have no git yet."""
    answer = web.get(repo.rstrip("/") + "/info/refs?service=git-upload-pack", timeout=timeout)
    found = {}
    data, at = answer.body, 0
    if re.match(rb"^[0-9a-f]{40}\t", data):  # a "dumb" server: the file itself
        lines = data.decode("utf-8", "replace").splitlines()
        return dict(reversed(line.split("\t")) for line in lines if "\t" in line)
    while at + 4 <= len(data):
        try:
            size = int(data[at : at + 4], 16)
        except ValueError as error:
            raise web.WebError("the answer is not git's") from error
        if size < 4:
            at += 4
            continue
        line = data[at + 4 : at + size].split(b"\0")[0].decode("utf-8", "replace").strip()
        at += size
        match = re.match(r"^([0-9a-f]{40}) (\S+)$", line)
        if match:
            found[match.group(2)] = match.group(1)
    return found


def git_ref(request, context):
    """The repository has this tag (a commit can only be found out by fetching it)."""
    repo, version = request["repo"], request["version"]
    if cli.which("git"):
        rc, out, err = cli.run(["git", "ls-remote", "--tags", repo], timeout=context["timeout"] * 3)
        if rc != 0:
            raise Missing(
                "{0} can't be asked: {1}".format(
                    hide(repo), hide(((err or out).strip().splitlines() or ["no answer"])[-1])
                ),
                "git ls-remote {0} on this host; set verl_mirror_git or verl_proxy".format(hide(repo)),
            )
        refs = dict(reversed(line.split("\t")) for line in out.splitlines() if "\t" in line)
    elif repo.startswith(("http://", "https://")):
        try:
            refs = refs_over_http(repo, context["timeout"])
        except web.WebError as error:
            raise Missing(
                "{0} can't be asked: {1}".format(hide(repo), error), "Set verl_mirror_git or verl_proxy"
            ) from error
    else:
        return "not asked: no git on this host yet", {"verified": False}
    if re.match(r"^[0-9a-f]{40}$", version):
        return "repository answers", {"commit": version, "verified": version in refs.values()}
    commit = refs.get("refs/tags/{0}^{{}}".format(version)) or refs.get("refs/tags/{0}".format(version))
    if not commit:
        tags = sorted(ref[10:] for ref in refs if ref.startswith("refs/tags/") and not ref.endswith("^{}"))
        raise Missing(
            "{0} has no tag {1} (it has {2})".format(hide(repo), version, ", ".join(tags[-5:]) or "none"),
            "Choose a verl_version that it has, or set verl_mirror_git",
        )
    if request.get("commit") not in (None, commit):
        raise Missing(
            "{0} has {1} at commit {2}, which is not verl's".format(hide(repo), version, commit),
            "Use a copy of verl's repository (verl_mirror_git), or name the commit that you want: verl_commit",
            needed="{0} at commit {1}".format(version, request["commit"]),
        )
    return "commit {0}".format(commit[:12]), {"commit": commit}


def bundled_pip(python, timeout=20):
    """Return the path of the pip that comes with Python's ensurepip, or None."""
    script = (
        "import ensurepip, glob, os; "
        "print((glob.glob(os.path.join(os.path.dirname(ensurepip.__file__), '_bundled', 'pip-*.whl')) "
        "or glob.glob('/usr/share/python-wheels/pip-*.whl') or [''])[0])"
    )
    rc, out, _err = cli.run([python, "-c", script], timeout=timeout)
    return out.strip() or None if rc == 0 else None


def pypi(request, context):
    """One of the `indexes` (None: the configured one) has this version; the role tries them in the same order."""
    refusal = None
    for index in request.get("indexes") or [None]:
        try:
            return _pypi(request, index, context)
        except Missing as missing:
            refusal = missing
    raise refusal


def _pypi(request, index, context):
    """Asked through the host's pip, so that its configuration and mirror count."""
    python = request.get("python") or sys.executable
    argv, env = [python, "-m", "pip"], {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "PIP_RETRIES": "1"}
    if cli.run(argv + ["--version"], timeout=30)[0] != 0:
        wheel = bundled_pip(python)
        if not wheel:
            return "not asked: no pip on this host yet", {"verified": False}
        env["PYTHONPATH"] = wheel
    wanted, have, failed = request.get("version"), [], []
    indexes = request.get("indexes") or [request.get("index")]
    for index in indexes:
        versions, error = versions_on(argv, env, request, index, context)
        if error:
            failed.append(error)
        elif not wanted or any(version == wanted or version.split("+")[0] == wanted for version in versions):
            return "{0} {1}".format(request["name"], wanted or versions[0]), {"newest": versions[0]}
        else:
            have.append((hide(index or "the configured package index"), versions))
    if have:
        shown = "; ".join("{0} has {1}".format(where, ", ".join(versions[:5])) for where, versions in have)
        raise Missing(
            "{0} {1} is on no index: {2}".format(request["name"], wanted, shown),
            "Choose a version that the index has; a mirror may lag behind: verl_mirror_pypi",
        )
    raise Missing(
        "; ".join(failed),
        "{0} -m pip index versions {1} on this host; set verl_mirror_pypi or verl_proxy".format(
            python, request["name"]
        ),
    )


def versions_on(pip, env, request, index, context):
    """Return (versions of a package on one index, newest first; what went wrong)."""
    argv = pip + ["index", "versions", request["name"], "--pre"]
    if index:
        argv += ["--index-url", index]
    if request.get("python_version"):
        argv += ["--python-version", request["python_version"], "--only-binary=:all:"]
    rc, out, err = cli.run(argv, timeout=context["timeout"] * 4, env=env)
    match = re.search(r"^Available versions: (.*)$", out, re.MULTILINE)
    if rc == 0 and match:
        return [text.strip() for text in match.group(1).split(",")], None
    said = hide((err or out).strip()[-300:])
    return [], "{0} can't be asked for {1}: {2}".format(
        hide(index or "the configured package index"), request["name"], said
    )


def manager(request, context):
    """An environment manager can be had, the way its build goes: from the package index by pip, else from its address.

    Only whether it's there: its SHA-256 is checked when it has been fetched.
    """
    refusals, python = [], request.get("python") or sys.executable
    if request.get("package") and cli.run([python, "-m", "pip", "--version"], timeout=30)[0] == 0:
        try:
            wanted = {"name": request["name"], "version": request["version"], "python": python}
            return _pypi(wanted, request.get("index"), context)
        except Missing as missing:
            refusals.append(missing.found)
    if request.get("url"):
        try:
            answer = web.get(request["url"], timeout=context["timeout"], limit=1024)
            return "HTTP {0}".format(answer.status), {}
        except web.WebError as error:
            refusals.append("{0}: {1}".format(hide(request["url"]), error))
    raise Missing(
        "; ".join(refusals) or "no download of {0} is known".format(request["name"]),
        "Install {0} yourself, or set verl_mirror_pypi or verl_mirror_downloads".format(request["name"]),
    )


KINDS = {
    "apt_package": apt_package,
    "git_ref": git_ref,
    "gpg_key": gpg_key,
    "manager": manager,
    "pypi": pypi,
    "registry_manifest": registry_manifest,
}


def needed(request):
    """Return what a request needs, in words."""
    kind = request["kind"]
    if kind == "registry_manifest":
        return "image {0}".format(request["ref"] + ("@" + request["digest"] if request.get("digest") else ""))
    if kind == "apt_package":
        names = [package["name"] + " " + (package.get("version") or "") for package in request["packages"]]
        return "packages {0}".format(", ".join(name.strip() for name in names))
    if kind == "git_ref":
        return "{0} in {1}".format(request["version"], hide(request["repo"]))
    if kind in ("pypi", "manager"):
        return "{0} {1}".format(request["name"], request.get("version") or "").strip()
    return hide(request.get("url", ""))


def ask(request, context):
    """Return the answer to one request: {id, kind, ok, found, needed, fix, data}."""
    answer = {
        "id": request["id"],
        "kind": request["kind"],
        "ok": False,
        "needed": request["id"],
        "fix": None,
        "data": {},
    }
    try:
        answer["needed"] = needed(request)
        answer["found"], answer["data"] = KINDS[request["kind"]](request, context)
        answer["ok"] = True
    except Missing as error:
        answer.update(found=error.found, fix=error.fix, data=error.data)
        answer["needed"] = error.needed or answer["needed"]
    except Exception as error:  # one odd answer must not hide the others
        answer.update(found="{0}: {1}".format(type(error).__name__, hide(error)), fix="Run again with -vvv")
    return answer


def host_name():
    """Return this host's name."""
    return os.uname().nodename
