"""The one client of registries: the OCI distribution API, as much as resolving tags and seeing what is there takes.

Hosts and the controller use it alike. It speaks https; http, or https with any certificate, only to a registry on this
machine or one that the operator named insecure. A login goes to the registry itself, and to a token service that is in
the registry's domain or that the login names (`realm`); a token without a login may come from any https service.
"""

import base64
import hashlib
import ipaddress
import json
import os
import re
import urllib.parse

from ansible.module_utils.verl_container import web

CERTIFICATES = "/etc/docker/certs.d"  # where Docker itself looks
HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")
HUB_API = "registry-1.docker.io"
LISTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
LIMIT = 4 * 1024 * 1024  # manifests, configurations and tokens are a few KB


class RegistryError(Exception):
    """Nothing usable came back. `kind`: missing, denied, limited, unreachable or odd (an answer that is none)."""

    def __init__(self, kind, message, status=None, retry_after=None):
        super().__init__(message)
        self.kind = kind
        self.status = status
        self.retry_after = retry_after


def parse(reference):
    """Return (registry, repository, tag or digest) of an image reference."""
    name, at, digest = reference.partition("@")
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        registry, path = first, rest
    else:
        registry, path = "docker.io", name
    head, slash, last = path.rpartition("/")
    last, _colon, tag = last.partition(":")
    repository = head + slash + last
    if registry in HUB and "/" not in repository:
        repository = "library/" + repository
    return registry, repository, digest if at else tag or "latest"


def is_digest(text):
    """Whether this is a digest and nothing else."""
    return isinstance(text, str) and DIGEST.fullmatch(text) is not None


def host_of(address):
    """Return an address's host without its port, in lower case."""
    return (urllib.parse.urlsplit("//" + address).hostname or "").lower()


def loopback(address):
    """Whether a registry is on this machine."""
    host = host_of(address)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def named(address, insecure):
    """Whether the operator's list has a registry, as Docker reads it: HOST:PORT, or a network."""
    if address in insecure:
        return True
    try:
        host = ipaddress.ip_address(host_of(address))
    except ValueError:
        return False
    for entry in insecure:
        try:
            if "/" in entry and host in ipaddress.ip_network(entry, strict=False):
                return True
        except ValueError:
            continue
    return False


def domain(registry):
    """Return the domain that a registry's host is in: without its first label, but never what many sites share."""
    labels = registry.split(".")
    country = len(labels) > 2 and len(labels[-1]) == 2 and len(labels[-2]) <= 3  # example.co.uk
    return ".".join(labels[-max(len(labels) - 1, 3 if country else 2) :])


def same_site(host, registry):
    """Whether a token service at `host` belongs to the registry at `registry`, both without ports."""
    if host == registry:
        return True
    try:
        ipaddress.ip_address(registry)
        return False
    except ValueError:
        return "." in registry and ("." + host).endswith("." + domain(registry))


class Registry:
    """One registry, as one writes it: `docker.io`, `127.0.0.1:5000`, `https://mirror.example/hub`.

    `insecure` are the registries that the operator named insecure. `patience` says how long it's waited for in all
    where it limits requests.
    """

    def __init__(self, address, login=None, timeout=20, insecure=(), attempts=5, patience=None):
        scheme, separator, rest = address.partition("://")
        split = urllib.parse.urlsplit("//" + (rest if separator else address))
        if (separator and scheme not in ("http", "https")) or not split.hostname or split.query or split.username:
            raise ValueError(
                "found {0!r}, needed a registry such as 127.0.0.1:5000 or https://mirror.example/hub".format(address)
            )
        self.name = split.netloc
        self.host = HUB_API if self.name in HUB else self.name
        self.prefix = split.path.strip("/")
        # As Docker does: where any certificate will do, plain http will too.
        self.insecure = scheme == "http" if separator else loopback(self.name) or named(self.name, insecure)
        self.schemes = [scheme] if separator else ["https", "http"] if self.insecure else ["https"]
        self.login = login
        self.timeout = timeout
        self.attempts = attempts
        self.patience = patience or web.Patience()
        self.named_insecure = insecure
        self.tokens = {}  # by repository: a token is for one
        self.withheld = ""  # the token service that didn't get the login
        self.stopped = None
        known = os.path.join(CERTIFICATES, self.name, "ca.crt")
        self.ca = known if os.path.isfile(known) else None

    def digest(self, repository, reference):
        """Return the digest of a tag or digest by HEAD, which Docker Hub doesn't count as a pull; may be None."""
        answer = self.ask(repository, "manifests/" + reference, LISTS + MANIFESTS, method="HEAD")
        found = answer.headers.get("Docker-Content-Digest")
        if found is not None and not is_digest(found):
            raise RegistryError("odd", "{0}: the answer has no digest but {1!r}".format(self.host, found[:80]))
        if found and is_digest(reference) and found != reference:
            raise RegistryError("odd", "{0}: asked for {1}, it answers {2}".format(self.host, reference, found))
        return found

    def manifest(self, repository, reference, arch="amd64"):
        """Return {digest, platforms, compressed_bytes, labels, env, history}, the last four of the image for `arch`."""
        content, found = self._manifest(repository, reference, LISTS + MANIFESTS)
        entries = content.get("manifests")
        if isinstance(entries, list):
            fitting = None
            for entry in entries:
                platform = entry.get("platform") if isinstance(entry, dict) else None
                if not isinstance(platform, dict) or platform.get("os") in (None, "unknown"):
                    continue
                words = [str(platform[key]) for key in ("os", "architecture", "variant") if platform.get(key)]
                if "/".join(words) not in found["platforms"]:
                    found["platforms"].append("/".join(words))
                if fitting is None and words[:2] == ["linux", arch] and is_digest(entry.get("digest")):
                    fitting = entry["digest"]
            if fitting is None:
                return found
            content, _image = self._manifest(repository, fitting, MANIFESTS)
        self._image(repository, content, found)
        return found

    def _manifest(self, repository, reference, accept):
        """Fetch one manifest, whose digest is what its bytes say."""
        answer = self.ask(repository, "manifests/" + reference, accept)
        digest = "sha256:" + hashlib.sha256(answer.body).hexdigest()
        claimed = answer.headers.get("Docker-Content-Digest") or digest
        wanted = reference if is_digest(reference) else claimed
        if not digest == claimed == wanted:
            raise RegistryError(
                "odd", "{0}: {1} says {2!r} and is {3}".format(self.host, reference, claimed[:80], digest)
            )
        found = {"digest": digest, "platforms": [], "compressed_bytes": None, "labels": {}, "env": [], "history": []}
        return self._json(answer), found

    def _image(self, repository, manifest, found):
        """Size, labels and (where no list said it) platform of one image."""
        config = manifest.get("config")
        config = config if isinstance(config, dict) else {}
        layers = manifest.get("layers")
        layers = [layer for layer in layers if isinstance(layer, dict)] if isinstance(layers, list) else []
        sizes = [part.get("size") for part in layers + [config]]
        if layers and all(isinstance(size, int) for size in sizes):
            found["compressed_bytes"] = sum(sizes)
        if not is_digest(config.get("digest")):
            return
        about = self._json(self.ask(repository, "blobs/" + config["digest"]))
        if not found["platforms"] and about.get("os") and about.get("architecture"):
            found["platforms"] = ["{0}/{1}".format(about["os"], about["architecture"])]
        inner = about.get("config")
        labels = inner.get("Labels") if isinstance(inner, dict) else None
        if isinstance(labels, dict):
            found["labels"] = {str(key): str(value) for key, value in labels.items()}
        variables = inner.get("Env") if isinstance(inner, dict) else None
        found["env"] = [line for line in variables or [] if isinstance(line, str)]
        built = [step.get("created_by") for step in about.get("history") or [] if isinstance(step, dict)]
        found["history"] = [line for line in built if isinstance(line, str)]

    def ask(self, repository, path, accept=(), method="GET"):
        """Send one request about a repository; with a token where the registry wants one."""
        if self.stopped:
            raise self.stopped
        full = "/".join(part for part in (self.prefix, repository) if part)
        headers = {"Accept": ", ".join(accept)} if accept else {}
        renewed = False
        while True:
            if full in self.tokens:
                headers["Authorization"] = self.tokens[full]
            try:
                return self._send("{0}/{1}".format(full, path), headers, method)
            except web.WebError as error:
                challenge = error.headers.get("WWW-Authenticate") if error.status == 401 else None
                token = None if renewed else self._authorize(challenge or "")
                if not token:
                    raise self._refusal(error, full, path) from error
                self.tokens[full], renewed = token, True

    def _send(self, path, headers, method):
        """Over https, or what else is allowed; the scheme that worked is kept."""
        failed = []
        for scheme in list(self.schemes):
            try:
                answer = web.get(
                    "{0}://{1}/v2/{2}".format(scheme, self.host, path), headers, self.timeout, self.attempts, method,
                    limit=LIMIT, ca=self.ca, verify=not self.insecure, patience=self.patience,
                )  # fmt: skip
            except web.WebError as error:
                if error.status is not None:
                    self.schemes = [scheme]
                    raise
                failed.append("{0}: {1}".format(scheme, error) if len(self.schemes) > 1 else str(error))
                continue
            self.schemes = [scheme]
            return answer
        raise web.WebError("; ".join(failed))

    def _authorize(self, challenge):
        """Return what to answer a challenge with, None where there's nothing."""
        kind, _space, rest = challenge.partition(" ")
        basic = None
        if self.login:
            pair = "{0}:{1}".format(self.login["username"], self.login["password"])
            basic = "Basic " + base64.b64encode(pair.encode()).decode()
        if kind.lower() == "basic":
            return basic
        fields = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        realm = urllib.parse.urlsplit(fields.get("realm", ""))
        if kind.lower() != "bearer" or not realm.hostname or realm.username:
            return None
        if not self._may_ask(realm):
            raise RegistryError(
                "denied", "{0} sends for its token to {1}, which is not https".format(self.host, realm.netloc)
            )
        if basic and not self._may_have_login(realm):
            self.withheld, basic = realm.hostname, None
        query = {key: fields[key] for key in ("service", "scope") if key in fields}
        url = fields["realm"] + ("&" if realm.query else "?") + urllib.parse.urlencode(query)
        try:
            answer = web.get(
                url, {"Authorization": basic} if basic else {}, self.timeout, self.attempts, limit=LIMIT,
                ca=self.ca, verify=not (self.insecure and self._near(realm)), patience=self.patience,
            )  # fmt: skip
        except web.WebError as error:
            raise self._refusal(error, "the token service", realm.netloc) from error
        data = self._json(answer)
        token = data.get("token") or data.get("access_token")
        fits = isinstance(token, str) and re.fullmatch(r"[\x21-\x7e ]+", token)
        return "Bearer " + token if fits else None

    def _may_ask(self, realm):
        """Whether a token may be fetched there: https; http only where the registry itself is allowed it."""
        if realm.scheme == "https":
            return True
        return realm.scheme == "http" and self.insecure and self._near(realm)

    def _near(self, realm):
        """Whether a token service is the registry itself, on this machine, or named insecure like it."""
        return realm.netloc == self.host or loopback(realm.netloc) or named(realm.netloc, self.named_insecure)

    def _may_have_login(self, realm):
        """Whether the token service may get the login."""
        allowed = [name.strip().lower() for name in (self.login.get("realm") or "").split(",")]
        registry = "docker.io" if self.name in HUB else host_of(self.host)
        return same_site(realm.hostname, registry) or realm.hostname in allowed or realm.netloc.lower() in allowed

    def _refusal(self, error, full, path):
        """A failed request in words."""
        where, code = "{0}/{1} {2}".format(self.host, full, path), error.status
        if code is None:
            return RegistryError("unreachable", "{0}: no answer: {1}".format(self.host, error))
        if code == 404:
            return RegistryError("missing", where + ": not there (404)", code)
        if code in (401, 403):
            told = ": log in with `docker login`, or check the name"
            if self.withheld:
                told = ": its token service {0} did not get the login, as it is not in the registry's domain".format(
                    self.withheld
                )
            return RegistryError("denied", "{0}: refused ({1}){2}".format(where, code, told), code)
        if code in (429, 503):
            after = web.retry_after(error.headers.get("Retry-After"), self.patience.clock())
            told = "" if after is None else ", which asks for {0:.0f} s of patience".format(after)
            limited = RegistryError(
                "limited", "{0}: too many requests for the registry ({1}){2}".format(where, code, told), code, after
            )
            self.stopped = limited if code == 429 else None
            return limited
        return RegistryError("odd", "{0}: the registry answered {1}".format(where, code), code)

    def _json(self, answer):
        """An answer's content, which is a mapping."""
        try:
            content = json.loads(answer.body.decode("utf-8"))
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise RegistryError("odd", "{0}: the answer isn't a JSON object".format(self.host))
        return content
