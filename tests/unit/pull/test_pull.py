"""The pull script against repositories made on the spot: only what an allowed key signed runs, and it is told."""

import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path

import jinja2
import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.unit.source_environment import tiny_index

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "roles/pull_timer/files/verl_provision_pull.py"
SCHEMA = json.loads((ROOT / "catalog/schema/pull.json").read_text())
REFUSED, UNFETCHED, BUSY = 10, 11, 75

ROLE = ROOT / "roles/pull_timer"


def settings(**given):
    """The script's settings as the role writes them."""
    values = yaml.safe_load((ROLE / "defaults/main.yml").read_text()) | {"__pull_timer_login": {"stdout": ""}} | given
    values |= {name: value for name, value in yaml.safe_load((ROLE / "vars/main.yml").read_text()).items()}
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    environment.filters |= {"bool": bool, "to_nice_json": json.dumps}
    return json.loads(environment.from_string((ROLE / "templates/pull.json.j2").read_text()).render(values))


# Stands for ansible-playbook: notes what it was asked, and writes a report as role run_report does.
PLAYBOOK = """#!{python}
import json, os, pathlib, sys
place = pathlib.Path(json.loads(sys.argv[sys.argv.index("-e") + 1])["run_report_directory"])
runs = pathlib.Path("{runs}")
with runs.open("a") as stream:
    run = {{"argv": sys.argv[1:], "tree": pathlib.Path("site.yml").read_text(), "env": dict(os.environ)}}
    stream.write(json.dumps(run) + "\\n")
name = "20261129T1000%02dZ" % len(runs.read_text().splitlines())
(place / name).mkdir()
(place / name / "report.json").write_text(json.dumps({{"ok": True, "run": {{"id": name}}}}))
(place / "latest").unlink(missing_ok=True)
(place / "latest").symlink_to(name)
sys.exit(int(pathlib.Path("status").read_text()))
"""


class Server(ThreadingHTTPServer):
    """Takes documents; answers what it is told to."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Taker)
        self.taken, self.answers = [], []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Taker(BaseHTTPRequestHandler):
    """One request."""

    def log_message(self, *_):
        pass

    def take(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.taken.append((self.command, self.path, self.headers.get("Authorization"), json.loads(body)))
        status, location = self.server.answers.pop(0) if self.server.answers else (204, None)
        self.send_response(status)
        if location:
            self.send_header("Location", location)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_PUT = do_POST = do_GET = take


@pytest.fixture
def server():
    with Server() as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


class Fleet:
    """An operator's repository, and one machine that pulls it."""

    def __init__(self, place):
        self.place, self.repository, self.runs = place, place / "operator", place / "runs"
        self.keys = {name: self.key(name) for name in ("operator", "stranger")}
        self.git("init", "--quiet", "--initial-branch=main", str(self.repository), at=place)
        public = self.keys["operator"].with_suffix(".pub").read_text()
        (place / "allowed").write_text(f"ops@example.org {public}")
        self.playbook = place / "ansible-playbook"
        self.playbook.write_text(PLAYBOOK.format(python=sys.executable, runs=self.runs))
        self.playbook.chmod(0o755)
        self.runs.touch()
        self.settings = settings(
            pull_timer_host="gpu-01",
            pull_timer_repository=str(self.repository),
            pull_timer_inventory="inventory",
            pull_timer_arguments=["--diff"],
        ) | {
            "state_dir": str(place / "state"),
            "allowed_signers": str(place / "allowed"),
            "revoked_keys": str(place / "revoked"),
            "openpgp_keys": str(place / "openpgp"),
            "ansible_playbook": str(self.playbook),
        }
        self.settings["report"]["pause"] = 0.01

    def key(self, name):
        path = self.place / name / "key"
        path.parent.mkdir()
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path)], check=True)
        return path

    def git(self, *words, at=None):
        identity = ["-c", "user.name=x", "-c", "user.email=ops@example.org"]
        done = subprocess.run(
            ["git", *identity, *words], cwd=at or self.repository, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def commit(self, text, signer="operator", status=0):
        """A commit, signed with a key or (None) not at all; its name."""
        (self.repository / "site.yml").write_text(text)
        (self.repository / "status").write_text(str(status))
        self.git("add", "-A")
        signing = ["-c", "gpg.format=ssh", "-c", f"user.signingKey={self.keys[signer]}"] if signer else []
        self.git(*signing, "commit", "--quiet", "-m", text, *(["-S"] if signer else ["--no-gpg-sign"]))
        return self.git("rev-parse", "HEAD")

    def start(self):
        path = self.place / "settings.json"
        path.write_text(json.dumps(self.settings))
        return subprocess.Popen([sys.executable, str(SCRIPT), str(path)], stderr=subprocess.PIPE, text=True)

    def pull(self):
        """One run: exit status, what it said, the document."""
        child = self.start()
        said = child.communicate(timeout=60)[1]
        last = self.place / "state/last.json"
        document = json.loads(last.read_text()) if last.exists() else None
        if document:
            jsonschema.validate(document, SCHEMA)
        return child.returncode, said, document

    def played(self):
        """What the playbook was asked, run by run."""
        return [json.loads(line) for line in self.runs.read_text().splitlines()]

    def trees(self):
        return [run["tree"] for run in self.played()]


@pytest.fixture
def fleet(tmp_path):
    return Fleet(tmp_path)


def test_a_signed_commit_runs_and_runs_again(fleet):
    commit = fleet.commit("one")
    status, said, document = fleet.pull()
    assert status == 0, said
    assert document["ok"] and document["result"] == "converged" and document["commit"] == commit
    assert document["report"]["run"]["id"] == "20261129T100001Z"
    (run,) = fleet.played()
    assert run["argv"][-2:] == ["--diff", "site.yml"] and run["argv"][:2] == ["-i", "inventory"]
    assert run["argv"][run["argv"].index("--limit") + 1] == "gpu-01"
    assert run["env"]["VERL_PROVISION_PULL"] == "1"
    assert fleet.pull()[2]["report"]["run"]["id"] == "20261129T100002Z", "the same commit repairs drift"
    fleet.commit("two")
    assert fleet.pull()[0] == 0
    assert fleet.trees() == ["one", "one", "two"]


@pytest.mark.parametrize("signer", [None, "stranger"])
def test_a_commit_that_no_allowed_key_signed_is_refused(fleet, signer):
    good = fleet.commit("one")
    assert fleet.pull()[0] == 0
    bad = fleet.commit("evil", signer=signer)
    status, said, document = fleet.pull()
    assert status == REFUSED
    assert document["result"] == "refused" and not document["ok"] and document["report"] is None
    assert (document["commit"], document["wanted_commit"]) == (good, bad)
    for text in (said, document["message"]):
        assert f"commit {bad[:12]}" in text and "isn't signed by an allowed key" in text and str(fleet.place) in text
    assert fleet.trees() == ["one"]
    assert (fleet.place / "state/tree/site.yml").read_text() == "one", "the previous commit stays"
    fleet.commit("mended on top")
    assert fleet.pull()[0] == 0


def test_the_first_commit_is_refused_too(fleet):
    fleet.commit("evil", signer="stranger")
    status, _, document = fleet.pull()
    assert status == REFUSED and document["commit"] is None
    assert not (fleet.place / "state/tree/site.yml").exists() and fleet.trees() == []


def test_a_key_that_was_revoked_is_refused(fleet):
    fleet.commit("one")
    (fleet.place / "revoked").write_text(fleet.keys["operator"].with_suffix(".pub").read_text())
    assert fleet.pull()[0] == REFUSED


def test_an_openpgp_signature_is_nobodys_whatever_the_keyring_of_the_machine_holds(fleet, monkeypatch, tmp_path):
    """A gpg that calls every signature good stands for one whose keyring holds a stranger's key."""
    gpg = tmp_path / "bin/gpg"
    gpg.parent.mkdir()
    said = ("NEWSIG", "GOODSIG 0123456789ABCDEF x", "TRUST_ULTIMATE")
    gpg.write_text("#!/bin/sh\ncat >/dev/null\n" + "".join(f"echo '[GNUPG:] {line}'\n" for line in said))
    gpg.chmod(0o755)
    monkeypatch.setenv("PATH", f"{gpg.parent}{os.pathsep}{os.environ['PATH']}")
    fleet.commit("evil", signer=None)
    raw = fleet.git("cat-file", "commit", "HEAD")
    head, _, message = raw.partition("\n\n")
    forged = f"{head}\ngpgsig -----BEGIN PGP SIGNATURE-----\n \n AA==\n -----END PGP SIGNATURE-----\n\n{message}\n"
    path = tmp_path / "forged"
    path.write_text(forged)
    fleet.git("update-ref", "refs/heads/main", fleet.git("hash-object", "-t", "commit", "-w", str(path)))
    fleet.git("verify-commit", "main")  # as an unhardened git sees it
    assert fleet.pull()[0] == REFUSED


def openpgp_key(home):
    """A new OpenPGP key in a home of its own; its public part."""
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet"]
    subprocess.run(
        [*gpg, "--passphrase", "", "--pinentry-mode", "loopback", "--quick-generate-key", "ops@example.org", "ed25519"],
        check=True,
        capture_output=True,
    )
    return subprocess.run([*gpg, "--armor", "--export"], check=True, capture_output=True, text=True).stdout


def test_an_openpgp_key_that_is_allowed_signs_and_no_other(fleet, monkeypatch, tmp_path):
    homes = {name: tmp_path / f"gpg-{name}" for name in ("forge", "other")}
    keys = {name: openpgp_key(home) for name, home in homes.items()}
    (fleet.place / "openpgp").write_text(keys["forge"])
    for name, expected in (("other", REFUSED), ("forge", 0)):
        monkeypatch.setenv("GNUPGHOME", str(homes[name]))  # the script must not care for this one
        fleet.commit(name, signer=None)
        fleet.git("-c", "user.signingKey=ops@example.org", "commit", "--quiet", "--amend", "-S", "-m", name)
        fleet.git("verify-commit", "HEAD")
        assert fleet.pull()[0] == expected
        subprocess.run(["gpgconf", "--kill", "all"], check=True)
    assert fleet.trees() == ["forge"]
    monkeypatch.setenv("GNUPGHOME", str(homes["forge"]))
    (fleet.place / "openpgp").write_text(keys["other"])
    assert fleet.pull()[0] == REFUSED, "the key was taken back"


def test_an_old_signed_commit_does_not_come_back(fleet):
    fleet.commit("one")
    fleet.commit("two")
    assert fleet.pull()[0] == 0
    fleet.git("reset", "--quiet", "--hard", "HEAD~1")
    status, _, document = fleet.pull()
    assert status == REFUSED and "doesn't follow" in document["message"]
    fleet.settings["allow_rewind"] = True
    assert fleet.pull()[0] == 0
    assert fleet.trees() == ["two", "one"]


def test_what_somebody_put_into_the_tree_is_gone(fleet):
    fleet.commit("one")
    assert fleet.pull()[0] == 0
    (fleet.place / "state/tree/site.yml").write_text("evil")
    (fleet.place / "state/tree/library").mkdir()
    (fleet.place / "state/tree/library/copy.py").write_text("evil")
    assert fleet.pull()[0] == 0
    assert fleet.trees() == ["one", "one"] and not (fleet.place / "state/tree/library").exists()


def test_a_repository_that_is_away_runs_nothing(fleet):
    fleet.commit("one")
    fleet.settings["repository"] = "https://ops:s3cret@127.0.0.1:1/operator.git"
    status, said, document = fleet.pull()
    assert status == UNFETCHED and document["result"] == "unfetched" and fleet.trees() == []
    assert "s3cret" not in said + json.dumps(document)


def test_a_playbook_that_fails_fails_the_run_and_its_report_is_delivered(fleet, server):
    fleet.commit("one", status=2)
    fleet.settings["report"]["url"] = server.url + "/hosts/{host}.json"
    status, said, _ = fleet.pull()
    assert status == 2 and "site.yml at" in said and "ended with 2" in said
    ((method, path, login, document),) = server.taken
    assert (method, path, login) == ("PUT", "/hosts/gpu-01.json", None)
    assert document["result"] == "failed" and document["exit_status"] == 2 and document["report"]["ok"]


def test_a_refusal_is_delivered_with_the_token(fleet, server):
    fleet.commit("evil", signer=None)
    token = fleet.place / "token"
    token.write_text("s3cret\n")
    fleet.settings["report"] |= {"url": server.url, "method": "POST", "token_file": str(token)}
    status, said, _ = fleet.pull()
    ((method, _, login, document),) = server.taken
    assert (status, method, login) == (REFUSED, "POST", "Bearer s3cret")
    assert document["result"] == "refused" and "s3cret" not in said + json.dumps(document)


def test_a_delivery_that_fails_is_told_and_fails_nothing(fleet, server):
    fleet.commit("one")
    fleet.settings["report"]["url"] = server.url
    server.answers = [(503, None)] * 3
    status, said, document = fleet.pull()
    assert status == 0 and document["ok"] and len(server.taken) == 3
    assert "NOT DELIVERED" in said and "answered 503" in said
    server.answers = [(503, None), (204, None)]
    assert "NOT DELIVERED" not in fleet.pull()[1], "an error that passes is tried again"


def test_the_token_goes_nowhere_else(fleet, server):
    fleet.commit("one")
    token = fleet.place / "token"
    token.write_text("s3cret\n")
    fleet.settings["report"] |= {"url": server.url, "method": "POST", "token_file": str(token)}
    server.answers = [(302, server.url + "/elsewhere")]
    assert "answered 302" in fleet.pull()[1]
    assert [path for _, path, _, _ in server.taken] == ["/"]
    fleet.settings["report"]["url"] = "http://reports.example.org/"
    assert "not sent without TLS" in fleet.pull()[1]


def test_a_command_takes_the_document(fleet):
    fleet.commit("one")
    taken = fleet.place / "taken"
    fleet.settings["report"]["command"] = ["sh", "-c", f'cat > {taken}; cmp {taken} "$0"']
    assert fleet.pull()[0] == 0
    assert json.loads(taken.read_text())["result"] == "converged"
    fleet.settings["report"]["command"] = ["sh", "-c", "echo no room; exit 3"]
    status, said, _ = fleet.pull()
    assert status == 0 and "NOT DELIVERED: sh ended with 3: no room" in said


def test_two_runs_do_not_meet(fleet):
    fleet.commit("one")
    assert fleet.pull()[0] == 0
    with (fleet.place / "state/lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        status, said, _ = fleet.pull()
    assert status == BUSY and "another pull run" in said and fleet.trees() == ["one"]


def test_a_run_from_outside_keeps_pull_runs_away_until_it_counts_as_dead(fleet):
    fleet.commit("one")
    hold = fleet.place / "state/hold/push"
    hold.parent.mkdir(parents=True)
    hold.touch()
    status, said, document = fleet.pull()
    assert status == BUSY and document["result"] == "held" and f"rm {hold}" in said and fleet.trees() == []
    os.utime(hold, (1, 1))
    assert fleet.pull()[0] == 0


def test_a_run_that_is_stopped_stops_its_playbook(fleet):
    pid = fleet.place / "pid"
    fleet.playbook.write_text(f"#!/bin/sh\necho $$ > {pid}.new && mv {pid}.new {pid}\nexec sleep 60\n")
    fleet.commit("one")
    child = fleet.start()
    while not pid.exists():
        assert child.poll() is None
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=30)
    assert child.returncode == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_few_reports_are_kept(fleet):
    fleet.commit("one")
    for number in range(25):
        (fleet.place / f"state/reports/20261128T1000{number:02}Z").mkdir(parents=True)
    assert fleet.pull()[0] == 0
    kept = sorted(path.name for path in (fleet.place / "state/reports").iterdir())
    assert len(kept) == 21 and kept[-2:] == ["20261129T100001Z", "latest"]


def test_systemd_shows_what_became_of_it(fleet, monkeypatch):
    import socket

    address = str(fleet.place / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        fleet.commit("evil", signer=None)
        assert fleet.pull()[0] == REFUSED
        assert listener.recv(4096).decode().startswith("STATUS=commit ")


def test_ansible_itself_converges_this_machine(fleet):
    """No stand-in: the real ansible-playbook, an inventory of the repository in which this host is one of two."""
    site = (
        "- hosts: all\n  gather_facts: false\n  tasks:\n"
        "    - ansible.builtin.copy:\n        content: '{{ greeting }} {{ inventory_hostname }}'\n"
        "        dest: '{{ place }}'\n        mode: '0644'\n"
    )
    (fleet.repository / "inventory").write_text("gpu-01\ngpu-02\n[all:vars]\ngreeting=hello\n")
    fleet.commit(site)
    fleet.settings["ansible_playbook"] = str(Path(sys.executable).parent / "ansible-playbook")
    fleet.settings["arguments"] = ["-e", f"place={fleet.place}/made"]
    status, said, document = fleet.pull()
    assert status == 0 and document["report"] is None, said
    assert (fleet.place / "made").read_text() == "hello gpu-01"


def test_what_a_host_installs_is_what_the_project_pins_and_whole():
    def versions(text):
        pins = (line.split("==") for line in re.findall(r"(?m)^[\w.-]+==[\w.]+", text))
        return {canonicalize_name(name): version for name, version in pins}

    installed = (ROLE / "files/requirements.txt").read_text()
    pins = versions((ROOT / "requirements/core-2.19.txt").read_text())
    assert versions(installed).items() <= pins.items()
    assert len(re.findall(r"==.*\\\n    --hash=sha256:[0-9a-f]{64}", installed)) == len(versions(installed)) == 15
    installed = [f"{name}=={version}" for name, version in versions(installed).items()]
    names = {canonicalize_name(pin.split("==")[0]) for pin in installed}
    here = {canonicalize_name(found.metadata["Name"]) for found in metadata.distributions()}
    for name in names & here:  # a newer Python needs fewer
        for line in metadata.requires(name) or []:
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                assert canonicalize_name(needed.name) in names, f"{name} needs {needed.name}"


def install(place, *requirements, tasks_from="ansible", more=()):
    """The role's own tasks that bring Ansible to the host, as root's would be run, from an index in a folder."""
    tasks = [{"ansible.builtin.import_role": {"name": "pull_timer", "tasks_from": tasks_from}}]
    (place / "play.yml").write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    told = {
        "ansible_python_interpreter": sys.executable,
        "pull_timer_repository": "https://git.example.org/x.git",
        "pull_timer_become": False,
        "pull_timer_python": sys.executable,
        "pull_timer_requirements": list(requirements),
        "pull_timer_pypi_index": f"file://{place}/index",
        "__pull_timer_place": str(place),
    }
    argv = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", "-c", "local"]
    run = [*argv, *more, str(place / "play.yml"), "-e", json.dumps(told)]
    environment = os.environ | {"ANSIBLE_ROLES_PATH": str(ROOT / "roles")}
    done = subprocess.run(run, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout


def test_what_an_index_forged_is_not_installed_for_root_to_run(tmp_path):
    forged = {"forged.pth": f"import os; open({str(tmp_path / 'ran')!r}, 'w').close()\n"}
    genuine = tiny_index.write_wheel(tmp_path, "tiny", "1.0")
    wanted = f"tiny==1.0 --hash=sha256:{hashlib.sha256(genuine.read_bytes()).hexdigest()}"
    tiny_index.write_index(tmp_path / "index", [("tiny", "1.0", [], forged)])
    status, said = install(tmp_path, "tiny==1.0", tasks_from="look")
    assert status and "pull_timer_requirements has tiny==1.0; needed is NAME==VERSION --hash=sha256" in said, said
    status, said = install(tmp_path, wanted)
    assert status and "DO NOT MATCH THE HASHES" in said, said
    assert not (tmp_path / "ran").exists()
    shutil.copy(genuine, tmp_path / "index/tiny")
    status, said = install(tmp_path, wanted)
    assert status == 0, said
    assert (tmp_path / "venv/bin/pip").exists()


def test_the_roles_own_requirements_are_taken_as_they_are_written(tmp_path):
    """Failed first: a line that goes on in the next was read as several, and pull mode refused its own default."""
    status, said = install(tmp_path, tasks_from="look", more=["--check"])
    assert status == 0, said


def outside(fleet, *steps):
    """The plays of a run from outside that has something to do on this host; what it said."""
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    plan = {"hosts": {"here": {"ok": True, "steps": {}, "verification": {"needed": True}}}, "drained": []}
    if "after" in steps:  # an earlier run left it drained
        plan |= {"drained": ["here"]}
        plan["hosts"]["here"]["verification"]["needed"] = False
    drain = {"verl_drain_after": f"touch {fleet.place}/resumed", "verl_drain_timeout": 60}
    about = {"here": {"variables": {"verl_state_dir": str(fleet.place / "push"), **drain}}}
    run = {"__verl_fleet": plan, "__verl_run": {"id": "20261129T100000Z", "mode": "apply", "hosts": about}}
    facts = {"__verl_facts": {"facts": {"pull": {"hold": str(fleet.place / "state/hold")}}}}
    inventory = fleet.place / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"all": {"hosts": {"here": here | facts, "localhost": here | run}}}))
    begin = {"name": "Begin", "hosts": "here", "gather_facts": False, "tasks": []}
    imports = []
    if "hold" in steps:
        imports.append({"import_playbook": f"{ROOT}/playbooks/apply.yml", "vars": {"__verl_play": "before"}})
    if "after" in steps:
        imports.append({"import_playbook": f"{ROOT}/playbooks/apply.yml", "vars": {"__verl_play": "after"}})
    if "release" in steps:
        imports.append(yaml.safe_load((ROOT / "playbooks/report.yml").read_text())[0])
    (fleet.place / "site.yml").write_text(yaml.safe_dump([begin, *imports]))
    argv = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(inventory), str(fleet.place / "site.yml")]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120).stdout


def test_a_run_from_outside_and_a_pull_run_never_work_at_once(fleet):
    hold = fleet.place / "state/hold"
    hold.mkdir(parents=True)
    (fleet.place / "state/lock").touch()
    with (fleet.place / "state/lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = outside(fleet, "hold", "release")
    assert "A pull run is at work on this host" in said and "rescued=1" in said and not any(hold.iterdir()), said
    said = outside(fleet, "hold")
    assert "rescued=0" in said and (hold / "push").read_text() == "20261129T100000Z\n", said
    fleet.commit("one")
    assert fleet.pull()[0] == BUSY
    said = outside(fleet, "hold", "release")
    assert "failed=0" in said and not any(hold.iterdir()), said
    assert fleet.pull()[0] == 0


def test_of_two_controllers_the_second_leaves_the_host_to_the_first(fleet):
    claim = fleet.place / "push/run.claim"
    claim.parent.mkdir()
    (fleet.place / "state/hold").mkdir(parents=True)
    (fleet.place / "state/lock").touch()
    first = {
        "run": "20261129T095900Z-0a1b2c",
        "machine": "another",
        "boot": "b",
        "pid": 1,
        "started": 1,
        "who": "ops@one",
    }
    claim.write_text(json.dumps(first))
    said = outside(fleet, "hold", "release")
    assert "Another run is at work on this host since 0 min: 20261129T095900Z-0a1b2c of ops@one" in said, said
    assert "rescued=1" in said
    assert json.loads(claim.read_text()) == first
    assert "Another run is at work" in outside(fleet, "after", "release")
    assert not (fleet.place / "resumed").exists(), "whoever drained it takes it back"
    claim.unlink()
    outside(fleet, "after", "release")
    assert (fleet.place / "resumed").exists()
    assert "rescued=0" in outside(fleet, "hold", "release")
    assert not claim.exists()


LEFT = {
    "index.lock": lambda git: (git / "index.lock").touch(),
    "HEAD.lock": lambda git: (git / "HEAD.lock").touch(),
    "a lock of the ref": lambda git: (git / "refs/verl/wanted.lock").touch(),
    "an empty ref": lambda git: (git / "refs/verl/wanted").write_text(""),
    "an empty HEAD": lambda git: (git / "HEAD").write_text(""),
    "no HEAD": lambda git: (git / "HEAD").unlink(),
    "half an index": lambda git: (git / "index").write_bytes((git / "index").read_bytes()[:20]),
    "half a config": lambda git: (git / "config").write_text("[cor"),
    "empty objects": lambda git: [
        (path.chmod(0o644), path.write_bytes(b"")) for path in git.glob("objects/??/*") if path.is_file()
    ],
    "an empty .git": lambda git: (shutil.rmtree(git), git.mkdir()),
    "no .git": lambda git: shutil.rmtree(git),
    "half a pack": lambda git: (git / "objects/pack/tmp_pack_x").write_bytes(b"PACK"),
}


@pytest.mark.parametrize("what", LEFT)
def test_whatever_a_kill_left_of_the_clone_the_next_run_goes_on(fleet, what):
    first = fleet.commit("one")
    assert fleet.pull()[0] == 0
    LEFT[what](fleet.place / "state/tree/.git")
    assert fleet.pull()[0] == 0, "the same commit"
    LEFT[what](fleet.place / "state/tree/.git")
    fleet.commit("two")
    status, said, _ = fleet.pull()
    assert status == 0, said
    assert fleet.trees() == ["one", "one", "two"]
    assert not list((fleet.place / "state/tree/.git").rglob("tmp_*"))
    LEFT[what](fleet.place / "state/tree/.git")
    fleet.git("reset", "--quiet", "--hard", first)
    assert fleet.pull()[0] == REFUSED, "an old commit comes back by no damage"


def test_the_last_good_commit_of_an_older_edition_is_known(fleet):
    first = fleet.commit("one")
    second = fleet.commit("two")
    assert fleet.pull()[0] == 0
    (fleet.place / "state/verified").unlink()
    fleet.git("update-ref", "refs/verl/verified", second, at=fleet.place / "state/tree")
    fleet.git("reset", "--quiet", "--hard", first)
    assert fleet.pull()[0] == REFUSED


def test_a_pull_killed_at_its_git_commands_goes_on(fleet, monkeypatch):
    """Every one of them, before and after it, and the git that outlived its run keeps the next one out."""
    fleet.commit("one")
    assert fleet.pull()[0] == 0
    kept = fleet.place / "kept"
    shutil.copytree(fleet.place / "state", kept, symlinks=True)
    fleet.commit("two")
    wrapper = fleet.place / "bin/git"
    wrapper.parent.mkdir()
    wrapper.write_text(
        f"""#!/bin/sh
echo >> {fleet.place}/commands
n=$(wc -l < {fleet.place}/commands)
test "$n" = "$KILL_BEFORE" && kill -KILL $PPID && exit 1
{shutil.which("git")} "$@"
rc=$?
test "$n" = "$KILL_AFTER" && kill -KILL $PPID
exit $rc
"""
    )
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{wrapper.parent}:{os.environ['PATH']}")
    kills = 0
    for point in ("KILL_BEFORE", "KILL_AFTER"):
        for number in range(1, 30):
            shutil.rmtree(fleet.place / "state")
            shutil.copytree(kept, fleet.place / "state", symlinks=True)
            (fleet.place / "commands").write_text("")
            monkeypatch.setenv(point, str(number))
            status = fleet.pull()[0]
            monkeypatch.delenv(point)
            if status == 0:
                break
            assert status == -signal.SIGKILL
            kills += 1
            assert fleet.pull()[0] == 0, (point, number)
            assert fleet.trees()[-1] == "two"
    assert kills >= 12


@pytest.mark.parametrize("what", ["fifo", "endless", "deep", "NaN", "list"])
def test_no_report_of_the_login_user_stops_the_run(fleet, what):
    fleet.commit("one")
    assert fleet.pull()[0] == 0
    report = fleet.place / "state/reports/20261129T100001Z/report.json"
    report.unlink()
    if what == "fifo":
        os.mkfifo(report)
    elif what == "endless":
        report.symlink_to("/dev/zero")
    else:
        report.write_text({"deep": '{"a":' * 5000 + "1" + "}" * 5000, "NaN": '{"a": NaN}', "list": "[]"}[what])
    status, said, document = fleet.pull()
    assert status == 0, said
    assert document["report"]["run"]["id"] == "20261129T100002Z"


def test_a_hold_that_is_dated_ahead_does_not_hold_for_ever(fleet):
    fleet.commit("one")
    hold = fleet.place / "state/hold/push"
    hold.parent.mkdir(parents=True)
    hold.touch()
    os.utime(hold, (time.time() + 60, time.time() + 60))
    assert fleet.pull()[0] == BUSY, "clocks differ a little"
    os.utime(hold, (time.time() + 30 * 86400, time.time() + 30 * 86400))
    assert fleet.pull()[0] == 0


def test_a_tag_with_the_name_of_the_branch_is_refused(fleet):
    fleet.commit("one")
    fleet.git("checkout", "--quiet", "-b", "feature")
    fleet.commit("not released")
    fleet.git("tag", "main")
    fleet.git("checkout", "--quiet", "refs/heads/main")
    status, said, _ = fleet.pull()
    assert status == REFUSED
    assert "refs/heads/main or refs/tags/main" in said
    fleet.settings["version"] = "refs/heads/main"
    assert fleet.pull()[0] == 0
    assert fleet.trees() == ["one"]


def test_a_signed_commit_that_was_not_released_is_refused(fleet):
    fleet.settings["release_line"] = "Released-to: main"
    fleet.commit("one\n\nReleased-to: main")
    assert fleet.pull()[0] == 0
    fleet.commit("a feature, put under the branch's name")
    status, said, _ = fleet.pull()
    assert status == REFUSED
    assert "no line `Released-to: main`" in said
    assert len(fleet.played()) == 1


@pytest.mark.parametrize(
    ("address", "taken"),
    [
        ("https://git.example/fleet.git", True),
        ("ssh://git@git.example/fleet.git", True),
        ("git@git.example:ops/fleet.git", True),
        ("/srv/fleet.git", True),
        ("https://ghp_token@git.example/fleet.git", False),
        ("https://user:pass@git.example/fleet.git", False),
        ("https://user:p@ss@git.example/fleet.git", False),
        ("ssh://git:pass@git.example/fleet.git", False),
        ("--upload-pack=x", False),
    ],
)
def test_a_login_in_the_repositorys_address_is_refused(address, taken):
    task = yaml.safe_load((ROLE / "tasks/look.yml").read_text())[0]["ansible.builtin.assert"]
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    environment.tests["search"] = lambda value, pattern: re.search(pattern, value) is not None
    assert environment.compile_expression(task["that"])(pull_timer_repository=address) is taken
