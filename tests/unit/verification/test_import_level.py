"""Level import: each fault is told by the right check."""

import shutil

import pytest

from .fake_packages import put, put_torch

CPU = {"profile": "cpu", "verl_version": "0.9.1", "torch": "2.11.0", "trainer": "fsdp"}
GPU = {**CPU, "profile": "gpu", "torch_cuda": "13.0"}


def test_a_whole_environment_passes(place):
    result = place.run(expected=CPU)
    assert result["failed"] == []
    assert result["versions"]["verl"] == "0.9.1"
    assert result["versions"]["torch_cuda"] == "13.0"
    assert "verl.__version__ is 0.9.1, package metadata says 0.9.1" in result["by_id"]["import.verl"]["found"]
    assert {check["id"].split(".")[0] for check in result["checks"]} == {"import"}


def test_what_is_not_planned_is_skipped_and_never_passed(place):
    result = place.run(expected={"profile": "cpu"})
    for name in ("engine", "flash_attn", "transfer_queue", "trainer"):
        assert result["by_id"][f"import.{name}"]["ok"] is None
        assert result["by_id"][f"import.{name}"]["found"].startswith("skipped: ")


def broken_flash_attn(site):
    put(site, "flash_attn", "2.8.3")
    (site / "flash_attn_2_cuda.py").write_text("raise ImportError('x.so: undefined symbol: _ZN3c105ErrorC2E')")


FAULTS = {
    "another torch": (lambda site: put_torch(site, "2.10.0+cu129"), GPU, ["import.torch"]),
    "a CPU build of torch on a GPU host": (
        lambda site: put_torch(site, "2.11.0+cpu", None, None),
        {**GPU, "torch_cuda": None},
        ["import.torch", "import.cudnn"],
    ),
    "torch for another CUDA": (lambda site: put_torch(site, "2.11.0+cu126", "12.6"), GPU, ["import.torch"]),
    "no cuDNN on a GPU host": (lambda site: put_torch(site, cudnn=None), GPU, ["import.cudnn"]),
    "no verl": (lambda site: shutil.rmtree(site / "verl"), CPU, ["import.verl"]),
    "another verl": (lambda site: None, {**CPU, "verl_version": "0.9.0"}, ["import.verl"]),
    "no ray": (lambda site: shutil.rmtree(site / "ray"), CPU, ["import.ray"]),
    "tensordict out of range": (
        lambda site: None,
        {**CPU, "tensordict": ">=0.8.0,<=0.9.1,!=0.9.0"},
        ["import.tensordict"],
    ),
    "no transfer_queue": (lambda site: None, {**CPU, "transfer_queue": ">=0.1.8"}, ["import.transfer_queue"]),
    "no engine": (lambda site: None, {**GPU, "engine": "vllm"}, ["import.engine"]),
    "an engine below the floor": (
        lambda site: put(site, "vllm", "0.17.0"),
        {**GPU, "engine": "vllm", "engine_version": ">=0.18.0"},
        ["import.engine"],
    ),
    "flash-attn built for another torch": (broken_flash_attn, {**GPU, "flash_attn": "2.8.3"}, ["import.flash_attn"]),
    "no megatron": (lambda site: None, {**GPU, "trainer": "megatron"}, ["import.trainer"]),
    "another Python": (lambda site: None, {**CPU, "python": ">=4"}, ["import.python"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_fails_its_own_check(place, fault):
    break_it, expected, ids = FAULTS[fault]
    break_it(place.site)
    result = place.run(expected=expected, repair="mend it")
    assert result["failed"] == ids
    assert result["by_id"][ids[0]]["fix"] == "mend it"


def test_cudnn_is_skipped_with_the_reason_on_a_cpu_build(place):
    put_torch(place.site, "2.11.0+cpu", None, None)
    cudnn = place.run(expected=CPU)["by_id"]["import.cudnn"]
    assert cudnn["ok"] is None
    # The familiar line says True even so: it's shown, and isn't believed.
    assert 'python -c "import torch; print(torch.backends.cudnn.enabled)" -> True' in cudnn["found"]


def test_a_crash_fails_alone_and_the_rest_goes_on(place):
    put(place.site, "ray", "2.60.0", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    result = place.run(expected=CPU)
    assert result["failed"] == ["import.ray"]
    assert "SIGSEGV" in result["by_id"]["import.ray"]["found"]
    assert result["by_id"]["import.verl"]["ok"] is True


def test_an_exit_inside_an_import_fails_alone(place):
    put(place.site, "ray", "2.60.0", "import os; os._exit(3)")
    result = place.run(expected=CPU)
    assert result["failed"] == ["import.ray"]
    assert "exit status 3" in result["by_id"]["import.ray"]["found"]


def test_a_hang_fails_alone(place):
    put(place.site, "ray", "2.60.0", "import time; time.sleep(60)")
    result = place.run(expected=CPU, check_timeout=2)
    assert result["failed"] == ["import.ray"]
    assert "no end within 2 s" in result["by_id"]["import.ray"]["found"]


@pytest.mark.parametrize(("stated", "installed", "ok"), [
    ("0.9.1.dev", "0.9.1", True),  # some tags' version file says so of the release itself
    ("0.9.1.dev", None, True),  # a checkout that isn't installed
    ("0.9.1", "0.9.0", False),  # metadata counts
    ("0.8.0", "0.9.1", False),  # the checkout was moved after pip install -e
    ("0.10.0.dev", None, False),
])  # fmt: skip
def test_verls_version_is_that_of_its_metadata(place, stated, installed, ok):
    shutil.rmtree(place.site / "verl-0.9.1.dist-info")
    put(place.site, "verl", installed or "0", f"__version__ = {stated!r}", installed=bool(installed))
    assert place.run(expected=CPU)["by_id"]["import.verl"]["ok"] is ok
