"""Pull mode on a bare GPU host: the operator's repository is this very checkout with the lab's inventory in it."""

import io
import json
import subprocess
import tarfile

import pytest
import yaml

from lab import hosts, settings
from tests.lab.fleet import ROOT, play, report, states

pytestmark = [pytest.mark.lab, pytest.mark.slow]

HOST = "gpu-580"
PLACE = "/var/lib/verl-provision/pull"
SIGN = "cd /srv/operator && git add -A && git -c user.signingKey=/srv/operator.key commit -q -S -m"
START = "systemctl start verl-provision-pull.service"
MAKE = """set -eu
ssh-keygen -q -t ed25519 -N '' -C operator -f /srv/operator.key
cd /srv/operator
git init -q --initial-branch=main
git config user.name operator; git config user.email operator@example.org; git config gpg.format ssh
"""


def repository():
    """The files that git knows, with the lab's inventory; packed for the host."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    lab = yaml.safe_load((settings.INVENTORY / "hosts.yml").read_text())
    lab["all"]["vars"]["verl_catalog_extra"] = f"{PLACE}/tree/lab-catalog.yml"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name in filter(None, names.split("\0")):
            if (ROOT / name).is_file() and not name.startswith("tests/"):
                tar.add(ROOT / name, f"srv/operator/{name}")
        written = {
            "fleet.yml": yaml.safe_dump(lab),
            "lab-catalog.yml": settings.OVERLAY.read_text(),
        }
        for name, text in written.items():
            entry = tarfile.TarInfo(f"srv/operator/{name}")
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    return packed.getvalue()


@pytest.fixture(scope="module")
def pulls():
    """A bare host on which pull mode is installed, and nothing else."""
    hosts.reset(HOST)
    hosts.exec(HOST, "apt-get update -qq && apt-get install -qq --no-install-recommends git openssh-client")
    hosts.container(HOST).put_archive("/", repository())
    hosts.exec(HOST, "chown -R root: /srv/operator")
    hosts.exec(HOST, MAKE)
    hosts.exec(HOST, f"{SIGN} first")
    given = {
        "pull_timer_repository": "/srv/operator",
        "pull_timer_allowed_signers": [f"operator@example.org {hosts.exec(HOST, 'cat /srv/operator.key.pub').out}"],
        "pull_timer_inventory": "fleet.yml",
        "pull_timer_report_command": ["/bin/sh", "-c", "cat > /srv/delivered.json"],
        "pull_timer_every": "12h",
        "pull_timer_jitter": "12h",
    }
    run = play("playbooks/pull.yml", "--limit", HOST, "-e", json.dumps(given))
    assert run.returncode == 0, run.stdout
    yield given
    hosts.reset(HOST)


def delivered():
    return json.loads(hosts.exec(HOST, "cat /srv/delivered.json").out)


def test_a_bare_host_takes_itself_to_a_verified_environment(pulls):
    run = hosts.exec(HOST, START, check=False)
    assert run.rc == 0, hosts.exec(HOST, "journalctl -u verl-provision-pull -n 80 --no-pager").out
    document = delivered()
    assert document["result"] == "converged", document["message"]
    assert document["report"]["hosts"][HOST]["state"] == "verified"


def test_a_run_from_outside_has_nothing_to_do_then(pulls):
    run = play("site.yml", "--limit", HOST)
    assert run.returncode == 0, run.stdout
    assert states() == {HOST: "verified"}
    assert report()["hosts"][HOST]["plan"]["steps"] == {}


def test_the_same_commit_repairs_what_was_changed_by_hand(pulls):
    before = hosts.exec(HOST, "docker inspect -f '{{.Id}}' verl").out
    hosts.exec(HOST, "docker stop -t 1 verl")
    hosts.exec(HOST, START)
    assert hosts.exec(HOST, "docker inspect -f '{{.Id}} {{.State.Running}}' verl").out == f"{before.strip()} true\n"
    assert delivered()["result"] == "converged"


def test_a_run_from_outside_keeps_pull_runs_away_and_lets_them_go_on(pulls):
    hosts.exec(HOST, "docker stop -t 1 verl")
    run = play("site.yml", "--limit", HOST)
    assert run.returncode == 0, run.stdout
    assert "TASK [Say on the host that this run is at work]" in run.stdout
    assert hosts.exec(HOST, f"ls {PLACE}/hold").out == ""
    hosts.exec(HOST, "docker stop -t 1 verl")
    locked = hosts.exec(HOST, f"flock {PLACE}/lock sleep 300 >/dev/null 2>&1 & echo $!")
    run = play("site.yml", "--limit", HOST)
    assert run.returncode != 0
    assert "A pull run is at work on this host" in report()["hosts"][HOST]["failure"]["message"]
    hosts.exec(HOST, f"pkill -P {locked.out.strip()}; kill {locked.out.strip()}", check=False)


def test_an_unsigned_commit_runs_nothing(pulls):
    hosts.exec(HOST, "docker stop -t 1 verl")
    hosts.exec(HOST, "cd /srv/operator && git commit -q --no-gpg-sign --allow-empty -m unsigned")
    assert hosts.exec(HOST, START, check=False).rc != 0
    assert delivered()["result"] == "refused"
    assert hosts.exec(HOST, "docker inspect -f '{{.State.Running}}' verl").out == "false\n"
    hosts.exec(HOST, f"{SIGN} signed --allow-empty")
    hosts.exec(HOST, START)
    assert delivered()["result"] == "converged"
