"""Level gpu: each fault is told by the right check, and what can't be asked is skipped with the reason."""

import sys

import pytest

from .fake_cuda import put_cuda, smi

GPU = {"profile": "gpu", "gpus": 2, "driver": "580.95.05"}
LEVEL = ["gpu.count", "gpu.arch", "gpu.matmul", "gpu.ecc", "gpu.remapped_rows", "gpu.xid", "gpu.throttle", "gpu.nvlink"]


@pytest.fixture
def gpus(place):
    put_cuda(place.site)
    smi(place, sys.executable)
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (place.dev / name).touch()
    return place


def run(place, **request):
    return place.run("gpu", GPU, kmsg=str(place.dev / "kmsg"), **request)


def test_healthy_gpus_pass(gpus):
    result = run(gpus)
    assert result["failed"] == []
    assert (result["passed"], result["reached"]) == (True, "gpu")
    assert [check["id"] for check in result["checks"] if check["id"].startswith("gpu.")] == LEVEL
    assert result["by_id"]["gpu.matmul"]["found"] == "exact on GPU 0 (bfloat16), 1 (bfloat16)"
    assert result["by_id"]["gpu.nvlink"]["found"] == "2 links up on 2 GPUs, fabric ready on 2 GPUs"


TORCH_FAULTS = {
    "fewer GPUs": ({"count": 1}, ["gpu.count"], "1 GPUs"),
    "no code for them": ({"capability": (10, 3), "arch_list": ["sm_80", "sm_90"]}, ["gpu.arch"], "capability 10.3"),
    "a GPU that computes wrongly": ({"liars": (1,)}, ["gpu.matmul"], "GPU 1: 3 of 1048576 results differ"),
    "a GPU that faults": ({"broken": (0,)}, ["gpu.matmul"], "GPU 0: CUDA error: an illegal memory access"),
    "CUDA doesn't start": (
        {"error": "system not yet initialized"},
        ["gpu.count", "gpu.arch", "gpu.matmul"],
        "CUDA doesn't start: system not yet initialized",
    ),
}
SMI_FAULTS = {
    "ECC": ({"ecc__errors__uncorrected__volatile__total": ("0", "4")}, ["gpu.ecc"], "GPU 1: 4 uncorrected"),
    "a row waits": ({"remapped_rows__pending": ("1", "0")}, ["gpu.remapped_rows"], "GPU 0: remapped_rows.pending"),
    "a reset is asked for": ({"gpu_recovery_action": ("None", "Reset")}, ["gpu.xid"], "GPU 1 asks for: Reset"),
    "heat": (
        {"clocks_event_reasons__hw_thermal_slowdown": ("Active", "Not Active")},
        ["gpu.throttle"],
        "GPU 0: hw_thermal_slowdown",
    ),
    "a link is down": ({"links": ((1, 1), (1, 0))}, ["gpu.nvlink"], "GPU 1: 1 of 2 links down"),
    "the fabric isn't ready": ({"fabric__state": "In Progress"}, ["gpu.nvlink"], "fabric In Progress"),
}


@pytest.mark.parametrize("fault", TORCH_FAULTS)
def test_what_torch_says(gpus, fault):
    said, ids, found = TORCH_FAULTS[fault]
    put_cuda(gpus.site, **said)
    result = run(gpus)
    assert result["failed"] == ids
    assert result["passed"] is False
    assert found in result["by_id"][ids[0]]["found"]


@pytest.mark.parametrize("fault", SMI_FAULTS)
def test_what_nvidia_smi_says(gpus, fault):
    said, ids, found = SMI_FAULTS[fault]
    smi(gpus, sys.executable, **said)
    result = run(gpus)
    assert result["failed"] == ids
    assert found in result["by_id"][ids[0]]["found"]


def test_a_busy_gpu_is_skipped_and_not_passed(gpus):
    put_cuda(gpus.site, full=(1,))
    check = run(gpus)["by_id"]["gpu.matmul"]
    assert check["ok"] is None
    assert "no memory is free on GPU 1" in check["found"]


def test_fields_that_this_nvidia_smi_does_not_list_are_not_asked_for(gpus):
    smi(gpus, sys.executable, links=((), ()), without=("gpu_recovery_action", "remapped_rows.pending",
        "remapped_rows.failure", "fabric.state", "fabric.status", "clocks_event_reasons.hw_slowdown",
        "clocks_event_reasons.hw_thermal_slowdown", "clocks_event_reasons.sw_thermal_slowdown",
        "ecc.errors.uncorrected.volatile.total"))  # fmt: skip
    result = run(gpus)
    assert result["passed"] is True
    skipped = [check["id"] for check in result["checks"] if check["ok"] is None and check["id"] in LEVEL]
    assert skipped == LEVEL[3:]
    assert result["by_id"]["gpu.ecc"]["found"] == "skipped: this driver's nvidia-smi can't be asked for ECC errors"


def test_the_older_name_of_throttling_is_known(gpus):
    new = [f"clocks_event_reasons.{name}" for name in ("hw_slowdown", "hw_thermal_slowdown", "sw_thermal_slowdown")]
    smi(gpus, sys.executable, without=new, clocks_throttle_reasons__hw_slowdown="Active")
    assert run(gpus)["failed"] == ["gpu.throttle"]


@pytest.mark.parametrize(("number", "failed"), [(79, ["gpu.xid"]), (13, [])])
def test_xids_of_broken_hardware_fail_and_those_of_programs_do_not(gpus, number, failed):
    line = f"4,1,2,-;NVRM: Xid (PCI:0000:19:00): {number}, pid='<unknown>', GPU has fallen off the bus."
    (gpus.dev / "kmsg").write_text(line + "\n")
    assert run(gpus)["failed"] == failed


@pytest.mark.parametrize(
    ("capability", "arch_list", "how"),
    [
        ("9.0", ["sm_80", "sm_90"], "sass"),
        ("8.9", ["sm_80", "sm_86", "sm_90"], "sass"),
        ("8.7", ["sm_80", "sm_86", "sm_90"], None),
        ("8.0", ["sm_86", "sm_90"], None),
        ("10.3", ["sm_90", "sm_100"], "sass"),
        ("10.1", ["sm_100"], None),
        ("11.0", ["sm_101"], "sass"),
        ("12.1", ["sm_120", "compute_120"], "sass"),
        ("10.0", ["sm_90a"], None),
        ("9.0", ["sm_90a"], "sass"),
        ("12.0", ["sm_90", "compute_90"], "ptx"),
        ("7.0", ["sm_75", "compute_75"], None),
    ],
)
def test_the_rule_of_which_code_runs_where(checks, capability, arch_list, how):
    assert checks.gpu.code_for(capability, arch_list) == how


def test_nothing_but_skips_at_the_wanted_level_is_no_pass_on_a_machine_with_gpus(checks):
    results = [{"id": "devices.count", "ok": True}, {"id": "gpu.matmul", "ok": None}]
    on = checks.core.passed
    assert on({"level": "gpu", "expected": GPU}, results) is False
    assert on({"level": "devices", "expected": GPU}, results) is True
    assert on({"level": "gpu", "expected": {"profile": "gpu"}}, results) is False
    # Without GPUs the rest counts, and `reached` says how far it went.
    assert on({"level": "gpu", "expected": {"profile": "cpu"}}, results) is True
    assert on({"level": "gpu", "expected": {"profile": "cpu"}}, [{"id": "gpu.ecc", "ok": None}]) is False


def test_every_level_above_devices_is_skipped_with_the_reason_where_there_is_no_gpu(place):
    for level in ("train", "collective"):
        result = place.run(level, {"profile": "cpu", "engine": "none"})
        assert (result["passed"], result["reached"]) == (True, "import")
        above = [check for check in result["checks"] if check["id"].split(".")[0] not in ("import", "devices")]
        assert above
        assert all(check["ok"] is None and check["found"].startswith("skipped: no ") for check in above)
