"""Level devices, with a recorded nvidia-smi and device nodes in a directory."""

import pytest

from .conftest import MARK, SCRIPT

GPU = {"profile": "gpu", "gpus": 2, "driver": "580.95.05", "shm_mb": 64}
LIST = "".join(f"GPU {n}: NVIDIA H100 80GB HBM3 (UUID: GPU-5b1c0000-0000-0000-0000-00000000000{n})\n" for n in (0, 1))


@pytest.fixture
def gpus(place):
    def smi(listed=LIST, driver="580.95.05\n580.95.05\n", rc=0):
        place.command(
            "nvidia-smi",
            f'if [ "$1" = -L ]; then cat <<"END"\n{listed}END\nelse cat <<"END"\n{driver}END\nfi\nexit {rc}',
        )

    smi()
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (place.dev / name).touch()
    place.smi = smi
    return place


def test_the_planned_devices_pass(gpus):
    result = gpus.run("devices", GPU)
    assert result["failed"] == []
    assert result["by_id"]["devices.count"]["found"] == "2 GPUs (NVIDIA H100 80GB HBM3)"
    assert result["by_id"]["devices.driver"]["found"] == "driver 580.95.05"
    assert result["by_id"]["devices.memlock"]["ok"] is None
    assert "import.verl" in result["by_id"]


def test_a_gpu_missing_inside_fails(gpus):
    gpus.smi(LIST.splitlines(True)[0])
    result = gpus.run("devices", GPU, recreate="make the container anew")
    assert result["failed"] == ["devices.count"]
    assert result["by_id"]["devices.count"]["found"] == "1 GPUs"
    assert result["by_id"]["devices.count"]["needed"] == "2 GPUs in nvidia-smi -L"
    assert result["by_id"]["devices.count"]["fix"] == "make the container anew"


def test_other_gpus_inside_fail(gpus):
    assert gpus.run("devices", {**GPU, "gpu_names": ["NVIDIA H100 80GB HBM3"]})["failed"] == []
    result = gpus.run("devices", {**GPU, "gpu_names": ["NVIDIA A100-SXM4-80GB"]})
    assert result["failed"] == ["devices.count"]


def test_where_some_are_planned_the_others_do_not_count(gpus):
    second = "GPU-5b1c0000-0000-0000-0000-000000000001"
    result = gpus.run("devices", {**GPU, "gpus": 1, "gpu_uuids": [second]})
    assert result["by_id"]["devices.count"]["ok"] is True
    assert gpus.run("devices", {**GPU, "gpus": 1, "gpu_uuids": ["GPU-gone"]})["failed"] == ["devices.count"]


def test_another_driver_inside_fails(gpus):
    gpus.smi(driver="550.163.01\n550.163.01\n")
    assert gpus.run("devices", GPU)["failed"] == ["devices.driver"]


def test_an_nvidia_smi_that_fails_is_told_in_its_words(gpus):
    gpus.smi("Failed to initialize NVML: Driver/library version mismatch\n", rc=18)
    count = gpus.run("devices", GPU)["by_id"]["devices.count"]
    assert count["ok"] is False
    assert "exit status 18: Failed to initialize NVML" in count["found"]


def test_a_missing_device_node_fails(gpus):
    (gpus.dev / "nvidia-uvm").unlink()
    result = gpus.run("devices", GPU)
    assert result["failed"] == ["devices.nodes"]
    assert "nvidia-uvm" in result["by_id"]["devices.nodes"]["found"]


def test_too_small_a_shm_fails(gpus):
    result = gpus.run("devices", {**GPU, "shm_mb": 10**9})
    assert result["failed"] == ["devices.shm"]
    assert "training_container_shm_size" in result["by_id"]["devices.shm"]["fix"]


def test_a_memlock_limit_is_compared(gpus):
    assert gpus.run("devices", {**GPU, "memlock": 4})["failed"] == []


def test_a_host_without_gpus_is_skipped_with_the_reason(place):
    result = place.run("devices", {"profile": "cpu"})
    for name in ("count", "driver", "nodes", "shm", "memlock"):
        check = result["by_id"][f"devices.{name}"]
        assert check["ok"] is None
        assert check["found"].startswith("skipped: no ")


def test_no_nvidia_smi_fails_where_gpus_are_planned(place):
    assert {"devices.count", "devices.driver", "devices.nodes"} <= set(place.run("devices", GPU)["failed"])


def test_the_module_and_the_schema_know_the_same_levels_and_mark():
    import json
    import re
    from pathlib import Path

    root = Path(__file__).resolve().parents[3]
    module = (root / "library/verl_verify.py").read_text()
    script = SCRIPT.read_text()
    found = [re.search(r"^LEVELS = (\[.*\])", text, re.M).group(1) for text in (module, script)]
    schema = json.loads((root / "catalog/schema/verification.json").read_text())
    assert json.loads(found[0]) == json.loads(found[1]) == schema["$defs"]["level"]["enum"]
    assert f'RESULT_MARK = "{MARK}"' in module
    assert f'RESULT_MARK = "{MARK}"' in script
