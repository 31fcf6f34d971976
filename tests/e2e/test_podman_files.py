"""What a user has in a Podman container outlives another image: real Podman, the role's own tasks, no registry."""

import io
import json
import os
import re
import resource
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from lab.machine import need

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
FIRST, SECOND = "localhost/verl:first", "localhost/verl:second"
OTHER = {"training_container_shm_size": "2g"}
PLAY = """
- hosts: localhost
  gather_facts: false
  tasks:
    - block:
        - include_role: {name: training_container}
      always:
        - copy: {content: "{{ training_container_result | to_json }}", dest: "{{ answer }}"}
          changed_when: false
"""


class Machine:
    """This machine's Podman, with a store of its own below `root`."""

    def __init__(self, root: Path):
        self.root, self.home = root, root / "home"
        self.home.mkdir()
        (root / "play.yml").write_text(PLAY)
        (root / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{root}/store"\nrunroot = "{root}/run"\n'
        )
        # Works also where the machine's limits can't be raised, and where it has both versions of cgroups.
        limits = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
        least = {name: min(1024, *resource.getrlimit(limit)) for name, limit in limits.items()}
        ulimits = json.dumps([f"{name}={count}:{count}" for name, count in least.items()])
        (root / "containers.conf").write_text(
            f'[containers]\ndefault_ulimits = {ulimits}\n[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\n'
        )
        self.environment = os.environ | {
            "CONTAINERS_STORAGE_CONF": f"{root}/storage.conf",
            "CONTAINERS_CONF": f"{root}/containers.conf",
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "HOME": str(self.home),
        }

    def podman(self, *command: str, fails: bool = False) -> str:
        """A command of Podman; what it prints."""
        done = subprocess.run(["podman", *command], env=self.environment, capture_output=True, text=True)
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout

    def image(self, name: str, **files: str) -> None:
        """An image with a shell and these files."""
        archive = self.root / "image.tar"
        with tarfile.open(archive, "w") as tar:
            tar.add(need("busybox", "busybox-static"), "bin/busybox")
            for link in ("sh", "sleep", "cat", "mkdir"):
                entry = tarfile.TarInfo(f"bin/{link}")
                entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(entry)
            for path, content in files.items():
                entry = tarfile.TarInfo(path)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content.encode()))
        self.podman("import", "-q", str(archive), name)

    def apply(self, image: str, fails: bool = False, **variables: object) -> dict:
        """The role; its module's answer, with `changes` of the whole play."""
        given = {
            "training_container_engine": "podman",
            "training_container_image": image,
            "training_container_gpu_request": "none",
            "training_container_install_verl": False,
            "training_container_shm_size": "1g",
            "training_container_shm_ram_percent": 0,
            "training_container_workspace": str(self.home),
            "ansible_python_interpreter": sys.executable,
            "answer": str(self.root / "answer.json"),
            **variables,
        }
        play = [sys.executable, "-m", "ansible", "playbook", str(self.root / "play.yml")]
        command = [*play, "-i", "localhost,", "-c", "local", "-e", json.dumps(given)]
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True)
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        changes = int(re.search(r"changed=(\d+)", done.stdout)[1])
        return json.loads((self.root / "answer.json").read_text()) | {"changes": changes}

    def inspect(self, name: str = "verl") -> dict:
        """A container."""
        return json.loads(self.podman("container", "inspect", name))[0]

    def inside(self, command: str, name: str = "verl", fails: bool = False) -> str:
        """A command in a container; what it prints."""
        return self.podman("exec", name, "sh", "-c", command, fails=fails).strip()

    def containers(self) -> list[str]:
        """The names of all."""
        return sorted(self.podman("ps", "-a", "--format", "{{.Names}}").split())


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """Podman, and two images."""
    need("podman", "podman")
    need("runc", "runc")
    made = Machine(tmp_path_factory.mktemp("podman"))
    made.image(FIRST)
    made.image(SECOND, **{"etc/second": "second"})
    yield made
    made.podman("rm", "--all", "--force", "--time", "0")
    made.podman("system", "reset", "--force")


@pytest.fixture(scope="module")
def first(machine):
    """A container without mounts for what people keep, in which somebody works; its id."""
    answer = machine.apply(FIRST, training_container_home="")
    machine.inside("mkdir -p /root/data/gsm8k && echo rows > /root/data/gsm8k/train && echo mine > /root/notes.txt")
    return answer["container"]["id"]


def test_the_same_image_leaves_it_untouched(machine, first):
    answer = machine.apply(FIRST, training_container_home="")
    assert (answer["actions"], answer["changes"]) == ([], 0)
    answer = machine.apply(FIRST)  # the mounts alone recreate nothing
    assert (answer["actions"], answer["changes"], machine.inspect()["Id"]) == ([], 0, first)


def test_another_image_moves_the_data_to_the_mounts_and_keeps_the_rest(machine, first):
    answer = machine.apply(SECOND)
    kept = f"verl-before-{first[:12]}"
    assert answer["actions"] == ["kept", "created", "started"]
    assert (answer["kept"]["name"], answer["kept"]["files"], answer["kept"]["path"]) == (kept, 1, "/root/notes.txt")
    assert answer["kept"]["size_bytes"] > 0
    assert machine.containers() == ["verl", kept]
    assert machine.inspect(kept)["State"]["Running"] is False
    assert machine.inside("cat /root/data/gsm8k/train /etc/second") == "rows\nsecond"
    assert (machine.home / "verl/home/verl/root-data/gsm8k/train").read_text() == "rows\n"
    machine.inside("cat /root/notes.txt", fails=True)


def test_a_second_run_changes_nothing_and_a_copy_brings_the_file_back(machine, first):
    answer = machine.apply(SECOND)
    assert (answer["actions"], answer["changes"]) == ([], 0)
    assert answer["kept"]["id"] == first
    machine.podman("cp", f"{answer['kept']['name']}:/root/notes.txt", str(machine.root / "notes.txt"))
    machine.podman("cp", str(machine.root / "notes.txt"), "verl:/root/notes.txt")
    assert machine.inside("cat /root/notes.txt") == "mine"


def test_a_second_container_with_files_is_left_as_it_is(machine, first):
    before = machine.inspect()["Id"]
    answer = machine.apply(SECOND, **OTHER)
    assert "/root/notes.txt" in answer["deferred"]["because"]
    assert f"verl-before-{first[:12]}" in answer["deferred"]["because"]
    assert (machine.inspect()["Id"], machine.inspect()["State"]["Running"]) == (before, True)
    assert machine.inside("cat /root/notes.txt") == "mine"


def test_what_was_kept_is_removed_where_that_is_asked_and_the_next_is_kept(machine, first):
    before = machine.inspect()["Id"]
    machine.apply(SECOND, **OTHER, training_container_discard_kept=True)
    assert machine.containers() == ["verl", f"verl-before-{before[:12]}"]
    assert machine.inside("cat /root/data/gsm8k/train") == "rows"
    machine.apply(SECOND, **OTHER, training_container_discard_kept=True)
    assert machine.containers() == ["verl"]


def test_a_container_in_which_nobody_did_anything_is_removed(machine, first):
    answer = machine.apply(SECOND)
    assert (answer["actions"], answer["kept"]) == (["removed", "created", "started"], None)
    assert machine.containers() == ["verl"]


def test_somebodys_own_container_of_that_name_is_refused(machine, first):
    machine.podman("rm", "--force", "--time", "0", "verl")
    machine.podman("run", "--detach", "--net=host", "--name", "verl", FIRST, "sleep", "infinity")
    machine.inside("echo theirs > /theirs")
    theirs = machine.inspect()
    answer = machine.apply(SECOND, fails=True)
    assert "did not make" in answer["msg"]
    assert "podman rename verl verl-old" in answer["fix"]
    assert (machine.inspect()["Id"], machine.inspect()["State"]["Pid"]) == (theirs["Id"], theirs["State"]["Pid"])
    assert machine.inside("cat /theirs") == "theirs"
    assert machine.containers() == ["verl"]
