"""A mirror on one host of the lab, filled from the lab's registry; another host pulls from it by digest, over TLS."""

import pytest
import yaml

from lab import hosts, network
from lab.topology import HOSTS
from tests.lab.fleet import play, report, states

pytestmark = [pytest.mark.lab, pytest.mark.slow]

MIRROR, CLIENT = "spare", "gpu-580"


@pytest.fixture(scope="module")
def inventory(tmp_path_factory):
    for name in (MIRROR, CLIENT):
        hosts.reset(name)
    variables = {
        "image_mirror_address": f"{network.address(HOSTS[MIRROR].address)}:5000",
        "image_mirror_upstream": network.registry(),
        "image_mirror_upstream_tls": False,
    }
    path = tmp_path_factory.mktemp("inventory") / "mirror.yml"
    path.write_text(yaml.safe_dump({"all": {"vars": variables, "children": {"mirror": {"hosts": {MIRROR: {}}}}}}))
    yield str(path)
    for name in (MIRROR, CLIENT):
        hosts.reset(name)


def test_the_mirror_is_filled_once(inventory):
    limit = ("-i", inventory, "--limit", f"{MIRROR},{CLIENT}")
    run = play("playbooks/mirror.yml", *limit)
    assert run.returncode == 0, run.stdout
    again = play("playbooks/mirror.yml", *limit)
    assert again.returncode == 0, again.stdout
    assert again.stdout.count("changed=0") == 2


def test_a_host_pulls_from_it_by_digest(inventory):
    address = f"{network.address(HOSTS[MIRROR].address)}:5000"
    run = play("site.yml", "-i", inventory, "--limit", CLIENT, "-e", f"verl_mirror_registry={address}")
    assert run.returncode == 0, run.stdout
    assert states() == {CLIENT: "verified"}
    digest = report()["hosts"][CLIENT]["plan"]["image"]["digest"]
    known = hosts.exec(CLIENT, "docker image inspect -f '{{.RepoDigests}}' $(docker images -q)").out
    assert f"{address}/verlai/verl@{digest}" in known


def test_an_inventory_without_a_mirror_is_refused(inventory):
    run = play("playbooks/mirror.yml", "--limit", CLIENT)
    assert run.returncode != 0
    assert "found 0 hosts in group `mirror`" in run.stdout
