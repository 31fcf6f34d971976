"""What a plan fetches, as questions; and the answers given back to it. Pure, over the fleet's plan."""

import copy
import json
from collections.abc import Mapping
from typing import Any

from verl_provision.boundary import documents
from verl_provision.boundary.text import one_line
from verl_provision.plan import cluster
from verl_provision.plan.steps.docker_engine import DOCKER_PACKAGES
from verl_provision.plan.steps.nvidia_container_toolkit import PACKAGES as TOOLKIT_PACKAGES

RULE = "preflight_"
IMAGE = "registry_manifest"
LONGEST = 400
DEBIAN_ARCH = {"x86_64": "amd64", "aarch64": "arm64"}
VARIABLE = {
    "registry_manifest": "verl_image",
    "git_ref": "verl_version",
    "pypi": "verl_version",
    "manager": "verl_source_manager",
}


def requests_for(fleet: dict[str, Any]) -> list[dict[str, Any]]:
    """Everything the plan will fetch, each thing once: `{id, kind, hosts: [NAME], ...}`, hosts in the plan's order.

    Hosts that get there by another proxy, or with other logins, ask for themselves.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, plan in (fleet.get("hosts") or {}).items():
        if not _open(plan):
            continue
        machine = (fleet.get("machines") or {}).get(name) or {}
        for request in _of_host(plan, machine):
            identity = _identity(request, machine.get("access") or 0)
            known = found.setdefault(identity, {"id": identity, **request, "hosts": []})
            known["hosts"].append(name)
    return list(found.values())


def queue(fleet: dict[str, Any]) -> list[dict[str, Any]]:
    """`[{host, controller, requests, hosts: {id: [NAME]}}]` in the order of asking.

    First the controller asks for every image, with the proxy and the logins of the first host that pulls it. Then each
    thing is asked for by the first host that will fetch it.
    """
    batches: dict[tuple[bool, str], dict[str, Any]] = {}
    requests = requests_for(fleet)
    for controller in (True, False):
        for request in requests:
            if controller and request["kind"] != IMAGE:
                continue
            first = request["hosts"][0]
            batch = batches.setdefault(
                (controller, first), {"host": first, "controller": controller, "requests": [], "hosts": {}}
            )
            batch["requests"].append({key: value for key, value in request.items() if key != "hosts"})
            batch["hosts"][request["id"]] = request["hosts"]
    return list(batches.values())


def apply_answers(fleet: dict[str, Any], result: Any) -> dict[str, Any]:
    """Return the plan with digests filled in, and with an error on every host whose plan needs what isn't there.

    `result` is what Ansible registered for the first batch of `fleet["preflight"]`, which is taken off. What the
    controller found counts for all hosts. What a host says refuses only itself and warns the others; a digest that it
    found for them is one that each confirms for itself before it pulls (`confirm_digest`).
    """
    fleet = copy.deepcopy(fleet)
    if not fleet.get("preflight"):
        return fleet
    batch = fleet["preflight"].pop(0)
    who = "the controller" if batch["controller"] else batch["host"]
    answers = read(result, [request["id"] for request in batch["requests"]], who)
    for request in batch["requests"]:
        take = _from_controller if batch["controller"] else _from_host
        take(fleet, batch, request, answers[request["id"]])
    cluster.settle(fleet)  # digests are known now
    return fleet


def _from_controller(
    fleet: dict[str, Any], batch: dict[str, Any], request: dict[str, Any], answer: dict[str, Any]
) -> None:
    """What the controller saw in a registry. What it could not see, hosts may."""
    digest = answer["digest"]
    if answer["ok"] and digest:
        for name in batch["hosts"][request["id"]]:
            _fill(fleet["hosts"][name], digest)
    elif answer["kind"] == "missing":
        for name in batch["hosts"][request["id"]]:
            _refuse(fleet["hosts"][name], request, answer)
    else:
        return
    for other in fleet["preflight"]:  # hosts are asked whether they get at it, or not at all
        other["requests"] = [
            {**one, "digest": digest, "known": True} if one["id"] == request["id"] else one
            for one in other["requests"]
            if answer["ok"] or one["id"] != request["id"]
        ]


def _from_host(fleet: dict[str, Any], batch: dict[str, Any], request: dict[str, Any], answer: dict[str, Any]) -> None:
    """What a host saw, for itself; the others hear of it."""
    host, image = batch["host"], request["kind"] == IMAGE
    others = [name for name in batch["hosts"][request["id"]] if name != host]
    if answer["ok"] and image and answer["digest"] != (request["digest"] or answer["digest"] or ""):
        found = f"{host} was given {answer['digest'] or 'no digest'}"
        answer = {**answer, "ok": False, "found": found, "fix": f"See what answers {host} for {_words(request)}."}
    if answer["ok"]:
        if image:
            for name in (host, *others):
                _fill(fleet["hosts"][name], answer["digest"], confirm=name != host)
        return
    _refuse(fleet["hosts"][host], request, answer)
    for name in others:
        _warn(fleet["hosts"][name], request, host, answer)
    left = [name for name in others if _open(fleet["hosts"][name])]
    if image and not request["digest"] and left and not batch.get("again"):
        again = {"host": left[0], "controller": False, "requests": [request], "hosts": batch["hosts"], "again": True}
        fleet["preflight"].append(again)


def read(result: Any, identities: list[str], who: str) -> dict[str, dict[str, Any]]:
    """Each request's answer: `{ok, found, needed, fix, digest, kind}`, whatever came back. Never raises.

    One that isn't as it should be is a failure of the host that gave it, and says so.
    """
    given, odd = documents.answers(result)
    said = result.get("msg") if isinstance(result, Mapping) else None
    nothing = f"{who} could not ask: {_line(said or 'the module gave no answer')}"
    found = {}
    for identity in identities:
        answer = given.get(identity)
        if answer is None:
            wrong = f"{who} gave {odd[identity]}" if identity in odd else nothing
            fix = f"Mend {who}, or leave it out: --limit 'all:!{who}'"
            found[identity] = {"ok": False, "found": wrong, "needed": "", "fix": fix, "digest": None, "kind": ""}
            continue
        data = answer.get("data") or {}
        found[identity] = {
            "ok": answer["ok"],
            "found": _line(answer["found"]),
            "needed": _line(answer.get("needed") or ""),
            "fix": _line(answer.get("fix") or ""),
            "digest": data.get("digest"),
            "kind": data.get("kind") or "",
        }
    return found


def _line(said: Any) -> str:
    return one_line(said)[:LONGEST]


def _refuse(plan: dict[str, Any], request: dict[str, Any], answer: dict[str, Any]) -> None:
    plan["ok"] = False
    plan.setdefault("errors", []).append(
        {
            "rule": RULE + request["kind"],
            "found": answer["found"],
            "needed": answer["needed"] or _words(request),
            "where": request.get("variable") or VARIABLE.get(request["kind"]),
            "fix": answer["fix"] or None,
        }
    )


def _warn(plan: dict[str, Any], request: dict[str, Any], host: str, answer: dict[str, Any]) -> None:
    plan.setdefault("warnings", []).append(
        {
            "rule": RULE + request["kind"],
            "message": f"{host} did not get {_words(request)}, and this host goes the same way: {answer['found']}",
            "fix": answer["fix"] or f"See what differs on {host}.",
        }
    )


def _open(plan: dict[str, Any]) -> bool:
    """Whether this host fetches anything: its plan is fine, or only preflight has spoken against it so far."""
    return bool(plan.get("ok")) or (
        bool(plan.get("errors")) and all(str(error.get("rule")).startswith(RULE) for error in plan["errors"])
    )


def _identity(request: dict[str, Any], access: int) -> str:
    rest = {key: value for key, value in request.items() if key != "kind"} | {"access": access}
    return request["kind"] + " " + json.dumps(rest, sort_keys=True)


def _words(request: dict[str, Any]) -> str:
    for key in ("ref", "url", "repo", "name"):
        if request.get(key):
            return " ".join(str(request[part]) for part in (key, "version", "digest") if request.get(part))
    return request["kind"]


def _of_host(plan: dict[str, Any], machine: dict[str, Any]) -> list[dict[str, Any]]:
    arch = machine.get("arch") or "x86_64"
    steps = {name: step.get("args") or {} for name, step in (plan.get("steps") or {}).items()}
    asked: list[dict[str, Any]] = []
    engine = steps.get("docker_engine") or {}
    if engine.get("source") == "docker" and machine.get("docker") is False:
        asked += _docker(engine, machine)
    if "container_image" in steps:
        args = steps["container_image"]
        image = plan.get("image") or {}
        asked.append(
            {
                "kind": "registry_manifest",
                "ref": args.get("pull_ref") or image.get("pull_ref") or args["ref"],
                "digest": args.get("digest") or None,
                "arch": arch,
                "mirrors": engine.get("registry_mirrors") or [],
                "insecure": machine.get("insecure") or [],
            }
        )
    if steps.get("nvidia_container_toolkit", {"install": False}).get("install", True):
        args = steps["nvidia_container_toolkit"]
        mirror = str(args["mirror"]).rstrip("/")
        asked += _signed_packages(
            "verl_mirror_toolkit",
            key=f"{mirror}/gpgkey",
            fingerprint=args["key_fingerprint"],
            index=f"{mirror}/stable/deb/{DEBIAN_ARCH.get(arch, arch)}",
            packages=[{"name": name, "version": f"{args['version']}-1"} for name in TOOLKIT_PACKAGES],
        )
    if "verl_checkout" in steps:
        args = steps["verl_checkout"]
        commit = {"commit": args["commit"]} if args.get("commit") else {}
        asked.append({"kind": "git_ref", "repo": args["repo"], "version": args["version"], **commit})
    if "source_environment" in steps:
        asked += _source(steps["source_environment"])
    return asked


def _docker(args: dict[str, Any], machine: dict[str, Any]) -> list[dict[str, Any]]:
    """Docker's own repository; only the engine and its command line have the version that was asked for."""
    arch = machine.get("arch") or "x86_64"
    base = f"{str(args['mirror_apt']).rstrip('/')}/{args.get('distribution') or machine.get('os')}"
    version = f"5:{args['version']}*" if args.get("version") else ""
    codename = args.get("codename") or machine.get("codename")
    return _signed_packages(
        "verl_mirror_apt",
        key=f"{base}/gpg",
        fingerprint=args["key_fingerprint"],
        index=f"{base}/dists/{codename}/stable/binary-{DEBIAN_ARCH.get(arch, arch)}",
        packages=[{"name": name, "version": version if own else ""} for name, own in DOCKER_PACKAGES.items()],
    )


def _signed_packages(
    variable: str, key: str, fingerprint: str, index: str, packages: list[dict[str, str]]
) -> list[dict[str, Any]]:
    return [
        {"kind": "gpg_key", "url": key, "fingerprint": fingerprint, "variable": variable},
        {"kind": "apt_package", "url": index, "packages": packages, "variable": variable},
    ]


def _source(args: dict[str, Any]) -> list[dict[str, Any]]:
    asked: list[dict[str, Any]] = []
    python = args.get("python") or None
    download = args.get("manager_download") or {}
    if download.get("name"):
        asked.append(
            {
                "kind": "manager",
                "name": download["name"],
                "version": download.get("version"),
                "package": bool(download.get("package")),
                "index": args.get("pypi_index") or None,
                "url": mirrored(str(download.get("url") or ""), str(args.get("downloads_mirror") or "")),
            }
        )
    if args.get("method") == "pypi" and args.get("verl_version"):
        asked.append(
            {
                "kind": "pypi",
                "name": "verl",
                "version": args["verl_version"],
                "indexes": [args.get("pypi_index") or None],
                "python": python,
            }
        )
    elif args.get("repo") and args.get("commit", args.get("version")):
        asked.append({"kind": "git_ref", "repo": args["repo"], "version": args.get("commit") or args["version"]})
    if args.get("torch"):
        asked.append(
            {
                "kind": "pypi",
                "name": "torch",
                "version": str(args["torch"]).partition("+")[0],
                "indexes": list(dict.fromkeys([args.get("torch_index") or None, args.get("pypi_index") or None])),
                "python": python,
            }
        )
    return asked


def mirrored(url: str, mirror: str) -> str:
    """The same path at the user's mirror."""
    return f"{mirror.rstrip('/')}/{url.split('://', 1)[-1].partition('/')[2]}" if mirror and url else url


def _fill(plan: dict[str, Any], digest: str, confirm: bool = False) -> None:
    """Write a tag's digest wherever the plan names the image; a given digest stays. Keys say what was wanted, and stay.

    `confirm`: another host found it out, so this one asks for itself before it pulls.
    """
    args = plan["steps"]["container_image"]["args"]
    if args.get("digest"):
        return
    args["digest"] = digest
    if confirm:
        args["confirm_digest"] = True
    if plan.get("image"):
        plan["image"]["digest"] = digest
    container = (plan["steps"].get("training_container") or {}).get("args")
    if container and "@" not in str(container.get("image", "")):
        container["image"] = f"{container['image']}@{digest}"
