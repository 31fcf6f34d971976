"""A recorded host in place of the real one; see tests/fixtures/hosts/README.md."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

from ansible.module_utils.verl_probes.host import Host

from tests.unit.facts.recordings import laid_out

REPOSITORY = Path(__file__).resolve().parents[3]
FACTS = REPOSITORY / "tests" / "fixtures" / "facts"
SCHEMA = REPOSITORY / "catalog" / "schema" / "facts.json"
SECONDS = 0.4  # stands for every measured time
TIMEOUT = 10  # stands for a recorded host's own limit


OURS = HOSTS = laid_out()  # who has hosts of his own sets HOSTS; ours are found beside them
NAMES = sorted(path.parent.name for path in HOSTS.glob("*/machine.json"))


def _place(name):
    return HOSTS / name if (HOSTS / name).is_dir() else OURS / name


class RecordedHost(Host):
    """Files and commands come from the recording; how they are read, run and parsed is the module's own code."""

    def __init__(self, name):
        self.name = name
        self.machine = json.loads((_place(name) / "machine.json").read_text())
        self.layers = [_place(layer) for layer in (name, *self.machine["layers"])]
        home = self.machine["identity"][2]
        super().__init__(
            probe_root=str(_place(self.machine.get("tree", name)) / "tree"),
            timeout=self.machine["timeout"],
            state_dir=home + "/.local/state/verl-provision",
            prefix=home + "/verl",
        )

    def file(self, path):
        for layer in self.layers:
            candidate = layer / "files" / path.lstrip("/")
            if os.path.lexists(candidate):
                return str(candidate)
        return str(self.layers[0] / "files" / path.lstrip("/"))

    def search_path(self):
        return [str(layer / "bin") for layer in self.layers if (layer / "bin").is_dir()]

    service_path = search_path

    def environment(self):
        return {"PATH": os.pathsep.join(self.search_path()), "LC_ALL": "C"}

    def changed_at(self, path):
        return self.machine["changed"].get(os.path.basename(path))

    def modified_at(self, path):
        return self.machine["modified"].get(path)

    def link_target(self, path):
        return self.machine["links"].get(path)

    def space(self, path):
        known = self.machine["space"]
        return tuple(known[max((part for part in known if path.startswith(part)), key=len)])

    def uname(self):
        return SimpleNamespace(**self.machine["uname"])

    def cpus(self):
        return self.machine["cpus"]

    def interpreter(self):
        return tuple(self.machine["interpreter"])

    def identity(self):
        return tuple(self.machine["identity"])

    def groups(self):
        return self.machine["groups"]

    def runtime_dir(self):
        return f"/run/user/{self.machine['identity'][0]}"

    def processes(self):
        return self.machine["processes"]

    def in_namespace(self, pid):
        return [(pid, 0, "sleep")]

    def default_address(self):
        return tuple(self.machine["default_address"])

    def plain(self, facts):
        """The facts as they would be on the machine itself: its own paths, and no measured times."""
        text = json.dumps(facts)
        for layer in self.layers:
            text = text.replace(str(layer / "bin"), "/usr/bin").replace(str(layer / "files"), "")
        text = text.replace(f"within {self.timeout:g} s", f"within {TIMEOUT} s")
        facts = json.loads(text)
        facts["seconds"] = SECONDS
        smi = facts.get("nvidia", {}).get("smi", {})
        if smi.get("seconds") is not None:
            smi["seconds"] = SECONDS if smi["rc"] is not None else float(TIMEOUT)
        return facts
