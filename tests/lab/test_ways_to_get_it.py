"""The wheel and the collection, each in an empty environment, take a bare lab host to `verified`."""

import json

import pytest

from lab import hosts
from tests.installed import ROOT, Tree, run

pytestmark = [pytest.mark.lab, pytest.mark.slow]
INVENTORY = ROOT / "inventories/lab"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return Tree(tmp_path_factory.mktemp("tree"))


def seen(place, name):
    """The host's state and steps in the report that was written where the user was."""
    host = json.loads((place / "reports/latest/report.json").read_text())["hosts"][name]
    return host["state"], list(host["plan"]["steps"])


def test_the_wheel(tree, tmp_path):
    hosts.reset("gpu-580")
    command = tree.environment("wheel", tree.wheel()) / "verl-provision"
    run(command, "up", "-i", INVENTORY, "-l", "gpu-580", cwd=tmp_path)
    assert seen(tmp_path, "gpu-580")[0] == "verified"
    run(command, "up", "-i", INVENTORY, "-l", "gpu-580", cwd=tmp_path)
    assert seen(tmp_path, "gpu-580") == ("verified", [])


def test_the_collection(tree, tmp_path):
    hosts.reset("spare")
    commands = tree.environment("collection")
    where = {"ANSIBLE_COLLECTIONS_PATH": str(tree.place / "collections")}
    galaxy = [commands / "ansible-galaxy", "collection", "install", "--offline", "-p", tree.place / "collections"]
    run(*galaxy, tree.collection(), cwd=tmp_path)
    site = [commands / "ansible-playbook", "-i", INVENTORY, "-l", "spare", "verl.provision.site"]
    run(*site, cwd=tmp_path, **where)
    assert seen(tmp_path, "spare")[0] == "verified"
    assert "changed=0" in run(*site, cwd=tmp_path, **where).stdout
    assert seen(tmp_path, "spare") == ("verified", [])
