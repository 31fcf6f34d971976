"""Asking a registry for a manifest: the OCI distribution API, enough to resolve a tag and see its platforms."""

import base64
import hashlib
import json
import os
import re
import urllib.parse

from ansible.module_utils.verl_container import web

CERTIFICATES = "/etc/docker/certs.d"  # where Docker itself looks
HUB = ("docker.io", "index.docker.io")
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


def loopback(registry):
    """Whether a registry is on this machine, where Docker speaks plain HTTP unasked."""
    return registry.startswith(("localhost", "127.", "[::1]"))


class Registry:
    """One registry, spoken to over HTTPS, or plain HTTP where HTTPS isn't there."""

    def __init__(self, name, login=None, timeout=20, base=None):
        self.name = name
        self.login = login
        self.timeout = timeout
        self.authorization = None
        self.bases = [base.rstrip("/")] if base else ["https://" + (HUB_API if name in HUB else name)]
        if not base and name not in HUB:
            self.bases = ["http://" + name, self.bases[0]] if loopback(name) else [self.bases[0], "http://" + name]
        self.insecure = False
        known = os.path.join(CERTIFICATES, name, "ca.crt")
        self.ca = known if os.path.isfile(known) else None

    def get(self, path, accept=()):
        """GET below /v2/, with the token dance where the registry asks for it."""
        failed = []
        for base in list(self.bases):
            try:
                answer = self._get(base, path, accept)
            except web.WebError as error:
                if error.status is not None:
                    self.bases = [base]
                    raise
                failed.append("{0}: {1}".format(base, error))
                continue
            self.bases, self.insecure = [base], base.startswith("http://")
            return answer
        raise web.WebError("; ".join(failed))

    def _get(self, base, path, accept):
        headers = {"Accept": ", ".join(accept)} if accept else {}
        if self.authorization:
            headers["Authorization"] = self.authorization
        try:
            return web.get(base + "/v2/" + path, headers, self.timeout, ca=self.ca)
        except web.WebError as error:
            if error.status != 401 or self.authorization:
                raise
            self.authorization = self._authorize(error.headers.get("WWW-Authenticate") or "")
            if not self.authorization:
                raise
        return self._get(base, path, accept)

    def _authorize(self, challenge):
        kind, _space, rest = challenge.partition(" ")
        basic = None
        if self.login:
            pair = "{0}:{1}".format(self.login["username"], self.login["password"])
            basic = "Basic " + base64.b64encode(pair.encode()).decode()
        if kind.lower() == "basic":
            return basic
        fields = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        if kind.lower() != "bearer" or "realm" not in fields:
            return None
        query = {key: fields[key] for key in ("service", "scope") if key in fields}
        url = fields["realm"] + ("&" if "?" in fields["realm"] else "?") + urllib.parse.urlencode(query)
        data = json.loads(web.get(url, {"Authorization": basic} if basic else {}, self.timeout).body.decode())
        token = data.get("token") or data.get("access_token")
        return "Bearer " + token if token else None

    def manifest(self, repository, reference):
        """Return {digest, platforms: [linux/amd64], compressed_bytes}."""
        answer = self.get("{0}/manifests/{1}".format(repository, reference), LISTS + MANIFESTS)
        digest = answer.headers.get("Docker-Content-Digest") or "sha256:" + hashlib.sha256(answer.body).hexdigest()
        data = json.loads(answer.body.decode())
        kind = data.get("mediaType") or (answer.headers.get("Content-Type") or "").partition(";")[0]
        found = {"digest": digest, "platforms": [], "compressed_bytes": None}
        if kind in LISTS or "manifests" in data:
            for item in data.get("manifests") or []:
                platform = item.get("platform") or {}
                if platform.get("os") not in (None, "unknown"):
                    found["platforms"].append("{0}/{1}".format(platform.get("os"), platform.get("architecture")))
            return found
        found["compressed_bytes"] = sum(layer.get("size") or 0 for layer in data.get("layers") or [])
        config = (data.get("config") or {}).get("digest")
        if config:
            body = json.loads(self.get("{0}/blobs/{1}".format(repository, config)).body.decode())
            found["platforms"].append("{0}/{1}".format(body.get("os") or "linux", body.get("architecture")))
        return found
