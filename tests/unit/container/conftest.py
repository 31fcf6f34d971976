"""The modules as Ansible runs them: arguments as JSON, engines played by recorded answers."""

import base64
import importlib.util
import io
import json
import shutil
import stat
import sys
import tarfile
from pathlib import Path

import ansible.module_utils
import pytest
from ansible.module_utils import basic

ROOT = Path(__file__).resolve().parents[3]
MODULE_UTILS = str(ROOT / "module_utils")
if MODULE_UTILS not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(MODULE_UTILS)

RECORDED = Path(__file__).parent / "recorded"

FAKE = """#!{python}
import base64, json, os, sys
here = os.path.dirname(os.path.abspath(__file__))
name = os.path.basename(__file__)
with open(os.path.join(here, name + ".calls"), "a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
with open(os.path.join(here, name + ".json")) as handle:
    script = json.load(handle)
for index, rule in enumerate(script):
    if sys.argv[1:len(rule["argv"]) + 1] == rule["argv"] and rule.get("times") != 0:
        if "times" in rule:
            rule["times"] -= 1
            with open(os.path.join(here, name + ".json"), "w") as handle:
                json.dump(script, handle)
        for path, content in dict(rule.get("makes") or ()).items():  # in the folder that is named last
            path = os.path.join(sys.argv[-1], path)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as handle:
                handle.write(content)
            os.utime(path, (1, 1))
        sys.stdout.buffer.write(base64.b64decode(rule.get("tar", "")))
        sys.stdout.write(rule.get("out", ""))
        sys.stderr.write(rule.get("err", ""))
        sys.exit(rule.get("rc", 0))
sys.stderr.write("Error: No such object: %s\\n" % sys.argv[-1])
sys.exit(1)
"""


class Fake:
    """A command on PATH that answers from a list: `says(["ps"], out="...")`, the first rule that fits."""

    def __init__(self, folder, name):
        self.folder, self.name, self.script = folder, name, []
        path = folder / name
        path.write_text(FAKE.format(python=sys.executable))
        path.chmod(path.stat().st_mode | stat.S_IEXEC)
        self._save()

    def _save(self):
        (self.folder / f"{self.name}.json").write_text(json.dumps(self.script))

    def says(self, argv, out="", err="", rc=0, times=None, first=False, **more):
        """Answer `argv...` with this; `times` uses it up, `first` comes before what was said already."""
        rule = {"argv": argv, "out": out if isinstance(out, str) else json.dumps(out), "err": err, "rc": rc, **more}
        if times is not None:
            rule["times"] = times
        self.script.insert(0 if first else len(self.script), rule)
        self._save()
        return self

    def holds(self, container, path, files):
        """Have `cp` hand out a tree: as an archive, and into a folder."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            top = tarfile.TarInfo(Path(path).name)
            top.type = tarfile.DIRTYPE
            tar.addfile(top)
            for name, content in files.items():
                entry = tarfile.TarInfo(f"{Path(path).name}/{name}")
                entry.size, entry.mtime = len(content), 1
                tar.addfile(entry, io.BytesIO(content.encode()))
        self.says(["cp", f"{container}:{path}", "-"], tar=base64.b64encode(archive.getvalue()).decode())
        return self.says(["cp", f"{container}:{path}/."], makes=files)

    @property
    def calls(self):
        """Every call's arguments, in order."""
        path = self.folder / f"{self.name}.calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def called(self, *argv):
        """The calls that start with `argv`."""
        return [call for call in self.calls if call[: len(argv)] == list(argv)]


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Make fake commands: `fake("docker")`. Nothing else of the machine's engines is on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    from ansible.module_utils.verl_container import cli

    for tool in ("git", "sh", "env"):
        if shutil.which(tool):
            (folder / tool).symlink_to(shutil.which(tool))
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(cli, "SBIN", str(folder))
    return lambda name: Fake(folder, name)


class Exit(Exception):
    """What a module answered."""


@pytest.fixture
def module(monkeypatch):
    """Run a module of library/: `module("verl_image", {...}, check=True)` returns its answer with `failed`."""

    def run(name, args, check=False, diff=True):
        spec = importlib.util.spec_from_file_location(name, ROOT / "library" / f"{name}.py")
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
        monkeypatch.setattr(
            basic.AnsibleModule, "exit_json", lambda self, **kw: (_ for _ in ()).throw(Exit({"failed": False, **kw}))
        )
        monkeypatch.setattr(
            basic.AnsibleModule, "fail_json", lambda self, **kw: (_ for _ in ()).throw(Exit({**kw, "failed": True}))
        )
        full = {**args, "_ansible_check_mode": check, "_ansible_diff": diff, "_ansible_remote_tmp": "/tmp"}
        monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": full}).encode())
        if hasattr(basic, "_ANSIBLE_PROFILE"):
            monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy")
        with pytest.raises(Exit) as answer:
            loaded.main()
        return answer.value.args[0]

    return run


@pytest.fixture
def recorded():
    """Read a recorded answer of a real engine: `recorded("docker-20.10/container-gpus-all.json")`."""
    return lambda name: json.loads((RECORDED / name).read_text())
