"""The files in catalog/: schemas, sources, and that what can be derived agrees with what is written."""

import json
import re
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from verl_provision.catalog import gpu, load, model, products
from verl_provision.catalog.patches import order
from verl_provision.catalog.yaml_file import Loader, read
from verl_provision.paths import CATALOG as HERE

CATALOG = load()
IMAGES = {image["id"]: image for image in CATALOG["images"]}
RELEASES = {release["version"]: release for release in CATALOG["releases"]}
CUDA, GPUS = CATALOG["cuda"], CATALOG["gpus"]
EACH_IMAGE = pytest.mark.parametrize("image", CATALOG["images"], ids=list(IMAGES))
EACH_RELEASE = pytest.mark.parametrize("release", CATALOG["releases"], ids=list(RELEASES))
KINDS = ("tested", "documented", "floor_only")
PYPI = ["0.1", "0.2", "0.2.0.post1", "0.2.0.post2", "0.3.0.post0", "0.3.0.post1", "0.4.0", "0.4.1", "0.5.0", "0.6.0",
        "0.6.1", "0.7.0", "0.7.1", "0.8.0", "0.9.0", "0.9.1"]  # fmt: skip


@pytest.mark.parametrize("name", ["images", "releases", "cuda", "gpus", "vendors", "thresholds", "managers"])
def test_each_file_fits_its_schema(name: str) -> None:
    schema = json.loads((HERE / f"schema/{name}.json").read_text())
    Draft202012Validator.check_schema(schema)
    errors = [f"{'/'.join(map(str, error.absolute_path))}: {error.message}" for error in
              Draft202012Validator(schema).iter_errors(read(HERE / f"{name}.yml"))]  # fmt: skip
    assert errors == []


@pytest.mark.parametrize("name", ["images", "releases", "cuda", "gpus", "vendors", "thresholds", "managers"])
def test_the_schemas_are_strict(name: str) -> None:
    """No mapping takes keys that nobody described."""

    def loose(part: object, path: str) -> list[str]:
        found = []
        if isinstance(part, dict):
            if part.get("type") == "object" and part.get("additionalProperties", True) is True:
                found.append(path)
            for key, value in part.items():
                found += loose(value, f"{path}/{key}")
        elif isinstance(part, list):
            for number, value in enumerate(part):
                found += loose(value, f"{path}/{number}")
        return found

    assert loose(json.loads((HERE / f"schema/{name}.json").read_text()), name) == []


def test_no_key_is_written_twice() -> None:
    """YAML would silently keep the last."""

    def look(node: yaml.Node, path: Path) -> None:
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value]
            assert len(set(keys)) == len(keys), f"{path.name}{node.start_mark}: {sorted(keys)}"
            for _, value in node.value:
                look(value, path)
        elif isinstance(node, yaml.SequenceNode):
            for value in node.value:
                look(value, path)

    for path in HERE.glob("*.yml"):
        look(yaml.compose(path.read_text(), Loader), path)


def test_every_section_has_its_sources() -> None:
    for part in (CUDA, GPUS):
        assert set(part["sources"]) == set(part) - {"schema_version", "sources"}


@EACH_IMAGE
def test_an_image_says_what_it_rests_on(image: dict) -> None:
    assert image["sources"]
    assert all(defect["source"] for defect in image["defects"])
    assert len({defect["id"] for defect in image["defects"]}) == len(image["defects"])
    paths = {field.split(".")[0] for field in image["inferred"]}
    assert paths <= set(image), "inferred names fields"


def test_names_are_unique() -> None:
    assert len(IMAGES) == len(CATALOG["images"])
    assert len({image["ref"] for image in CATALOG["images"]}) == len(IMAGES)
    assert len(RELEASES) == len(CATALOG["releases"])
    names = [product["name"] for product in GPUS["products"]]
    assert len(set(names)) == len(names)
    for key in ("aliases", "pci_ids"):
        every = [alias for product in GPUS["products"] for alias in product[key]]
        assert len(set(every)) == len(every)


def test_the_images_everyone_counts_on_are_there() -> None:
    refs = {image["ref"] for image in CATALOG["images"]}
    assert refs >= {
        "whatcanyousee/verl:ngc-cu124-vllm0.8.5-sglang0.4.6.post5-mcore0.12.1-te2.3-deepseekv3",
        "hiyouga/verl:ngc-th2.6.0-cu126-vllm0.8.4-flashinfer0.2.2-cxx11abi0",
        "ocss884/verl-sglang:ngc-th2.6.0-cu126-sglang0.4.6.post5",
        "verlai/verl:app-verl0.4-vllm0.8.5-mcore0.12.2-te2.2",
        "verlai/verl:app-verl0.5-transformers4.55.4-vllm0.10.0-mcore0.13.0-te2.2",
        "verlai/verl:vllm012.latest", "verlai/verl:vllm017.latest", "verlai/verl:sgl059.latest",
        "verlai/verl:vllm024.latest", "verlai/verl:sgl0512.latest",
    }  # fmt: skip


def test_the_write_ups_scenarios_name_one_image_each() -> None:
    named = {scenario: image for image in CATALOG["images"] for scenario in image["scenarios"]}
    assert {scenario: image["ref"].partition("/")[0] for scenario, image in named.items()} == {
        "large_model": "whatcanyousee", "fast_rollout": "hiyouga", "prototype": "ocss884",
    }  # fmt: skip
    large, fast, light = named["large_model"], named["fast_rollout"], named["prototype"]
    assert large["trainers"] == ["fsdp", "megatron"] and large["model_families"] == ["deepseek-v3"]
    assert fast["trainers"] == ["fsdp"] and fast["flashinfer"] and "flashinfer" in fast["tags"]
    assert light["trainers"] == ["fsdp"] and set(light["engines"]) == {"sglang"} and "lightweight" in light["tags"]
    assert all("0.4.1" in image["serves"]["documented"] for image in named.values()), "no workflow names them"
    assert all(image["cuda"]["torch"] == "12.4" for image in named.values()), "whatever their tags say"


@EACH_IMAGE
def test_the_torch_build_exists(image: dict) -> None:
    """torch's CUDA is one that its minor was built with."""
    builds = CUDA["torch_cuda"][".".join(image["torch"].split(".")[:2])]
    index = "cu" + image["cuda"]["torch"].replace(".", "")
    assert index in builds["indexes"] + builds["experimental"] + builds["also"]


@EACH_IMAGE
def test_compute_capabilities_are_those_of_the_wheel(image: dict) -> None:
    wheel = CUDA["wheel_arches"]["cu" + image["cuda"]["torch"].replace(".", "")]
    minor = ".".join(image["torch"].split(".")[:2])
    sass = wheel["by_torch"].get(minor, wheel)[image["arch"][0]]
    code = image["compute_capabilities"]
    if code["reason"] is None:
        assert (code["sass"], code["ptx"]) == (sass, wheel["ptx"])
    else:
        assert (code["sass"], code["ptx"]) != (sass, wheel["ptx"]), "a reason where nothing differs"
        assert set(code["sass"]) <= set(sass)
    assert set(code["sass"]) <= set(GPUS["compute_capabilities"]) | {"5.0"}


@EACH_IMAGE
def test_library_minima(image: dict) -> None:
    minimum = image["compute_capabilities"]["minimum"]
    assert minimum["value"] == CUDA["library_minimum"]["flash_attn_2"]["compute_capability"]
    assert ("wheel" if image["arch"] == ["aarch64"] else "flash") in minimum["because"]
    if image["cuda"]["torch"].startswith("13."):
        assert all(Version(code) >= Version("7.5") for code in image["compute_capabilities"]["sass"])


@EACH_IMAGE
def test_toolkit_and_torch_are_of_one_cuda_major(image: dict) -> None:
    assert image["cuda"]["toolkit"].split(".")[0] == image["cuda"]["torch"].split(".")[0]
    assert image["cuda"]["torch"].split(".")[0] in CUDA["driver_floor"]


@EACH_IMAGE
def test_the_tag_agrees_with_the_entry(image: dict) -> None:
    tag = image["ref"].partition(":")[2]
    if match := re.search(r"vllm(\d+\.\d+\.\d+)", tag):
        assert image["engines"]["vllm"].startswith(match[1])
    if match := re.search(r"sglang(\d+\.\d+\.\d+)", tag):
        assert image["engines"]["sglang"].startswith(match[1])
    if match := re.search(r"th(\d+\.\d+\.\d+)", tag):
        assert image["torch"] == match[1]
    if match := re.fullmatch(r"(vllm|sgl)0(\d+)\.(latest|dev\d)", tag):
        engine = {"vllm": "vllm", "sgl": "sglang"}[match[1]]
        assert image["engines"][engine].replace(".", "").split("post")[0].startswith("0" + match[2])
    assert ("moving" in image["tags"]) == tag.endswith(".latest")
    assert ("megatron" in image["trainers"]) == (image["megatron_core"] is not None) or "vemlp" in tag
    assert image["official"] == image["ref"].startswith("verlai/")


@EACH_IMAGE
def test_served_releases_exist_and_are_listed_once(image: dict) -> None:
    every = [version for kind in KINDS for version in image["serves"][kind]]
    assert set(every) <= set(RELEASES)
    assert len(set(every)) == len(every)
    assert every, "an image that serves nothing"
    for kind in KINDS:
        assert image["serves"][kind] == sorted(image["serves"][kind], key=order)


@EACH_IMAGE
def test_tested_has_evidence(image: dict) -> None:
    """tested: a running workflow of the release's own CI named it; documented: its pages did."""
    named, serves = image["named_by"], image["serves"]
    assert set(serves["tested"]) <= set(named["ci"])
    assert set(serves["documented"]) <= set(named["docs"]) - set(named["ci"])
    assert not set(serves["floor_only"]) & set(named["ci"])


@EACH_IMAGE
def test_nothing_is_offered_below_what_a_release_enforces(image: dict) -> None:
    for kind in KINDS:
        for version in image["serves"][kind]:
            release = RELEASES[version]
            vllm, floor = image["engines"].get("vllm"), release["vllm_floor"]
            if vllm and vllm not in release["vllm_also"] and version not in image["named_by"]["ci"]:
                assert floor and Version(vllm) >= Version(floor), version
            asserted = release["tensordict_runtime"]
            if asserted and kind == "floor_only":
                assert image["tensordict"] and Version(image["tensordict"]) >= Version(asserted), version
            assert Version(image["python"] or "3.10") in SpecifierSet(release["python"]), version


def test_the_newest_release_refuses_an_old_vllm() -> None:
    for image in CATALOG["images"]:
        served = {version for kind in KINDS for version in image["serves"][kind]}
        if image["engines"].get("vllm") and Version(image["engines"]["vllm"]) < Version("0.18.0"):
            assert not served & {"0.9.0", "0.9.1"}, image["id"]
        if image["tensordict"] == "0.6.2":
            assert all(order(version) < order("0.6.1") for version in served), image["id"]


def test_each_release_has_an_image_or_inherits_one() -> None:
    for version in RELEASES:
        if version in ("0.1",):
            continue
        serves = [image["serves"] for image in CATALOG["images"]]
        assert any(version in part["tested"] or version in part["inherited"] for part in serves), version
    assert IMAGES["vllm024"]["serves"]["inherited"] == {"0.9.1": "0.9.0"}
    assert IMAGES["vllm017"]["serves"]["documented"] == ["0.8.0"], "its README was stale: CI ran on CUDA 13 (#6662)"
    assert IMAGES["vllm020-dev1"]["serves"]["tested"] == ["0.8.0"]


@EACH_IMAGE
def test_sizes_are_labelled(image: dict) -> None:
    size = image["size_gb"]
    assert size["estimate"] > size["compressed_estimate"] > 0
    assert "estimate" in size["source"]


def test_releases_are_those_of_pypi() -> None:
    assert sorted(RELEASES, key=order) == PYPI
    assert [release["version"] for release in CATALOG["releases"]] == list(reversed(PYPI)), "newest first"
    dates = [release["date"] for release in CATALOG["releases"]]
    assert dates == sorted(dates, reverse=True)


@EACH_RELEASE
def test_a_release_agrees_with_itself(release: dict) -> None:
    pinned = dict(part.split("==") for part in release["constraints"] if "==" in part)
    if release["tensordict"]:
        assert Version(pinned["tensordict"]) in SpecifierSet(release["tensordict"])
    if release["tensordict_runtime"]:
        assert Version(pinned["tensordict"]) >= Version(release["tensordict_runtime"])
    if release["transformers"]:
        assert Version(pinned["transformers"]) in SpecifierSet(release["transformers"])
    assert Version(release["python_recommended"]) in SpecifierSet(release["python"])
    for python in ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14"):
        if Version(python) in SpecifierSet(release["python"]):
            assert Version(python) in SpecifierSet(release["python_metadata"] or ">=3")
    vllm = release["engine_pins"]["vllm"]
    assert vllm in release["vllm_also"] or Version(vllm) >= Version(release["vllm_floor"])
    assert ".".join(release["torch"].split(".")[:2]) in CUDA["torch_cuda"]
    assert (release["source"]["script_broken"] is None) == (release["source"]["script_state"] == "ok")
    assert (release["source"]["script_state"] == "none") == (release["source"]["script"] is None)
    newer = order(release["version"]) >= order("0.6.0")
    assert release["verify"]["rollout_name_required"] is newer
    assert release["verify"]["data_output_flag"] == ("--local_save_dir" if newer else "--local_dir")


def test_drivers() -> None:
    for toolkit, driver in CUDA["native_driver"].items():
        branch = driver.split(".")[0]
        if not toolkit.startswith("10."):  # older than any branch that is listed
            assert CUDA["branch_cuda"][branch] == ".".join(toolkit.split(".")[:2]), toolkit
    for branch in [*CUDA["lifecycle"], *CUDA["forward_compat"]["branches"]]:
        assert branch in CUDA["branch_cuda"]
    for major, floor in CUDA["driver_floor"].items():
        if major == "11":  # 11.0 shipped with drivers below the floor that was set later
            continue
        oldest = [driver for toolkit, driver in CUDA["native_driver"].items() if toolkit.startswith(f"{major}.0.")]
        assert min(map(Version, oldest)) >= Version(floor)


def test_forward_compatibility_is_one_rule() -> None:
    """compat exactly where the branch is listed and its CUDA is older than the package's."""
    compat = CUDA["forward_compat"]
    for package, row in compat["packages"].items():
        assert list(row) == compat["branches"]
        for branch, cell in row.items():
            host, wanted = Version(CUDA["branch_cuda"][branch]), Version(package)
            assert cell == ("compat" if host < wanted else "native" if host == wanted else "unsupported")


def test_architectures_and_products_agree() -> None:
    of_capability = {
        code: name for name, part in GPUS["architectures"].items() for code in part["compute_capabilities"]
    }
    for code, part in GPUS["compute_capabilities"].items():
        assert part["architecture"] == of_capability[code]
    for product in GPUS["products"]:
        architecture = GPUS["architectures"][
            GPUS["compute_capabilities"][product["compute_capability"]]["architecture"]
        ]
        allowed = {architecture["open_kernel_modules"]}
        if product["name"] == "GH200":
            allowed = {"required"}  # Grace-Hopper needs the open modules, other Hoppers may have them
        assert product["open_kernel_modules"] in allowed, product["name"]
        assert product["forward_compat"] == (product["data_centre"] or product["name"].startswith("Jetson"))
    assert GPUS["architectures"]["volta"]["last_cuda_major"] == "12"
    assert GPUS["architectures"]["volta"]["last_driver_branch"] == "580"


@pytest.mark.parametrize(
    ("printed", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"), ("NVIDIA H100 PCIe", "H100 PCIe"), ("NVIDIA H100 NVL", "H100 NVL"),
        ("NVIDIA A100-SXM4-80GB", "A100"), ("NVIDIA A100-PCIE-40GB", "A100 PCIe"),
        ("NVIDIA A100 80GB PCIe", "A100 PCIe"),
        ("NVIDIA A800-SXM4-80GB", "A800"), ("NVIDIA H20", "H20"), ("NVIDIA H200", "H200"), ("NVIDIA L40S", "L40S"),
        ("NVIDIA GeForce RTX 4090", "GeForce RTX 4090"), ("NVIDIA GeForce RTX 5090", "GeForce RTX 5090"),
        ("NVIDIA GeForce RTX 2080 SUPER", "GeForce RTX 2080"), ("NVIDIA RTX A6000", "RTX A6000"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada"), ("Tesla V100-SXM2-32GB", "V100"), ("Tesla T4", "T4"),
        ("NVIDIA B200", "B200"), ("NVIDIA GB200", "GB200"), ("NVIDIA B300 SXM6 AC", "B300"), ("NVIDIA A10G", "A10G"),
        ("NVIDIA GH200 480GB", "GH200"), ("NVIDIA GB10", "GB10"), ("h100", "H100"),
        ("NVIDIA A800 80GB PCIe", "A800 PCIe"),
        ("rtx4090", "GeForce RTX 4090"), ("RTX4090", "GeForce RTX 4090"), ("H100.PCIe", "H100 PCIe"),
        ("H100SXM", "H100"), ("H100-SXM-80GB", "H100"), ("h100nvl", "H100 NVL"), ("RTX_A6000", "RTX A6000"),
        ("NVIDIA A100/PCIe", "A100 PCIe"), ("rtx", None), ("80GB", None), ("NVIDIA", None), ("", None),
    ],
)  # fmt: skip
def test_gpus_are_found_by_what_nvidia_smi_prints(printed: str, name: str | None) -> None:
    product = gpu(CATALOG, printed)
    assert (product["name"] if product else None) == name
    seen = products.find(printed, model.read(CATALOG).products)  # what a host's facts are read with
    assert (seen.name if seen else None) == name


def test_other_vendors_name_an_image_and_its_command() -> None:
    for vendor in CATALOG["vendors"]["vendors"].values():
        refs = [image["ref"] for image in vendor["images"]]
        assert any(ref in vendor["command"] for ref in refs)
        products = {product["name"] for product in vendor["products"]}
        assert {name for image in vendor["images"] for name in image["products"]} <= products


def test_the_toolkits_safety() -> None:
    toolkit = CUDA["toolkit"]
    assert Version(toolkit["default_version"]) >= Version(toolkit["security_floor"]["version"])
    assert all(
        Version(part["fixed"]) <= Version(toolkit["security_floor"]["version"])
        for part in toolkit["advisories"].values()
    )


def test_no_file_points_to_reference_material() -> None:
    for path in [
        *HERE.rglob("*.yml"),
        *HERE.rglob("*.json"),
        *Path(__file__).parents[3].glob("src/verl_provision/catalog/*"),
    ]:
        if path.is_file() and path.suffix != ".pyc":
            assert "/work/" not in path.read_text(), path


def test_thresholds_name_products_and_are_each_for_one_case() -> None:
    products = {product["name"] for product in GPUS["products"]}
    cases = []
    for entry in CATALOG["thresholds"]:
        assert set(entry["gpus_named"]) <= products
        cases += [(name, entry["gpus"], entry["size_mb"], entry["algorithm"]) for name in entry["gpus_named"]]
    assert len(set(cases)) == len(cases)
    # NVLS is what 8 GPUs behind an NVSwitch have; it must never be asked of fewer.
    assert {entry["gpus"] for entry in CATALOG["thresholds"] if entry["algorithm"] == "nvls"} == {8}


def test_every_release_but_the_newest_has_its_commit() -> None:
    """0.9.1 was tagged after the copy of the repository that was read."""
    releases = load()["releases"]
    assert [release["version"] for release in releases if not release["git_commit"]] == ["0.9.1"]
    assert all(release["git_commit"] or release["code_sha256"] for release in releases)
    assert len({release["git_commit"] for release in releases}) == len(releases)
