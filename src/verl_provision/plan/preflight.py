"""What a plan fetches, as questions; and the answers given back to it. Pure, over the fleet's plan."""

import copy
import json
from typing import Any

from verl_provision.plan import cluster

TOOLKIT_PACKAGES = (
    "nvidia-container-toolkit",
    "nvidia-container-toolkit-base",
    "libnvidia-container-tools",
    "libnvidia-container1",
)
RULE = "preflight_"
DEBIAN_ARCH = {"x86_64": "amd64", "aarch64": "arm64"}
WISH = {
    "registry_manifest": "verl_image",
    "git_ref": "verl_version",
    "pypi": "verl_version",
    "manager": "verl_source_manager",
}
DOCKER_PACKAGES = {"docker-ce": True, "docker-ce-cli": True, "containerd.io": False, "docker-buildx-plugin": False}


def requests_for(fleet: dict[str, Any]) -> list[dict[str, Any]]:
    """Everything the plan will fetch, each thing once: `{id, kind, hosts: [NAME], ...}`, hosts in the plan's order."""
    found: dict[str, dict[str, Any]] = {}
    for name, plan in (fleet.get("hosts") or {}).items():
        if not _open(plan):
            continue
        machine = (fleet.get("machines") or {}).get(name) or {}
        for request in _of_host(plan, machine):
            known = found.setdefault(_identity(request), {"id": _identity(request), **request, "hosts": []})
            known["hosts"].append(name)
    return list(found.values())


def batches(fleet: dict[str, Any]) -> list[dict[str, Any]]:
    """`[{host, requests}]`: each thing is asked for by the first host that will fetch it."""
    by_host: dict[str, list[dict[str, Any]]] = {}
    for request in requests_for(fleet):
        plain = {key: value for key, value in request.items() if key != "hosts"}
        by_host.setdefault(request["hosts"][0], []).append(plain)
    return [{"host": host, "requests": requests} for host, requests in by_host.items()]


def apply_answers(fleet: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """Return the plan with digests filled in, and with an error on every host whose plan needs what isn't there.

    `result` is what Ansible registered for the next batch of `fleet["preflight"]` (`preflight_done` counts them). One
    that failed as a whole refuses the hosts of that batch.
    """
    fleet = copy.deepcopy(fleet)
    asked = fleet.get("preflight") or batches(fleet)
    done = fleet.get("preflight_done") or 0
    fleet["preflight_done"] = done + 1
    batch = asked[done] if done < len(asked) else {"host": "?", "requests": []}
    answers = {answer["id"]: answer for answer in result.get("answers") or []}
    hosts = {request["id"]: request["hosts"] for request in requests_for(fleet)}
    for request in batch["requests"]:
        answer = answers.get(request["id"]) or _unasked(request, batch["host"], result)
        for name in hosts.get(request["id"], []):
            plan = fleet["hosts"][name]
            if answer["ok"]:
                _fill(plan, request, answer.get("data") or {})
            else:
                plan["ok"] = False
                plan.setdefault("errors", []).append(
                    {
                        "rule": RULE + request["kind"],
                        "found": answer["found"],
                        "needed": answer["needed"],
                        "where": request.get("wish") or WISH.get(request["kind"]),
                        "fix": answer["fix"],
                    }
                )
    cluster.settle(fleet)  # digests are known now
    return fleet


def _unasked(request: dict[str, Any], host: str, result: dict[str, Any]) -> dict[str, Any]:
    said = str(result.get("msg") or "the module gave no answer").strip()
    return {
        "ok": False,
        "found": f"{host} could not ask: {said}",
        "needed": _words(request),
        "fix": f"Mend {host}, or leave it out: --limit 'all:!{host}'",
    }


def _open(plan: dict[str, Any]) -> bool:
    """Whether this host fetches anything: its plan is fine, or only preflight has spoken against it so far."""
    return bool(plan.get("ok")) or (
        bool(plan.get("errors")) and all(str(error.get("rule")).startswith(RULE) for error in plan["errors"])
    )


def _identity(request: dict[str, Any]) -> str:
    rest = {key: value for key, value in request.items() if key not in ("kind", "id", "hosts")}
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
        asked.append({"kind": "git_ref", "repo": args["repo"], "version": args["version"]})
    if "source_environment" in steps:
        asked += _source(steps["source_environment"])
    return asked


def _docker(args: dict[str, Any], machine: dict[str, Any]) -> list[dict[str, Any]]:
    """Docker's own repository; only the engine and its command line have the version that was asked for."""
    arch = machine.get("arch") or "x86_64"
    base = f"{str(args['mirror_apt']).rstrip('/')}/{machine.get('os')}"
    version = f"5:{args['version']}*" if args.get("version") else ""
    return _signed_packages(
        "verl_mirror_apt",
        key=f"{base}/gpg",
        fingerprint=args["key_fingerprint"],
        index=f"{base}/dists/{machine.get('codename')}/stable/binary-{DEBIAN_ARCH.get(arch, arch)}",
        packages=[{"name": name, "version": version if own else ""} for name, own in DOCKER_PACKAGES.items()],
    )


def _signed_packages(
    wish: str, key: str, fingerprint: str, index: str, packages: list[dict[str, str]]
) -> list[dict[str, Any]]:
    return [
        {"kind": "gpg_key", "url": key, "fingerprint": fingerprint, "wish": wish},
        {"kind": "apt_package", "url": index, "packages": packages, "wish": wish},
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


def _fill(plan: dict[str, Any], request: dict[str, Any], data: dict[str, Any]) -> None:
    """Write a resolved digest wherever the plan names the image. Keys stay: they say what was wanted, not found."""
    digest = data.get("digest")
    if request["kind"] != "registry_manifest" or not digest:
        return
    steps = plan["steps"]
    before = steps["container_image"]["args"].get("digest")
    steps["container_image"]["args"]["digest"] = digest
    if plan.get("image"):
        plan["image"]["digest"] = digest
    container = (steps.get("training_container") or {}).get("args")
    if container and not before and "@" not in str(container.get("image", "")):
        container["image"] = f"{container['image']}@{digest}"
