"""nvidia-smi's formats; nothing that it may print breaks the parsers."""

import pytest
from ansible.module_utils.verl_probes import driver, smi
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("field", "expected"),
    [("143771", 143771), ("81559 MiB", 81559), ("[N/A]", None), ("N/A", None), ("[Not Supported]", None), ("", None)],
)
def test_numbers(field, expected):
    assert smi.integer(field) == expected


def test_an_error_line_is_no_gpu():
    text = "Failed to initialize NVML: Driver/library version mismatch\n"
    assert smi.parse_gpus(text, smi.FIELDS) == ([], None)


@given(st.text(max_size=400))
def test_any_text(text):
    gpus, _version = smi.parse_gpus(text, smi.FIELDS)
    assert isinstance(gpus, list)


@given(st.lists(st.text(alphabet=st.characters(exclude_characters=',"\n\r'), max_size=12), min_size=7, max_size=7))
def test_any_row(fields):
    for gpu in smi.parse_gpus(", ".join(fields) + "\n", smi.FIELDS)[0]:
        assert isinstance(gpu["index"], int) and gpu["mig"] in ("enabled", "disabled", None)
        assert gpu["memory_mb"] is None or gpu["memory_mb"] >= 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("NVIDIA-SMI 595.80  Driver Version: 595.80  CUDA Version: 13.2", ("595.80", "13.2")),
        ("NVIDIA-SMI 610.57.04  KMD Version: 610.57.04  CUDA UMD Version: 13.3", ("610.57.04", "13.3")),
    ],
)
def test_headers(text, expected):
    found = (smi.HEADER_SMI.search(text).group(1), smi.HEADER_CUDA.search(text).group(1))
    assert found == expected


def test_deprecated_lines_are_not_versions():
    text = (
        'DRIVER version : Deprecated, see "KMD version" instead\nCUDA version : Deprecated\nCUDA UMD version : 13.3\n'
    )
    assert smi.VERSION_CUDA.search(text).group(1) == "13.3"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.144.03  Release Build  (x)", "550.144.03"),
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  375.74  Wed Jun 14 01:39:39 PDT 2017", "375.74"),
    ],
)
def test_proc_version(text, expected):
    assert driver.PROC_VERSION.search(text).group(1) == expected
