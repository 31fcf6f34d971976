"""The mirrors that the lab's own inventory has no use for: what was asked for came from them, or was refused.

Registry, toolkit, Docker's packages, git and torch come from a mirror in every other test: inventories/lab names it.
"""

import hashlib
import json

import pytest
import yaml

from lab import hosts, settings
from tests.lab.fleet import play, report
from tests.lab.manager import CONDA
from tests.lab.ways import mirror

pytestmark = [pytest.mark.lab, pytest.mark.slow]

PATH = "/own/micromamba"
PREFIX = "/home/alice/verl"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A site's mirror with a micromamba in it, and the catalog's overlay that pins that one."""
    with mirror() as server:
        server.files[PATH] = CONDA.encode()
        pinned = {"arch": "x86_64", "url": f"https://downloads.example{PATH}", "member": None,
                  "sha256": hashlib.sha256(CONDA.encode()).hexdigest()}  # fmt: skip
        manager = {"name": "micromamba", "version": "2.9.0-0", "downloads": [pinned]}
        overlay = tmp_path_factory.mktemp("catalog") / "own.yml"
        overlay.write_text(yaml.safe_dump({"managers": [manager]}))
        yield server, [str(settings.OVERLAY), str(overlay)]


def run(name, site, **requests):
    """The main job with the site's mirrors."""
    server, catalog = site
    given = {"verl_catalog_extra": catalog, "verl_mirror_huggingface": f"{server.url}/hf", **requests}
    return play("site.yml", "--limit", name, "-e", json.dumps(given))


def source(site):
    """What the host without an engine takes from where."""
    url = site[0].url
    return {
        "verl_source_manager": "micromamba",
        "verl_mirror_downloads": url,
        "verl_mirror_conda": f"{url}/conda",
        "verl_mirror_pypi": f"{url}/simple",
    }


@pytest.fixture(scope="module")
def cpu(site):
    """The host as it was; its pip trusts the mirror, which has no certificate."""
    hosts.reset("cpu")
    address = site[0].server_address[0]
    hosts.exec("cpu", f"sed -i 's/^trusted-host = .*/& {address}/' /etc/pip.conf && grep -q {address} /etc/pip.conf")


def test_a_download_that_is_not_what_was_pinned_is_refused(site, cpu):
    server, _ = site
    good = server.files[PATH]
    server.files[PATH] = good + b"# somebody else's\n"
    done = run("cpu", site, **source(site))
    server.files[PATH] = good
    assert done.returncode != 0
    host = report()["hosts"]["cpu"]
    assert host["state"] == "failed"
    assert f"what {server.url}{PATH} serves is not what is pinned" in host["reason"]
    assert "verl_mirror_downloads" in host["reason"]
    assert hosts.exec("cpu", f"find {PREFIX} -name 'micromamba*' -type f").out == ""


def test_manager_channel_and_packages_come_from_the_mirror(site, cpu):
    server, _ = site
    done = run("cpu", site, **source(site))
    assert done.returncode == 0, done.stdout[-6000:]
    host = report()["hosts"]["cpu"]
    assert (host["state"], host["plan"]["backend"]) == ("verified", "source")
    assert PATH in server.asked
    (call,) = hosts.exec("cpu", "cat /home/alice/conda.calls").out.splitlines()
    assert f"--override-channels --channel {server.url}/conda " in call
    assert "/simple/verl/" in server.asked
    again = len(server.asked)
    assert run("cpu", site, **source(site)).returncode == 0
    assert report()["hosts"]["cpu"]["plan"]["steps"] == {}
    assert server.asked[again:] == []


ASK = "import huggingface_hub as hub; print(hub.HfApi().endpoint); hub.HfApi().model_info('somebody/model')"


def asked_for_a_model(server, out):
    """A model that isn't there was looked for at the mirror, and nowhere else."""
    assert out.split()[0] == f"{server.url}/hf"
    assert "/hf/api/models/somebody/model" in server.asked


def test_models_come_from_the_mirror_in_a_source_environment(site, cpu):
    server, _ = site
    shell = f'~/.local/bin/verl-shell python -c "{ASK}" 2>/dev/null; true'
    asked_for_a_model(server, hosts.exec("cpu", shell, user="alice").out)


def test_models_come_from_the_mirror_in_the_container(site):
    server, _ = site
    server.asked.clear()
    hosts.reset("gpu-580")
    done = run("gpu-580", site)
    assert done.returncode == 0, done.stdout[-6000:]
    out = hosts.exec("gpu-580", f'docker exec verl python3 -c "{ASK}" 2>/dev/null; true').out
    asked_for_a_model(server, out)
