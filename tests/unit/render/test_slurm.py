"""The batch script: valid shell, what differs by runner and vendor, and what is refused."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.render.conftest import AMD, ASCEND, NVIDIA
from verl_provision.render import Refused

SHELLCHECK = Path(sys.executable).with_name("shellcheck")
RUNNERS = ["apptainer", "pyxis", "source"]


@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize(
    ("runner", "machine"), [*((runner, NVIDIA) for runner in RUNNERS), ("apptainer", AMD), ("pyxis", AMD)]
)
def test_the_script_is_clean_shell(text, tmp_path, runner, machine, nodes):
    everything = {"interface": "eth0", "env": {"A_B": "c 'd' $(e)"}, "secrets": ["HF_TOKEN"], "exclusive": True}
    for site in ({}, everything):
        file = tmp_path / "job.sbatch"
        file.write_text(text("slurm", nodes, machine, runner=runner, **site))
        done = subprocess.run([SHELLCHECK, file], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_amd_gets_hip_from_what_slurm_sets_and_nothing_else(text):
    script = text("slurm", machine=AMD)
    assert 'export HIP_VISIBLE_DEVICES="$ROCR_VISIBLE_DEVICES"' in script
    assert "unset ROCR_VISIBLE_DEVICES CUDA_VISIBLE_DEVICES" in script and "apptainer exec --rocm" in script
    assert "PYTHONPATH" not in script, "the image has a patched verl of its own"


def test_nvidia_loses_the_other_vendors_variables(text):
    assert "unset ROCR_VISIBLE_DEVICES HIP_VISIBLE_DEVICES" in text("slurm")


def test_a_digest_stands_without_the_tag(made):
    digest = "sha256:" + "a" * 64
    readme = "\n".join(line for line, _ in made("slurm", image_digest=digest)["README.md"])
    assert f"docker://verlai/verl@{digest}" in readme and "digest is not known" not in readme


def test_enroot_has_its_own_words_for_a_registry(made):
    readme = "\n".join(line for line, _ in made("slurm", runner="pyxis")["README.md"])
    assert "enroot import -o /shared/images/vllm024.sqsh docker://verlai/verl:vllm024.latest" in readme


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"machine": ASCEND}, "ascend"),
        ({"environment": "/opt/env"}, "environment"),
        ({"image_file": "/x.sif", "runner": "source"}, "image_file"),
        ({"gpus": 9}, "gpus 9"),
        ({"runner": "apptainer", "wanted": {"verl_backend": "source"}}, "runner apptainer"),
        ({"machine": {"gpu": None}}, "no GPUs"),
        ({"machine": {"gpu": "H100", "driver": "450"}}, ""),
        ({"wanted": {"verl_engine": "vlm"}}, "verl_engine"),
    ],
)
def test_what_is_refused_has_a_reason_and_a_way_out(made, given, found):
    with pytest.raises(Refused) as refused:
        made("slurm", **given)
    for error in refused.value.errors:
        assert error["found"] and error["needed"] and error["fix"]
    assert found in str(refused.value)
