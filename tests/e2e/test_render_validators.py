"""Rendered manifests before the real judges: KubeRay's own Go module, kubeconform, SkyPilot, dstack and Compose.

Each judge takes every form that is rendered, and refuses every mutation of a field: misspelt, of another type, missing
where it is required, outside its enumeration, too long. What a judge lets through is ours to refuse where it is given,
by catalog/schema/site.json (tests/unit/render/test_site.py); it is named here. Versions are pinned."""

import copy
import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from lab import cache, machine
from verl_provision.cli import main

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

HERE = Path(__file__).resolve().parent
KUBERAY, KUBECONFORM, SKYPILOT, DSTACK = "v1.5.0", "v0.8.0", "0.14.1", "0.22.5"  # Compose: of Debian trixie
NVIDIA = ["--gpu", "H100", "--driver", "580", "--want", "verl_image=vllm024", "--want", "verl_version=0.9.0"]
AMD, ASCEND = ["--gpu", "MI300X"], ["--gpu", "910B"]
MORE = ["--set", "secrets=[HF_TOKEN]", "--set", "env={NCCL_DEBUG: INFO}"]
WRONG = {"another": ["type"]}  # what no field is


def settings(**values):
    """A site's variables as words of the command line."""
    return [word for name, value in values.items() for word in ("--set", f"{name}={value}")]


def rendered(folder, target, *words):
    """The documents of one render."""
    assert main(["render", target, "-o", str(folder), *words]) == 0
    (file,) = [path for path in folder.iterdir() if path.name != "README.md"]
    return [found for found in yaml.safe_load_all(file.read_text()) if found]


def fields(value, path=()):
    """Every field of a document, as the path that leads to it."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*path, key)
        yield from fields(inner, (*path, key))


def changed(document, path, change):
    """A copy in which `change(holder, key)` was done to one field."""
    made = copy.deepcopy(document)
    holder = made
    for key in path[:-1]:
        holder = holder[key]
    change(holder, path[-1])
    return made


def rename(holder, key):
    holder[f"{key}x"] = holder.pop(key)


def other(holder, key):
    holder[key] = 7 if isinstance(holder[key], dict) else WRONG


def mutants(document, free=(), loose=(), required=(), values=()):
    """{name: document}: fields below `free` may have any name, those in `loose` any type."""
    found = {}
    for path in fields(document):
        name = ".".join(map(str, path))
        named = isinstance(path[-1], str) and not any(part in free for part in path[:-1])
        if named:
            found[f"{name} misspelt"] = changed(document, path, rename)
        if named and path[-1] not in loose:
            found[f"{name} of another type"] = changed(document, path, other)
        if named and path[-1] in required:
            found[f"{name} missing"] = changed(document, path, lambda holder, key: holder.pop(key))
    for path, value in values:
        made = changed(document, path, lambda holder, key, value=value: holder.update({key: value}))
        found[f"{'.'.join(map(str, path))} = {str(value)[:30]}"] = made
    return found


def go(name, inputs, *words, cwd=None):
    """A Go program, built where the cache lacks it."""

    def build(folder):
        path = {**os.environ, "GOBIN": str(folder), "GOFLAGS": "-mod=mod"}
        built = subprocess.run(
            [machine.need("go", "golang-go"), *words], cwd=cwd, env=path, capture_output=True, text=True
        )
        assert built.returncode == 0, built.stderr[-3000:]

    return cache.step(name, inputs, build)


def environment(name, requirement):
    """The Python of an environment with one pinned package."""

    def build(folder):
        subprocess.run(["python3", "-m", "venv", folder / "venv"], check=True)
        pip = [folder / "venv/bin/python", "-m", "pip", "install", "--quiet", requirement]
        subprocess.run(pip, check=True, capture_output=True)

    return cache.step(name, [requirement], build) / "venv/bin/python"


def judged_by(python, script, documents, folder):
    """{name: what a Python judge said of it, '' where nothing}, in one process."""
    for number, document in enumerate(documents.values()):
        (folder / f"{number}.yaml").write_text(yaml.safe_dump(document))
    files = [str(folder / f"{number}.yaml") for number in range(len(documents))]
    done = subprocess.run([python, "-c", script, *files], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(zip(documents, json.loads(done.stdout.splitlines()[-1]), strict=True))


JUDGE = """
import json, sys
{}
said = []
for name in sys.argv[1:]:
    try:
        judge(name)
        said.append("")
    except (Exception, SystemExit) as problem:
        said.append(str(problem)[:200] or type(problem).__name__)
print(json.dumps(said))
"""


def taken(said):
    """The names of the documents to which a judge had no objection."""
    return sorted(name for name, problem in said.items() if not problem)


# ---- KubeRay

RAY = ["--set", "ray_version=2.54.1", "--want", "verl_nnodes=2"]
FORMS = {
    "plain": [*NVIDIA, *RAY],
    "cluster": [*NVIDIA, *RAY, *MORE, "--set", "kind=RayCluster", "--set", "name=" + "a" * 53],
    "volcano": [*NVIDIA, *RAY, *settings(scheduler="volcano", queue="q", namespace="ml", name="a" * 47)],
    "all": [*NVIDIA, *RAY, *MORE, *settings(rdma="rdma/hca", taint="nvidia.com/gpu", node_selector="{a: b}"),
            *settings(interface="eth0", scheduler="kueue", queue="q", working_dir="https://a.example/b.zip")],
    "old operator": [*NVIDIA, *RAY, "--set", "operator_version=1.4.2"],
    "amd": [*AMD, *RAY],
    "ascend": [*ASCEND, *RAY],
}  # fmt: skip
LIMITS = ("labels", "rayStartParams", "requests", "limits", "nodeSelector", "data")  # names there are the site's


@pytest.fixture(scope="module")
def crds():
    """The CRDs of the pinned module."""
    subprocess.run(["go", "mod", "download"], cwd=HERE / "kuberay", check=True)
    shown = ["go", "list", "-m", "-f", "{{.Dir}}", "github.com/ray-project/kuberay/ray-operator"]
    place = subprocess.run(shown, cwd=HERE / "kuberay", check=True, capture_output=True, text=True).stdout.strip()
    assert place.endswith(f"@{KUBERAY}")
    return Path(place) / "config/crd/bases"


@pytest.fixture(scope="module")
def kuberay(crds):
    """`kuberay(documents)`: what KubeRay's own code says of each."""
    folder = go("kuberay-judge", [HERE / "kuberay"], "install", ".", cwd=HERE / "kuberay")

    def judge(documents, place):
        file = place / "documents.yaml"
        file.write_text("---\n".join(yaml.safe_dump(document) for document in documents))
        done = subprocess.run([folder / "judge", crds, file], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        return [json.loads(line) for line in done.stdout.splitlines()]

    return judge


@pytest.mark.parametrize("form", FORMS)
def test_kuberay_takes_every_form(kuberay, tmp_path, form):
    script, ray = kuberay(rendered(tmp_path / "out", "kuberay", *FORMS[form]), tmp_path)
    assert script["problems"] == [] and ray["problems"] == []
    assert "--num-cpus=0" in ray["head"][0] and "gpus" not in ray["head"][0]
    counted = "--resources='{\"NPU\": 8}'" if form == "ascend" else "--num-gpus=8"
    assert counted in ray["worker"][0].replace('"{\\"NPU\\": 8}"', "'{\"NPU\": 8}'")
    assert ray["submit"] is None or ray["submit"][-3:] == ["--", "bash /etc/verl/job.sh", ";"]


def test_kuberay_refuses_every_mutation(kuberay, tmp_path):
    script, ray = rendered(tmp_path / "out", "kuberay", *FORMS["all"])
    worker = ("spec", "rayClusterSpec", "workerGroupSpecs", 0)
    values = [
        (("metadata", "name"), "a" * 48), (("metadata", "name"), "Verl"),
        ((*worker, "replicas"), "two"), ((*worker, "maxReplicas"), 1.5), (("kind",), "RayJobs"),
        (("apiVersion",), "ray.io/v2"),
        (("spec", "rayClusterSpec", "rayVersion"), 2.54), ((*worker, "template", "spec", "containers"), []),
    ]  # fmt: skip
    required = (
        "kind",
        "apiVersion",
        "headGroupSpec",
        "template",
        "containers",
        "groupName",
        "minReplicas",
        "maxReplicas",
    )
    # KubeRay 1.5 takes any submissionMode, and other numbers of replicas: both are one of ours (test_manifests.py).
    # Kubernetes' own strings and quantities may be left out or be numbers; what we put there is typed in site.json.
    found = mutants(ray, free=LIMITS, loose=("metadata",), required=required, values=values)
    found |= {f"script {name}": made for name, made in mutants(script, free=LIMITS, loose=("metadata",)).items()}
    said = dict(zip(found, kuberay(list(found.values()), tmp_path), strict=True))
    passed = [name for name, one in said.items() if not one["problems"]]
    assert len(found) > 150
    assert passed == [], passed


def test_a_newer_operators_token_is_all_that_this_one_does_not_know(kuberay, tmp_path):
    _, ray = kuberay(rendered(tmp_path / "out", "kuberay", *NVIDIA, *RAY, "--set", "operator_version=1.6.0"), tmp_path)
    assert ray["problems"] and all("authOptions" in problem for problem in ray["problems"])


def closed(schema):
    """A CRD's schema in which an unknown field is an error, as for the API server's strict validation."""
    if isinstance(schema, dict):
        if schema.get("x-kubernetes-int-or-string"):
            schema.pop("type", None)
        if "properties" in schema and "additionalProperties" not in schema:
            schema["additionalProperties"] = False
        for inner in schema.values():
            closed(inner)
    elif isinstance(schema, list):
        for inner in schema:
            closed(inner)
    return schema


def test_the_crds_take_every_form_by_kubeconform(crds, tmp_path):
    tool = go("kubeconform", [KUBECONFORM], "install", f"github.com/yannh/kubeconform/cmd/kubeconform@{KUBECONFORM}")
    for plural in ("rayjobs", "rayclusters"):
        crd = yaml.safe_load((crds / f"ray.io_{plural}.yaml").read_text())
        (version,) = [one for one in crd["spec"]["versions"] if one["name"] == "v1"]
        schema = closed(version["schema"]["openAPIV3Schema"])
        schema["properties"]["metadata"] = {"type": "object"}
        (tmp_path / f"{crd['spec']['names']['kind'].lower()}.json").write_text(json.dumps(schema))
    command = [
        tool / "kubeconform",
        "-strict",
        "-schema-location",
        str(tmp_path / "{{.ResourceKind}}.json"),
        "-output",
        "json",
    ]
    files = []
    for form, words in FORMS.items():
        files.append(tmp_path / f"{form}.yaml")
        files[-1].write_text(yaml.safe_dump(rendered(tmp_path / form, "kuberay", *words)[1]))
    done = subprocess.run([*command, *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    files[0].write_text(files[0].read_text().replace("maxReplicas", "maxReplica"))
    assert subprocess.run([*command, files[0]], capture_output=True).returncode == 1


# ---- SkyPilot, dstack

SKY = "import sky\ndef judge(name): sky.Task.from_yaml(name)"
DST = """
import yaml
from dstack._internal.core.models.configurations import parse_apply_configuration
def judge(name): parse_apply_configuration(yaml.safe_load(open(name)))
"""


def test_skypilot_takes_what_is_rendered_and_refuses_every_mutation(tmp_path):
    python = environment("skypilot", f"skypilot[kubernetes]=={SKYPILOT}")
    whole = [*NVIDIA, *MORE, "--want", "verl_nnodes=2", "--set", "infra=k8s", "--set", "volume=data"]
    forms = {"whole": whole, "plain": NVIDIA, "amd": AMD}
    good = {name: rendered(tmp_path / name, "skypilot", *words)[0] for name, words in forms.items()}
    # A GPU's name is checked when it is launched; sizes and mount points are the user's words.
    free = ("envs", "secrets", "volumes", "accelerators")
    values = [(("num_nodes",), "many"), (("resources", "infra"), "nosuchcloud")]
    found = mutants(good["whole"], free=free, loose=(), values=values)
    said = judged_by(python, JUDGE.format(SKY), {**good, **found}, tmp_path)
    assert taken(said) == sorted(good)


def test_dstack_takes_what_is_rendered_and_refuses_every_mutation(tmp_path):
    python = environment("dstack", f"dstack=={DSTACK}")
    whole = [*NVIDIA, *MORE, "--want", "verl_nnodes=2", "--set", "fleet=h100", "--set", "volume=data"]
    forms = {"whole": whole, "plain": NVIDIA, "amd": AMD}
    good = {name: rendered(tmp_path / name, "dstack", *words)[0] for name, words in forms.items()}
    values = [
        (("type",), "tasks"), (("nodes",), "many"), (("nodes",), 0), (("stop_criteria",), "head-done"),
        (("resources", "shm_size"), "much"), (("resources", "memory"), "much"),
    ]  # fmt: skip
    found = mutants(good["whole"], required=("type",), values=values)
    said = judged_by(python, JUDGE.format(DST), {**good, **found}, tmp_path)
    assert taken(said) == sorted(good)


# ---- Compose


@pytest.fixture(scope="module")
def compose():
    """Debian's docker-compose, out of its package; it needs no daemon for `config`."""

    def build(folder):
        mirror = machine.debian_mirror()
        command = [
            machine.need("mmdebstrap", "mmdebstrap"), "--quiet", "--variant=extract", "--include=docker-compose",
            '--aptopt=Acquire::Check-Valid-Until "false"', "trixie", str(folder / "root"),
            *([mirror] if mirror else []),
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True)

    return cache.step("docker-compose", ["trixie"], build) / "root/usr/bin/docker-compose"


def test_compose_takes_what_is_rendered_and_refuses_every_mutation(compose, tmp_path):
    forms = {"whole": [*NVIDIA, *MORE, "--set", "interface=eth0"], "plain": NVIDIA, "amd": AMD, "ascend": ASCEND}
    good = {name: rendered(tmp_path / name, "compose", *words)[0] for name, words in forms.items()}
    service = ("services", "verl")
    values = [
        ((*service, "shm_size"), "much"), ((*service, "network_mode"), ["host"]),
        ((*service, "ulimits", "memlock"), "all"), ((*service, "volumes"), "/shared"),
        ((*service, "deploy", "resources", "reservations", "devices", 0, "count"), "many"),
    ]  # fmt: skip
    # Names of services and ulimits are free, and so is what stands in the environment.
    found = mutants(good["whole"], free=("environment", "services", "ulimits"), loose=("entrypoint",), values=values)
    found |= {f"verl.{name}": {"services": {"verl": made}} for name, made in mutants(
        good["whole"]["services"]["verl"], free=("environment", "ulimits"), loose=()).items()}  # fmt: skip
    passed = []
    for name, document in {**good, **found}.items():
        (tmp_path / "compose.yaml").write_text(yaml.safe_dump(document))
        done = subprocess.run(
            [compose, "-f", tmp_path / "compose.yaml", "config", "-q"], capture_output=True, text=True
        )
        passed += [] if done.returncode else [name]
    assert passed == list(good)
