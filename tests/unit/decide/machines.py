"""Machines for the tests of the decisions: described by hand, or recorded, then changed where a test needs it."""

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

from verl_provision import catalog, handmade, variables
from verl_provision import facts as hosts
from verl_provision.catalog import model
from verl_provision.plan.fleet import plan_host
from verl_provision.select.inputs import Preferences, SelectionFacts

ROOT = Path(__file__).resolve().parents[3]
RECORDED = ROOT / "tests" / "fixtures" / "facts"
DOCKER_26 = {"installed": True, "version": "26.1.5", "reachable": True, "with_sudo": True}


@cache
def loaded() -> dict[str, Any]:
    """The project's catalog."""
    return catalog.load()


@cache
def known() -> model.Catalog:
    """The project's catalog as the decisions read it."""
    return model.read(loaded())


def machine(gpu: str | None = "H100", driver: str | None = "580.95.05", **changes: Any) -> dict[str, Any]:
    """Facts of a healthy machine; `section={...}` merges into that section, deeply."""
    options = {name: changes.pop(name) for name in ("gpu_count", "arch", "docker", "sudo") if name in changes}
    facts = handmade.facts(handmade.Machine(gpu=gpu, driver=driver if gpu else None, **options), loaded())
    if gpu and facts["nvidia"]["kernel_modules"] is None:
        facts["nvidia"]["kernel_modules"] = "open"
    return merge(facts, changes)


def recorded(name: str) -> dict[str, Any]:
    """The facts recorded under tests/fixtures/facts."""
    return json.loads((RECORDED / f"{name}.json").read_text())


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes` in it, dict by dict."""
    merged = copy.deepcopy(base)
    for name, value in changes.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = merge(merged[name], value) if both else value
    return merged


def plan(facts: Any, settings: Any = None, **asked: Any) -> dict[str, Any]:
    """The plan; requests by their names without `verl_`."""
    return plan_host(facts, {f"verl_{name}": value for name, value in asked.items()}, loaded(), settings)


def host(facts: dict[str, Any]) -> hosts.Host:
    """The facts, typed."""
    return hosts.read(facts, known())


def selection(facts: dict[str, Any]) -> SelectionFacts:
    """The facts as the rules see them."""
    return SelectionFacts.of(host(facts), known())


def preferences(**asked: Any) -> Preferences:
    """Requests as the rules see them; by their names without `verl_`."""
    return Preferences.of(request(**asked))


def request(**asked: Any) -> variables.Request:
    """Requests, typed; by their names without `verl_`."""
    parsed = variables.parse({f"verl_{name}": value for name, value in asked.items()})
    assert not parsed.errors, parsed.errors
    return variables.Request.of(parsed.values)


def settle(facts: dict[str, Any], planned: dict[str, Any]) -> dict[str, Any]:
    """The machine after a run that did everything in the plan, and passed verification."""
    done = copy.deepcopy(facts)
    for name, step in planned["steps"].items():
        args = step["args"]
        done["stamps"][name] = {"key": step["key"]}
        if name == "docker_engine":
            done["engines"]["docker"] |= {
                **DOCKER_26,
                "gpus_flag": True,
                "runtimes": ["runc"],
                "root_dir": "/var/lib/docker",
            }
        if name == "nvidia_container_toolkit":
            done["toolkit"] |= {"installed": True, "version": args["version"], "mode": "auto"}
            done["engines"]["docker"]["runtimes"] = ["nvidia", "runc"]
            file = done["engines"]["docker"].get("daemon_json") or {}
            entry = {"runtimes": {"nvidia": {"path": "nvidia-container-runtime", "args": []}}}
            settings = merge(file.get("parsed") or {}, entry)
            done["engines"]["docker"]["daemon_json"] = {**file, "path": "/etc/docker/daemon.json", "parsed": settings}
        if name == "disruption" and args["action"] != "reload":
            done["engines"]["docker"]["gpus_flag"] = True
        if name == "container_image" and "file" in args:
            done["sif_images"] = [args["file"]]
        elif name == "container_image":
            done["images"].append(
                {
                    "engine": args["engine"],
                    "refs": [args["pull_ref"]],
                    "id": "sha256:1",
                    "size_gb": 30.0,
                    "digests": [f"{args['pull_ref']}@{args['digest']}"] if args["digest"] else [],
                }
            )
        if name == "verl_checkout":
            commit = args.get("commit") or "c" * 40
            done["verl_checkout"] = {"path": args["path"], "commit": commit, "tag": args["version"], "dirty": False}
        if name == "training_container":
            done["container"] = {
                "engine": args["engine"], "name": args["name"], "id": "1234567890ab", "running": True,
                "image_id": None, "image_ref": None, "pid": None, "started_at": None,
                "processes": [], "labels": {"verl-provision.home": args["home"]},
                "spec": {"mounts": [{"type": "bind", "source": place, "target": place, "read_only": False}
                                    for place in ("/workspace/verl", "/root", "/data")]},
            }  # fmt: skip
        if name == "verl_shell":
            done["verl_shell"] = {"path": args["path"], "key": step["key"]}
        if name == "source_environment":
            path = f"{args['prefix']}/env"
            done["source_environment"] = {
                "path": path, "python_ok": True, "verl_version": args["verl_version"], "building": False,
            }  # fmt: skip
    verification = planned["verification"]
    done["verification"] = {
        "key": verification["key"], "level": verification["level"], "passed_at": "2026-11-24T10:00:00Z",
    }  # fmt: skip
    return done
