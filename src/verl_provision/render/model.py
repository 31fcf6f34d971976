"""One model of a verl job, whatever starts it: made from the decision for a node, and the site's own variables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from verl_provision import catalog as catalogs
from verl_provision import handmade, variables
from verl_provision.catalog import model, products
from verl_provision.plan.fleet import plan_host
from verl_provision.render import site
from verl_provision.select import vendors

CPUS, MEMORY_GB, SHM = 8, 64, 30  # for each GPU; and of the memory, in percent, what Ray's object store wants
USED = 85  # percent of a node's memory that a job may have where other pods run beside it
MAIN = ("python3", "-m", "verl.trainer.main_ppo")
CHECKOUT, INSIDE, ENVIRONMENT, WORKING_DIR = "checkout", "inside", "environment", "working_dir"


class Refused(ValueError):
    """What can't be rendered; `errors` are all reasons, each `{rule, found, needed, where, fix}`."""

    def __init__(self, errors: Sequence[Mapping[str, Any]]):
        super().__init__("; ".join(str(error["found"]) for error in errors))
        self.errors = list(errors)


@dataclass(frozen=True, slots=True)
class Job:
    """What every target needs to know. `sources` says of each field where it comes from."""

    target: str
    name: str
    vendor: str | None  # None: no GPUs
    gpu: str | None  # product, as the catalog calls it
    gpus: int  # on each node
    nodes: int
    image: str | None  # with its tag; None: a source environment
    digest: str | None
    image_id: str | None
    moving: bool  # the tag is pushed again and again
    ray_version: str | None
    verl_version: str
    commit: str | None  # of the release
    repository: str
    verl: str  # how verl gets in: checkout, inside, environment, working_dir
    checkout: str
    command: tuple[str, ...]
    cpus: int
    memory_gb: int
    shm_gb: int
    env: Mapping[str, str]
    secrets: tuple[str, ...]
    site: Mapping[str, Any]  # every variable of the site, defaults filled in
    given: frozenset[str]  # those that were given
    by_vendor: Mapping[str, Any]  # the vendor's row of catalog/render.yml
    warnings: tuple[str, ...]
    sources: Mapping[str, str]

    @property
    def runner(self) -> str:
        """What carries verl on Slurm."""
        if self.site["runner"] != "auto":
            return self.site["runner"]
        return "apptainer" if self.image else "source"

    @property
    def reference(self) -> str | None:
        """The image by digest where that is known: without its tag, which Apptainer refuses beside a digest."""
        if not self.image or not self.digest:
            return self.image
        repository, colon, tag = self.image.rpartition(":")
        return f"{repository if colon and '/' not in tag else self.image}@{self.digest}"


def job(
    target: str,
    facts: Mapping[str, Any],
    wanted: Mapping[str, Any],
    given: Mapping[str, Any],
    command: Sequence[str] = (),
    catalog: Mapping[str, Any] | None = None,
    recorded: bool = False,
) -> Job:
    """The job for nodes of which these are the facts. Raises Refused with every reason.

    `wanted` are inventory variables, `given` the site's. `recorded`: the facts are a real node's, so its CPUs and
    memory count.
    """
    values, errors = site.check(target, given)
    if errors:
        raise Refused(errors)
    source = target == "slurm" and (values["runner"] == "source" or wanted.get("verl_backend") == "source")
    parsed = variables.parse(dict(wanted))
    catalog = catalog or catalogs.load(extra=parsed.values["verl_catalog_extra"])
    asked = {**wanted, "verl_backend": "source" if source else wanted.get("verl_backend") or "auto"}
    facts = facts if source else on_orchestrator(facts)
    if not source and asked["verl_backend"] in ("auto", "apptainer", "podman"):
        asked["verl_backend"] = "docker"  # as the orchestrator would: an image, whatever engine takes it
    plan = plan_host(facts, asked, catalog)
    chosen = _chosen(plan, facts, catalog)
    errors = [error for error in plan["errors"] if not (chosen.get("vendor") and error["rule"] == "vendor_apply")]
    if errors or (chosen["gpus"] == 0 and not source):
        raise Refused(errors or [_no_gpus(target)])
    gpus, sources = values["gpus"] or chosen["gpus"], dict(chosen["sources"])
    if gpus > chosen["gpus"]:
        found = f"gpus {gpus}, and a node has {chosen['gpus']}"
        raise Refused([site.problem("gpus", found, "no more than a node has", "Raise verl_nnodes instead.")])
    nodes = parsed.values["verl_nnodes"] or 1
    cpus = values["cpus"] or _at_most(CPUS * max(gpus, 1), facts, "cpu", "count", recorded)
    total = _at_most(10**9, facts, "memory", "total_mb", recorded) * USED // 100 // 1024
    memory = values["memory_gb"] or max(1, min(MEMORY_GB * max(gpus, 1), total))
    table = site.table()["vendors"]
    row = table[chosen["vendor"] or "nvidia"]
    verl = ENVIRONMENT if source else INSIDE if chosen["inside"] else CHECKOUT
    verl = WORKING_DIR if values["working_dir"] and verl == CHECKOUT else verl
    made = Job(
        target=target,
        name=values["name"],
        vendor=chosen["vendor"] or ("nvidia" if chosen["gpus"] else None),
        gpu=chosen["gpu"],
        gpus=gpus if chosen["gpus"] else 0,
        nodes=nodes,
        image=chosen["image"],
        digest=values["image_digest"] or chosen["digest"],
        image_id=chosen["image_id"],
        moving=chosen["moving"],
        ray_version=values["ray_version"] or chosen["ray"],
        verl_version=chosen["verl_version"],
        commit=chosen["commit"],
        repository=chosen["repository"],
        verl=verl,
        checkout=values["checkout"] or f"{values['shared']}/verl/src",
        command=tuple(command) or (*MAIN, f"trainer.nnodes={nodes}", f"trainer.n_gpus_per_node={gpus}"),
        cpus=cpus,
        memory_gb=memory,
        shm_gb=values["shm_gb"] or max(1, memory * SHM // 100),
        env={**row["env"], **values["env"]},
        secrets=tuple(values["secrets"]),
        site=values,
        given=frozenset(given),
        by_vendor=row,
        warnings=(),
        sources={**sources, **_sources(values, given, wanted, facts, recorded, bool(command))},
    )
    return replace(made, warnings=tuple(_warnings(made, plan)))


def on_orchestrator(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The same node, as a platform that brings engine, toolkit and room for images sees it."""
    brings = handmade.facts(handmade.Machine(), {})
    engines = {**brings["engines"], "docker": {**brings["engines"]["docker"], "runtimes": ["nvidia", "runc"]}}
    engines["docker"]["gpus_flag"] = True
    toolkit = {**brings["toolkit"], "installed": True, "version": "1.17.0", "mode": "auto"}
    return {**facts, "engines": engines, "toolkit": toolkit, "user": brings["user"], "disk": brings["disk"]}


def _chosen(plan: Mapping[str, Any], facts: Mapping[str, Any], catalog: Mapping[str, Any]) -> dict[str, Any]:
    """What the decision says, or the vendor's documented image where this project applies none of that vendor's."""
    steps = plan["steps"]
    checkout = (steps.get("verl_checkout") or {}).get("args", {})
    entry = next((image for image in catalog["images"] if plan["image"] and image["id"] == plan["image"]["id"]), {})
    names = plan["expected"].get("gpu_names") or []
    product = catalogs.gpu(catalog, names[0]) if names else None
    why = plan["why"][-1] if plan["why"] else "the decision"
    release = next((one for one in catalog["releases"] if one["version"] == plan["verl_version"]), {})
    image = plan["image"] or {}
    chosen = {
        "vendor": None,
        "gpu": product["name"] if product else None,
        "gpus": plan["expected"].get("gpus") or 0,
        "image": image.get("pull_ref"),
        "digest": image.get("digest"),
        "image_id": image.get("id"),
        "moving": "moving" in entry.get("tags", []),
        "ray": entry.get("ray"),
        "verl_version": plan["verl_version"],
        "commit": checkout.get("commit") or release.get("git_commit"),
        "repository": checkout.get("repo") or "https://github.com/verl-project/verl.git",
        "inside": entry.get("verl_inside") is True,
        "sources": dict.fromkeys(("image", "verl_version", "gpu"), f"the decision: {why}"),
    }
    others = {name: other for name, other in facts["other_accelerators"].items() if other["present"]}
    if plan["ok"] or len(others) != 1:
        return chosen
    vendor, other = next(iter(others.items()))
    known = vendors.images(vendor, str(other["name"]), model.read(catalog))
    known.sort(key=lambda entry: "latest" in entry["ref"])  # a release before what moves
    if not known:
        return chosen
    said = f"catalog/vendors.yml: what {vendor}'s own documentation names"
    return {
        **chosen,
        "vendor": vendor,
        "gpu": next((one for one in known[0]["products"] if products.is_a(str(other["name"]), one)), None),
        "gpus": other["devices"] or 0,
        "image": known[0]["ref"],
        "image_id": known[0]["ref"].rpartition(":")[2],
        "moving": "latest" in known[0]["ref"],
        "verl_version": known[0]["verl"],
        "inside": True,
        "sources": dict.fromkeys(("image", "verl_version", "gpu"), said),
    }


def _at_most(most: int, facts: Mapping[str, Any], part: str, key: str, recorded: bool) -> int:
    """`most`, and no more than a recorded node has."""
    found = (facts.get(part) or {}).get(key) if recorded else None
    return min(most, found) if isinstance(found, int) and found > 0 else most


def _sources(
    values: Mapping[str, Any],
    given: Mapping[str, Any],
    wanted: Mapping[str, Any],
    facts: Any,
    recorded: bool,
    own: bool,
) -> dict[str, str]:
    """Where each value comes from that isn't the decision's."""
    found = {name: "the site" if name in given else "default" for name in values}
    about = "the facts" if recorded else "--gpu and --gpu-count"
    found["gpus"] = found["gpus"] if "gpus" in given else about
    found["nodes"] = "verl_nnodes" if "verl_nnodes" in wanted else "default: verl_nnodes"
    found["command"] = "--command" if own else "default: verl's trainer, with nodes and GPUs"
    for name, rule in (("cpus", f"{CPUS} for each GPU"), ("memory_gb", f"{MEMORY_GB} for each GPU")):
        found[name] = "the site" if name in given else f"default: {rule}" + (", at most the node's" if recorded else "")
    found["shm_gb"] = "the site" if "shm_gb" in given else f"default: {SHM} % of memory_gb"
    found["digest"] = "the site: image_digest" if values["image_digest"] else "the catalog"
    found["by_vendor"] = "catalog/render.yml"
    found["verl"] = "how verl gets into this image"
    found["ray_version"] = "the site" if values["ray_version"] else "the catalog"
    return found


def _warnings(made: Job, plan: Mapping[str, Any]) -> list[str]:
    found = [f"{item['message']}. {item['fix']}".rstrip(". ") for item in plan["warnings"]]
    if made.image and not made.digest:
        moves = "is pushed again and again" if made.moving else "may be pushed again"
        found.append(
            f"the image is named by its tag, which {moves}: its digest is not known here. "
            f"Ask for it (skopeo inspect --format '{{{{.Digest}}}}' docker://{made.image}) and give it: "
            "--set image_digest=sha256:..."
        )
    return found


def _no_gpus(target: str) -> dict[str, Any]:
    return {
        "rule": "render",
        "found": "no GPUs",
        "needed": f"the facts of a node with GPUs: on {target} verl comes in an image, and its images need GPUs",
        "where": "--facts or --gpu",
        "fix": "Give --gpu and --driver of the partition's or pool's nodes.",
    }
