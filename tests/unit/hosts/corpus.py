"""Machines as they are: one file each in tests/fixtures/hosts, with the plan that is expected of it in one line.

A file says how a machine differs from a recorded host (`like`): files, kernel files, commands, GPUs. The project's own
probes look at the result, so a machine tests how it is read as well as what is decided.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import yaml
from ansible.module_utils.verl_probes.collect import collect

from tests.unit.decide.machines import plan
from tests.unit.facts.recorded import HOSTS, RecordedHost
from tests.unit.facts.recordings import RECORDINGS

NAMES = sorted(
    path.stem
    for path in RECORDINGS.glob("*.yml")
    if any(word in path.read_text(encoding="utf-8") for word in ("\nlike: ", "\nfacts:"))
)
SMI = """#!/bin/sh
case "$*" in
--query-gpu=fabric.state*) {fabric} ;;
--query-gpu=*) {wait}/bin/cat "${{0%/*}}/../gpus.csv"{fails} ;;
--query-compute-apps=*) ;;
--version) echo "NVIDIA-SMI version  : {driver}"; echo "CUDA Version        : 13.0" ;;
-L) ;;
*) exit 64 ;;
esac
"""
FLAVOURS = {"open": " Open Kernel Module for x86_64", "proprietary": " Kernel Module"}


def document(name: str) -> dict[str, Any]:
    """A machine's file."""
    return yaml.safe_load((RECORDINGS / f"{name}.yml").read_text(encoding="utf-8"))


class Machine(RecordedHost):
    """A recorded host with a file's changes."""

    def __init__(self, about: dict[str, Any], folder: Path):
        super().__init__(about["like"])
        self.machine = {**self.machine, **about.get("machine", {})}
        self.timeout = self.machine["timeout"]
        self.sudo_password = about.get("sudo_password")
        self.gone = about.get("gone", [])
        base = self.probe_root
        self.probe_root = str(folder / "tree")
        shutil.copytree(base, self.probe_root, symlinks=True)
        self.layers = [folder, *self.layers]
        (folder / "bin").mkdir()
        for path, text in about.get("files", {}).items():
            _write(folder / "files" / path.lstrip("/"), text)
        for name, script in about.get("commands", {}).items():
            self._command(folder, name, script)
        if "gpus" in about:
            self._gpus(folder, **about["gpus"])
        for path, text in about.get("kernel", {}).items():
            told = re.sub(r"\{inode:([^}]+)\}", lambda match: str(self.inode(match[1])), text)
            _write(folder / "tree" / path.lstrip("/"), told)
        if "docker" in about:
            self._docker(folder, about["docker"])

    def file(self, path: str) -> str:
        if any(path == gone or path.startswith(gone + "/") for gone in self.gone):
            return "/nonexistent" + path
        return super().file(path)

    def which(self, name: str, path: Any = None) -> str | None:
        return None if name in self.gone else super().which(name, path)

    def _command(self, folder: Path, name: str, script: str) -> None:
        path = folder / "bin" / name
        path.write_text(script if script.startswith("#!") else f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def _gpus(self, folder: Path, **about: Any) -> None:
        """NVIDIA GPUs: on the bus, in the module, and in what nvidia-smi prints."""
        devices = folder / "tree/sys/bus/pci/devices"
        shutil.rmtree(devices, ignore_errors=True)
        driver, names = about.get("driver"), about.get("listed", [about.get("name")] * about.get("count", 1))
        for number in range(about.get("on_bus", len(names))):
            device = about.get("devices", [about.get("device", "2330")] * (number + 1))[number]
            lines = f"DRIVER={about.get('bound', 'nvidia')}\nPCI_CLASS=30200\nPCI_ID=10DE:{device}\n"
            _write(devices / f"0000:{16 + number:02x}:00.0/uevent", lines if driver else lines.partition("\n")[2])
        shutil.rmtree(folder / "tree/sys/module/nvidia", ignore_errors=True)
        (folder / "tree/proc/driver/nvidia/version").unlink(missing_ok=True)
        if driver and about.get("loaded", True):
            _write(folder / "tree/sys/module/nvidia/version", driver)
            version = f"NVRM version: NVIDIA UNIX{FLAVOURS[about.get('modules', 'open')]}  {driver}  Release Build"
            _write(folder / "tree/proc/driver/nvidia/version", version)
        kinds = about.get("kinds", {})  # {name: [memory, capability]} where there are several
        rows = []
        for number, name in enumerate(names):
            memory, capability = kinds.get(name, [about.get("memory", 81559), about.get("capability", "9.0")])
            rows.append(f"{number}, GPU-{number:08d}, {name}, {memory}, {capability}, [N/A], {driver}")
        (folder / "gpus.csv").write_text("\n".join([*rows, *about.get("says", [])]) + "\n")
        fails = f"; exit {about['exit']}" if "exit" in about else ""
        fabric = f"echo '{about['fabric']}'" if "fabric" in about else "exit 2"
        wait = f"/bin/sleep {about['seconds']}; " if "seconds" in about else ""
        self._command(folder, "nvidia-smi", SMI.format(driver=driver, fails=fails, fabric=fabric, wait=wait))
        self._command(folder, "modinfo", f'case "$2" in version) echo {driver};; *) echo "Dual MIT/GPL";; esac')

    def _docker(self, folder: Path, changes: dict[str, Any]) -> None:
        """A Docker that answers as the recorded one does, but for these keys of `docker info`."""
        recorded = next(layer / "output" for layer in self.layers[1:] if (layer / "output/docker.info.json").is_file())
        info = {**json.loads((recorded / "docker.info.json").read_text()), **changes}
        (folder / "output").mkdir(exist_ok=True)
        (folder / "output/docker.info.json").write_text(json.dumps(info))
        for name in ("docker.ps.jsonl", "docker.image-ls.jsonl"):
            (folder / "output" / name).write_text("")
        self._command(folder, "docker", (HOSTS / "_docker/bin/docker").read_text())


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def facts(about: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What the probes find on a machine, or found on somebody's (`verl-provision doctor --facts`)."""
    if "facts" in about:
        return about["facts"]
    machine = Machine(about, folder)
    return machine.plain(collect(machine))


def planned(about: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """The plan of a machine."""
    return plan(found, about.get("settings"), **about.get("wishes", {}))


def line(decided: dict[str, Any]) -> str:
    """A plan in one line."""
    if not decided["ok"]:
        return "refused: " + " | ".join(f"{error['rule']}: {error['fix']}" for error in decided["errors"])
    words = [decided["backend"], decided["profile"], *(name for name in decided["steps"] if name not in COMMON)]
    warned = sorted({warning["rule"] for warning in decided["warnings"]} - {"defects"})
    return "ok: " + " ".join(words) + (f"; warned: {' '.join(warned)}" if warned else "")


COMMON = ("container_image", "verl_checkout", "training_container", "source_environment", "verl_shell")


def said(decided: dict[str, Any]) -> str:
    """Everything that a plan tells a person."""
    told = [decided["errors"], decided["warnings"], decided["why"], decided["deferred"], decided["rejected"]]
    return json.dumps(told, ensure_ascii=False)
