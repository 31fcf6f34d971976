"""The dependency gates: each fault is found, with found, needed and fix; nothing skipped counts as passed."""

import json

import pytest
from ansible.module_utils.verl_source.environment import Environment
from ansible.module_utils.verl_source.gates import NEW_ABI, OLD_ABI, Gates, failures

WANTED = {
    "driver": "580.95.05",
    "driver_floor": {"12": "525.60.13", "13": "580"},
    "vllm_floor": "0.18.0",
    "vllm_also": ["0.6.3"],
    "tensordict": ">=0.8.0,<=0.10.0,!=0.9.0",
    "numpy": ">=2.0.0",
    "transfer_queue": True,
}
SOUND = {
    "torch": "2.11.0",
    "vllm": "0.24.0",
    "flash_attn": "2.8.3",
    "nvidia_cudnn_cu13": "9.15.1.9",
    "tensordict": "0.10.0",
    "numpy": "2.2.6",
    "TransferQueue": "0.1.10",
}


def environment(tmp_path, packages=None, cuda="'13.0'", torch_abi=1, flash_abi="TRUE"):
    env = Environment(str(tmp_path), str(tmp_path / "state"))
    site = tmp_path / "env/lib/python3.12/site-packages"
    for name, version in {**SOUND, **(packages or {})}.items():
        if version:
            info = site / f"{name}-{version}.dist-info"
            info.mkdir(parents=True)
            needs = (
                "Requires-Dist: nvidia-cudnn-cu13==9.15.1.9; platform_system == 'Linux'\n" if name == "torch" else ""
            )
            (info / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n{needs}\nA description.\n")
            if name == "flash_attn" and flash_abi:
                url = f"https://example.org/flash_attn-{version}+cu12torch2.11cxx11abi{flash_abi}-cp312.whl"
                (info / "direct_url.json").write_text(json.dumps({"url": url}))
    config = site / "torch/share/cmake/Torch/TorchConfig.cmake"
    config.parent.mkdir(parents=True)
    config.write_text(f'set(TORCH_CXX_FLAGS "-D_GLIBCXX_USE_CXX11_ABI={torch_abi}")\n')
    (site / "torch/version.py").write_text(f"__version__ = '2.11.0+cu130'\ncuda = {cuda}\n")
    return env


def ran(env, profile="gpu", **wanted):
    return {item["id"][len("gate.") :]: item for item in Gates(env, {**WANTED, **wanted}, profile).run()}


def test_what_fits_passes_every_gate(tmp_path):
    assert {name: item["ok"] for name, item in ran(environment(tmp_path)).items()} == dict.fromkeys(
        [
            "torch_driver",
            "torch_vllm",
            "flash_attn_abi",
            "cudnn",
            "vllm_floor",
            "tensordict",
            "numpy",
            "transfer_queue",
        ],
        True,
    )


@pytest.mark.parametrize(
    ("name", "world", "wanted", "found", "needed"),
    [
        ("torch_driver", {}, {"driver": "550.163.01"}, "driver 550.163.01", "driver >= 580 for CUDA 13"),
        ("torch_driver", {"cuda": "None"}, {}, "built without CUDA", "a CUDA build"),
        ("torch_vllm", {"packages": {"torch": "1.13.1"}}, {}, "torch 1.13.1 with vllm 0.24.0", "torch >= 2"),
        ("flash_attn_abi", {"flash_abi": "FALSE"}, {}, "is cxx11abiFALSE, torch", "cxx11abiTRUE"),
        ("flash_attn_abi", {"torch_abi": 0}, {}, "is cxx11abiTRUE", "cxx11abiFALSE"),
        ("cudnn", {"packages": {"nvidia_cudnn_cu13": "9.10.2.21"}}, {}, "9.10.2.21", ">= 9.15.1.9"),
        ("cudnn", {"packages": {"nvidia_cudnn_cu13": None}}, {}, "is not installed", ">= 9.15.1.9"),
        ("vllm_floor", {"packages": {"vllm": "0.11.0"}}, {}, "vllm 0.11.0", "vllm >= 0.18.0 or one of 0.6.3"),
        ("tensordict", {"packages": {"tensordict": "0.9.0"}}, {}, "tensordict 0.9.0", "!=0.9.0"),
        ("tensordict", {"packages": {"tensordict": None}}, {}, "is not installed", ">=0.8.0"),
        ("numpy", {"packages": {"numpy": "1.26.4"}}, {}, "numpy 1.26.4", ">=2.0.0"),
        ("transfer_queue", {"packages": {"TransferQueue": None}}, {}, "is not installed", "trainer imports"),
    ],
)
def test_each_fault_closes_its_gate_only(tmp_path, name, world, wanted, found, needed):
    gates = ran(environment(tmp_path, **world), **wanted)
    assert [other for other, item in gates.items() if item["ok"] is False] == [name]
    assert found in gates[name]["found"]
    assert needed in gates[name]["needed"]
    assert gates[name]["fix"]
    (sentence,) = failures(gates.values())
    assert sentence.startswith(f"gate.{name}: found ")


def test_an_older_vllm_that_verl_accepts_passes(tmp_path):
    assert ran(environment(tmp_path, {"vllm": "0.6.3"}))["vllm_floor"]["ok"] is True


@pytest.mark.parametrize(("symbol", "ok"), [(NEW_ABI, True), (OLD_ABI, False), (b"neither", None)])
def test_without_its_wheels_name_flash_attn_is_read(tmp_path, symbol, ok):
    env = environment(tmp_path, flash_abi=None)
    library = tmp_path / "env/lib/python3.12/site-packages/flash_attn_2_cuda.cpython-312-x86_64-linux-gnu.so"
    library.write_bytes(b"\x7fELF" + b"\0" * 5000 + symbol + b"\0")
    assert ran(env)["flash_attn_abi"]["ok"] is ok


def test_nothing_to_look_at_is_skipped_and_not_passed(tmp_path):
    env = environment(tmp_path, {"vllm": None, "flash_attn": None})
    gates = Gates(env, {}, "cpu").run()
    assert {item["id"]: item["ok"] for item in gates if item["id"] != "gate.cudnn"} == dict.fromkeys(
        ["gate.torch_driver", "gate.torch_vllm", "gate.flash_attn_abi", "gate.vllm_floor", "gate.tensordict",
         "gate.numpy", "gate.transfer_queue"]
    )  # fmt: skip
    assert failures(gates) == []
