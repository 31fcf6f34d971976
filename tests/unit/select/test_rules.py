"""Each rule alone: when it speaks, with which values, and when it's silent."""

import dataclasses

import pytest

from tests.unit.decide.machines import known, machine, plan, preferences, selection
from verl_provision.catalog import capability
from verl_provision.select import candidates
from verl_provision.select.candidates import Candidate
from verl_provision.select.findings import Rejection, Warning
from verl_provision.select.rules import BACKEND_RULES, RULES, ask


def image(name, **changes):
    found = next(image for image in known().images if image.id == name)
    return dataclasses.replace(found, **changes)


def pair(name="vllm024", version="0.9.0", evidence="tested", **changes):
    return Candidate(image(name, **changes), known().release(version), evidence, version)


def findings(rule_id, candidate, facts, **asked):
    found = []
    for rule in RULES:
        if rule.id == rule_id and (rule.scope == "host") == (candidate is None):
            found += ask(rule, candidate, selection(facts), preferences(**asked), known())
    return found


def one(rule_id, candidate, facts, **asked):
    found = findings(rule_id, candidate, facts, **asked)
    assert len(found) == 1, found
    return found[0]


def nvidia(**changes):
    return {"nvidia": changes}


# rule, candidate, facts, requests, kind, in found or message, in needed, in fix
SPEAKS = {
    "driver mismatch": (
        "driver_state",
        None,
        machine(**nvidia(state="mismatch", reason="550 in the kernel, 560 outside", fix="Reboot.")),
        {},
        Rejection,
        "550 in the kernel",
        "a loaded NVIDIA driver",
        "Reboot.",
    ),
    "driver not installed": (
        "driver_state",
        None,
        machine("H100", None),
        {},
        Rejection,
        "no driver is installed",
        "driver",
        "driver",
    ),
    "reboot pending": (
        "driver_state",
        None,
        machine(**nvidia(reboot_pending=True)),
        {},
        Warning,
        "waits for a reboot",
        None,
        "Reboot",
    ),
    "unknown branch": ("driver_branch", None, machine("H100", "601.10"), {}, Warning, "branch 601", None, "cuda.yml"),
    "V100 after its last branch": (
        "end_of_life",
        None,
        machine("V100", "595.71.05"),
        {},
        Rejection,
        "V100 with driver 595",
        "driver 580",
        "580",
    ),
    "a driver from before the GPU": (
        "first_driver",
        None,
        machine("RTX 5090", "560.35.05"),
        {},
        Rejection,
        "GeForce RTX 5090 with driver 560.35.05",
        "driver >= 570",
        "570",
    ),
    "proprietary modules on Blackwell": (
        "open_kernel_modules",
        None,
        machine("B200", "570.124.06", **nvidia(kernel_modules="proprietary")),
        {},
        Rejection,
        "proprietary kernel modules with B200",
        "open",
        "nvidia-driver-570-open",
    ),
    "unknown modules on Blackwell": (
        "open_kernel_modules",
        None,
        machine("B200", "570.124.06", **nvidia(kernel_modules=None)),
        {},
        Warning,
        "B200 needs the open kernel modules",
        None,
        "modinfo",
    ),
    "open modules on Volta": (
        "open_kernel_modules",
        None,
        machine("V100", "580.95.05", **nvidia(kernel_modules="open")),
        {},
        Rejection,
        "open kernel modules with V100",
        "proprietary",
        "580",
    ),
    "fabric manager stopped": (
        "fabric_manager",
        None,
        machine(
            **nvidia(fabric_manager={"installed": True, "active": False, "version": "580.95.05", "nvswitch": True})
        ),
        {},
        Rejection,
        "not active",
        "802",
        "systemctl enable --now nvidia-fabricmanager",
    ),
    "fabric manager missing": (
        "fabric_manager",
        None,
        machine(**nvidia(fabric_manager={"installed": False, "active": None, "version": None, "nvswitch": True})),
        {},
        Rejection,
        "without Fabric Manager",
        "580.95.05",
        "Install nvidia-fabricmanager 580.95.05",
    ),
    "fabric manager of another version": (
        "fabric_manager",
        None,
        machine(**nvidia(fabric_manager={"installed": True, "active": True, "version": "580.65.06", "nvswitch": True})),
        {},
        Rejection,
        "580.65.06 with driver 580.95.05",
        "580.95.05",
        "exactly",
    ),
    "fabric manager unknown": (
        "fabric_manager",
        None,
        machine(**nvidia(fabric_manager={"installed": True, "active": None, "version": None, "nvswitch": True})),
        {},
        Warning,
        "not known",
        None,
        "systemctl status",
    ),
    "MI300X": ("vendor_apply", None, machine("MI300X"), {}, Rejection, "8 x MI300X", "NVIDIA", "amdagi/verl-dev"),
    "an AMD image": ("vendor", pair(vendor="amd"), machine(), {}, Rejection, "amd", "NVIDIA", "nvidia"),
    "aarch64": (
        "cpu_architecture",
        pair(),
        machine(arch="aarch64"),
        {},
        Rejection,
        "aarch64",
        "x86_64",
        "docker build",
    ),
    "another architecture": (
        "cpu_architecture",
        pair(),
        machine(None, arch="x86_64") | {"arch": "ppc64le"},
        {},
        Rejection,
        "ppc64le",
        "x86_64",
        "Use a host",
    ),
    "no code for Blackwell": (
        "compute_capability",
        pair("verl04-vllm085-mcore0122", "0.5.0"),
        machine("B200"),
        {},
        Rejection,
        "B200 (compute capability 10.0)",
        "9.0",
        "CUDA 12.8",
    ),
    "flash-attn below 8.0": (
        "compute_capability",
        pair(),
        machine("T4"),
        {},
        Rejection,
        "T4 (compute capability 7.5)",
        ">= 8.0: flash-attn 2 has no code below 8.0",
        "newer GPU",
    ),
    "12.0 code is no 10.0 code": (
        "compute_capability",
        pair(sass=("12.0",), ptx=None),
        machine("B200"),
        {},
        Rejection,
        "10.0",
        "12.0",
        "10.0",
    ),
    "8.0 code is not for Orin": (
        "compute_capability",
        pair(sass=("8.0", "8.6"), ptx=None),
        machine("Jetson Orin", "580.1"),
        {},
        Rejection,
        "8.7",
        "8.0, 8.6",
        "8.7",
    ),
    "PTX on a driver that compiles it": (
        "ptx_jit",
        pair(sass=("9.0",), ptx="9.0"),
        machine("B200"),
        {},
        Warning,
        "compiled from PTX",
        None,
        "code",
    ),
    "PTX on a driver that can't": (
        "ptx_jit",
        pair(sass=("9.0",), ptx="9.0", cuda="12.9"),
        machine("B200", "570.124.06"),
        {},
        Rejection,
        "570.124.06 (CUDA 12.8)",
        "CUDA 12.9",
        "575",
    ),
    "CUDA 13 on Volta": (
        "end_of_life",
        pair(),
        machine("V100"),
        {},
        Rejection,
        "V100 (volta): CUDA 12 is the last",
        "CUDA 13",
        "a newer driver does not help",
    ),
    "below the floor": (
        "driver_floor",
        pair(),
        machine("H100", "575.57.08"),
        {},
        Rejection,
        "575.57.08",
        "driver >= 580",
        "580",
    ),
    "below the floor where compat would do": (
        "driver_floor",
        pair(),
        machine("H100", "570.124.06"),
        {},
        Rejection,
        "570",
        "580",
        "verl_driver_policy",
    ),
    "minor-version compatibility": (
        "native_driver",
        pair("vllm017", "0.7.1"),
        machine("H100", "550.163.01"),
        {},
        Warning,
        "CUDA 12.9",
        None,
        "575",
    ),
    "minor-version compatibility refused": (
        "native_driver",
        pair("vllm017", "0.7.1"),
        machine("H100", "550.163.01"),
        {"driver_policy": "native"},
        Rejection,
        "carries CUDA 12.4",
        "CUDA 12.9",
        "575",
    ),
    "forward compatibility": (
        "forward_compat",
        pair(),
        machine("H100", "535.261.03"),
        {"driver_policy": "compat"},
        Warning,
        "cuda-compat 13.0",
        None,
        "580",
    ),
    "forward compatibility on GeForce": (
        "forward_compat",
        pair(),
        machine("RTX 4090", "570.124.06"),
        {"driver_policy": "compat"},
        Rejection,
        "GeForce RTX 4090",
        "data-centre",
        "580",
    ),
    "forward compatibility on a branch that is no base": (
        "forward_compat",
        pair(),
        machine("H100", "575.57.08"),
        {"driver_policy": "compat"},
        Rejection,
        "branch 575",
        "cuda-compat 13.0",
        "580",
    ),
    "no SGLang": ("engine", pair(), machine(), {"engine": "sglang"}, Rejection, "vllm 0.24.0", "sglang", "auto"),
    "no SGLang in a asked image": (
        "engine",
        pair(),
        machine(),
        {"engine": "sglang", "image": "vllm024"},
        Warning,
        "comes before verl_engine",
        None,
        "Leave one",
    ),
    "no Megatron": (
        "trainer",
        pair("hiyouga-vllm0110", "0.6.1"),
        machine(),
        {"trainer": "megatron"},
        Rejection,
        "fsdp",
        "megatron",
        "auto",
    ),
    "no Megatron in a asked image": (
        "trainer",
        pair("hiyouga-vllm0110", "0.6.1"),
        machine(),
        {"trainer": "megatron", "image": "hiyouga-vllm0110"},
        Warning,
        "comes before verl_trainer",
        None,
        "Leave one",
    ),
    "DeepEP on A800": (
        "defects",
        pair("vllm011", "0.6.1", defects=image("vllm011").defects[1:]),
        machine("A800"),
        {},
        Warning,
        "named symbol not found",
        None,
        "DeepEP",
    ),
    "DeepEP on A800, asked for": (
        "defects",
        pair("verl04-vllm085-mcore0122-te22-deepep", "0.5.0"),
        machine("A800"),
        {"image": "verl04-vllm085-mcore0122-te22-deepep"},
        Rejection,
        "A800",
        "9.0",
        "without DeepEP",
    ),
    "a defect that blocks": (
        "defects",
        pair(defects=({"id": "x", "severity": "blocks", "applies": {"gpus": ["H100"]}, "effect": "burns"},)),
        machine(),
        {},
        Rejection,
        "H100 (9.0)",
        "burns",
        "another image",
    ),
    "disk too small": (
        "disk",
        pair(size_gb=40.0),
        machine(disk={"engine_root": {"path": "/var/lib/docker", "free_gb": 30.2}}),
        {},
        Rejection,
        "30.2 GB free in /var/lib/docker",
        "49 GB",
        "docker system df",
    ),
    "disk unknown": (
        "disk",
        pair(size_gb=40.0),
        machine(disk={"engine_root": None}),
        {},
        Warning,
        "is not known",
        None,
        "",
    ),
    "vLLM below the floor": (
        "release_pairing",
        pair("vllm017", "0.9.0", tensordict=None),
        machine(),
        {},
        Rejection,
        "vLLM 0.17.0",
        "vLLM >= 0.18.0",
        "another verl_version",
    ),
    "tensordict, not tested": (
        "release_pairing",
        pair("verl04-vllm085-mcore0122", "0.6.0", evidence="floor_only"),
        machine(),
        {},
        Rejection,
        "tensordict 0.6.2",
        ">=0.8.0",
        "newer tensordict",
    ),
    "tensordict, tested": (
        "release_pairing",
        pair("verl04-vllm085-mcore0122", "0.6.0"),
        machine(),
        {},
        Warning,
        "its CI ran",
        None,
        "",
    ),
    "tensordict asserted at run time": (
        "release_pairing",
        pair("verl04-vllm085-mcore0122", "0.6.1", evidence="inherited"),
        machine(),
        {},
        Rejection,
        "tensordict 0.6.2",
        ">= 0.10.0, asserted",
        "newer tensordict",
    ),
    "not served": (
        "release",
        pair("vllm017", "0.9.0", evidence=""),
        machine(),
        {},
        Rejection,
        "serves verl 0.8.0, 0.7.1, 0.7.0",
        "verl 0.9.0",
        "verl_version",
    ),
    "documented": (
        "release",
        pair("vllm017", "0.8.0", evidence="documented"),
        machine(),
        {},
        Warning,
        "documentation",
        None,
        "Verify",
    ),
    "floors only": (
        "release",
        pair("vllm024", "0.8.0", evidence="floor_only"),
        machine(),
        {},
        Warning,
        "version floors",
        None,
        "Verify",
    ),
    "the image's Python": (
        "python",
        pair("vllm024", "0.9.1", python="3.13"),
        machine(),
        {},
        Rejection,
        "Python 3.13",
        "<3.13",
        "image",
    ),
}


@pytest.mark.parametrize("name", SPEAKS)
def test_rule_speaks(name):
    rule, candidate, facts, asked, kind, found, needed, fix = SPEAKS[name]
    said = one(rule, candidate, facts, **asked)
    assert isinstance(said, kind)
    assert found in (said.found if kind is Rejection else said.message)
    assert fix in said.fix
    if kind is Rejection:
        assert needed in said.needed


SILENT = {
    "healthy driver": ("driver_state", None, machine(), {}),
    "no GPU": ("driver_state", None, machine(None), {}),
    "open modules on Hopper": ("open_kernel_modules", None, machine(**nvidia(kernel_modules="open")), {}),
    "proprietary modules on Hopper": ("open_kernel_modules", None, machine(**nvidia(kernel_modules="proprietary")), {}),
    "no NVSwitch": ("fabric_manager", None, machine("L40S"), {}),
    "one kind of GPU": ("mixed_gpus", None, machine(), {}),
    "NVIDIA": ("vendor_apply", None, machine(), {}),
    "exactly the floor": ("driver_floor", pair(), machine("H100", "580.65.06"), {}),
    "525.60.13": ("driver_floor", pair("vllm017", "0.7.1"), machine("H100", "525.60.13"), {}),
    "compat opted in": ("driver_floor", pair(), machine("H100", "570.124.06"), {"driver_policy": "compat"}),
    "native": ("native_driver", pair(), machine(), {}),
    "a driver above": ("native_driver", pair("vllm017", "0.7.1"), machine(), {}),
    "no opt-in": ("forward_compat", pair(), machine("H100", "570.124.06"), {}),
    "8.6 code on 8.9": ("compute_capability", pair(sass=("8.6",), ptx=None), machine("L40S"), {}),
    "10.0 code on 10.3": ("compute_capability", pair(sass=("10.0",), ptx=None), machine("B300"), {}),
    "12.0 code on 12.1": ("compute_capability", pair(sass=("12.0",), ptx=None), machine("GB10"), {}),
    "no GPU, no compute capability": ("compute_capability", pair(), machine(None), {}),
    "no GPU, no driver": ("driver_floor", pair(), machine(None), {}),
    "room": ("disk", pair(), machine(), {}),
    "on the host already": (
        "disk",
        pair(size_gb=4000.0),
        machine(images=[{"refs": ["verlai/verl:vllm024.latest"], "digests": []}]),
        {},
    ),
    "a defect of other GPUs": ("defects", pair(), machine(), {}),
    "a defect that only informs": (
        "defects",
        pair(defects=({"id": "x", "severity": "informs", "applies": {}, "effect": "odd"},)),
        machine(),
        {},
    ),
    "tested release": ("release", pair(), machine(), {}),
    "prototype outranks the trainer": (
        "trainer",
        pair("hiyouga-vllm0110", "0.6.1"),
        machine(),
        {"trainer": "megatron", "scenario": "prototype"},
    ),
    "vLLM 0.6.3 where it is accepted": (
        "release_pairing",
        pair("whatcanyousee-vllm063-te20-mcore0110", "0.4.1"),
        machine(),
        {},
    ),
}


@pytest.mark.parametrize("name", SILENT)
def test_rule_is_silent(name):
    rule, candidate, facts, asked = SILENT[name]
    assert findings(rule, candidate, facts, **asked) == []


@pytest.mark.parametrize(
    ("backend", "place", "free", "fix"),
    [
        ("podman", "podman_root", 12.0, "podman image prune"),
        ("podman", "engine_root", 12.0, None),
        ("apptainer", "prefix", 25.0, "verl_prefix"),
        ("apptainer", "podman_root", 1.0, None),
        ("source", "prefix", 2.0, "verl_prefix"),
        ("source", "engine_root", 2.0, None),
    ],
)
def test_the_disk_that_counts_is_the_backends(backend, place, free, fix):
    facts = machine(
        engines={
            "podman": {"installed": True, "version": "5.4.2", "rootless": True, "subids": True},
            "apptainer": {"installed": True, "version": "1.4.5"},
        },
        disk={place: {"path": "/data/ops", "free_gb": free}},
    )
    errors = plan(facts, backend=backend)["errors"]
    assert [error["rule"] for error in errors] == (["disk"] if fix else []), errors
    if fix:
        assert f"{free} GB free in /data/ops" in errors[0]["found"]
        assert fix in errors[0]["fix"]


def test_mixed_gpus_are_warned_about_and_each_must_be_served():
    facts = machine("H100")
    facts["nvidia"]["gpus"][7] |= {"name": "Tesla T4", "compute_capability": "7.5"}
    assert "Tesla T4" in one("mixed_gpus", None, facts).message
    rejection = one("compute_capability", pair(), facts)
    assert "Tesla T4" in rejection.found
    assert "Leave the Tesla T4 out" in rejection.fix


def test_mig():
    facts = machine("H100")
    for gpu in facts["nvidia"]["gpus"]:
        gpu["mig"] = "enabled"
    assert isinstance(one("mig", None, facts), Rejection)
    facts["nvidia"]["gpus"][0]["mig_devices"] = 2
    assert "cannot train together" in one("mig", None, facts).message


def test_source_needs_a_python():
    release = known().release("0.9.1")
    for versions, found, fix in (
        ([("3.9.2", True)], "Python 3.9.2", "python3.12-venv"),
        ([("3.11.2", False)], "3.11.2 (/usr/bin/python3.11) without venv", "apt install python3.11-venv"),
        ([], "no Python", "uv python install 3.12"),
    ):
        pythons = [
            {"version": version, "executable": f"/usr/bin/python{version.rpartition('.')[0]}", "venv": venv}
            for version, venv in versions
        ]
        facts = machine(None, pythons=pythons, python={"version": None, "executable": None})
        candidate = candidates.of_source((release,), selection(facts), known(), "cpu")[0]
        assert findings("python", candidate, facts) == []  # uv brings one
        said = one("python", candidate, facts, source_manager="venv")
        assert found in said.found
        assert fix in said.fix
        assert "conda is neither on this host" in one("python", candidate, facts, source_manager="conda").found


def test_source_release_that_is_nowhere():
    release = dataclasses.replace(known().release("0.9.1"), pypi=False)
    facts = machine(None)
    candidate = candidates.of_source((release,), selection(facts), known(), "cpu")[0]
    assert "not on PyPI" in one("source", candidate, facts, source_method="pypi").found
    assert findings("source", candidate, facts) == []
    nowhere = dataclasses.replace(candidate, release=dataclasses.replace(release, git_tag=None))
    assert "verl_commit" in one("source", nowhere, facts).fix


def test_every_rule_is_tested_and_told():
    tested = {rule for rule, *_ in SPEAKS.values()} | {"mixed_gpus", "mig", "source"}
    tested |= {"gpus_missing", "gpu_choice", "become_password"}  # by machines of tests/fixtures/hosts
    assert {rule.id for rule in RULES} == tested
    assert all(rule.doc.endswith(".") for rule in RULES)
    assert {rule.scope for rule in RULES} == {"host", "image", "pair"}
    assert BACKEND_RULES == ("rights", "backend")


def test_force_never_overrides_architecture_nor_code():
    forceable = {rule.id for rule in RULES if rule.forceable and rule.scope == "image"}
    assert not forceable & {"cpu_architecture", "compute_capability", "vendor"}


@pytest.mark.parametrize(
    ("gpu", "codes", "ptx", "found"),
    [
        ("9.0", ("8.0", "9.0"), None, "sass"),
        ("8.9", ("8.0", "8.6"), None, "sass"),
        ("8.7", ("8.0", "8.6"), None, None),
        ("8.7", ("8.7",), None, "sass"),
        ("8.6", ("8.7",), None, None),
        ("7.2", ("7.0",), None, None),
        ("10.1", ("10.0",), None, None),
        ("11.0", ("10.1",), None, "sass"),
        ("10.3", ("10.0",), None, "sass"),
        ("10.0", ("10.3",), None, None),
        ("12.1", ("12.0",), None, "sass"),
        ("12.0", ("10.0",), None, None),
        ("12.0", ("9.0",), "9.0", "ptx"),
        ("8.0", ("9.0",), "9.0", None),
        ("junk", ("9.0",), "9.0", None),
        ("9.0", ("junk",), "junk", None),
    ],
)
def test_which_code_runs_where(gpu, codes, ptx, found):
    assert capability.code_for(gpu, codes, ptx, known().sass) == found
