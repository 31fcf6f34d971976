"""The rendered batch script on a real Slurm (slurm_cluster.py): taken by sbatch, and run whole with stand-ins for Ray,
Apptainer and Python; the fault of verl's own script, run the same way, shows."""

import re
import shutil
import subprocess
import sys

import pytest

from lab import cache, machine
from tests.e2e.slurm_cluster import SlurmCluster
from verl_provision.cli import main

pytestmark = pytest.mark.e2e

NVIDIA = ["--gpu", "H100", "--driver", "580", "--want", "verl_image=vllm024", "--want", "verl_version=0.9.0"]
SOURCE = ["--gpu", "H100", "--driver", "580", "--set", "runner=source"]
AMD = ["--gpu", "MI300X"]
VISIBLE = "HIP=${HIP_VISIBLE_DEVICES-unset} ROCR=${ROCR_VISIBLE_DEVICES-unset} CUDA=${CUDA_VISIBLE_DEVICES-unset}"
SAID = f'echo "$SLURMD_NODENAME $(basename "$0") {VISIBLE} $*" >>/out/said\n'
RAY = SAID + "while :; do read -rt 1 <> <(:) || :; done"


@pytest.fixture
def cluster(tmp_path):
    """A Slurm whose shared folder has what a site's has."""
    made = SlurmCluster(tmp_path)
    for name in ("vllm024.sif", "vllm024.sqsh", "rocm7.14_torch2.12_release_0724.sif"):
        (made.shared / "images").mkdir(exist_ok=True)
        (made.shared / "images" / name).touch()
    (made.shared / "verl/src/verl").mkdir(parents=True)
    (made.shared / "verl/src/verl/__init__.py").touch()
    made.stand_in("ray", RAY)
    made.stand_in("apptainer", 'while [ "${1##*.}" != sif ]; do shift; done\nshift\nexec "$@"')
    made.stand_in("python3", SAID + '[ "$1" != -c ] || exit "${READY:-0}"\nexit "${STATUS:-0}"')
    return made


def render(cluster, *words, nodes=2):
    assert main(["render", "slurm", "--want", f"verl_nnodes={nodes}", "-o", str(cluster.shared / "job"), *words]) == 0


def submit(cluster, before=""):
    """Run the job to its end: its exit status, what Slurm says of it, its log, and what the stand-ins were told."""
    done = cluster.run(
        f"cd /shared/job; {before} sbatch --wait job.sbatch; echo status=$?\n"
        "scontrol show job 1 | grep -o 'JobState=[A-Z]*'; cat *.log; ls -A /tmp /shared >/out/left"
    )
    said = cluster.out / "said"
    return done.stdout, said.read_text() if said.exists() else ""


# ---- what sbatch itself says, in a second for each


def test_sbatch_takes_every_form(cluster):
    everything = {"partition": "gpu", "gpu_type": "h100", "exclusive": "true", "time": "1-00:00:00", "memory_gb": 100}
    forms = {
        "apptainer": NVIDIA, "pyxis": [*NVIDIA, "--set", "runner=pyxis"], "source": SOURCE, "amd": AMD,
        "everything": [*NVIDIA, *(word for name, value in everything.items() for word in ("--set", f"{name}={value}"))],
    }  # fmt: skip
    for name, words in forms.items():
        assert main(["render", "slurm", "--want", "verl_nnodes=2", "-o", str(cluster.shared / name), *words]) == 0
    done = cluster.run(
        "".join(f"sbatch --test-only /shared/{name}/job.sbatch && echo {name} taken\n" for name in forms)
    )
    assert [name for name in forms if f"{name} taken" in done.stdout] == list(forms), done.stdout


def test_sbatch_refuses_every_option_that_is_mutated(cluster):
    options = (
        "partition=gpu",
        "account=a",
        "qos=q",
        "reservation=r",
        "constraint=c",
        "gpu_type=h100",
        "exclusive=true",
    )
    render(cluster, *NVIDIA, *(word for option in options for word in ("--set", option)))
    whole = (cluster.shared / "job/job.sbatch").read_text()
    lines = [line for line in whole.splitlines() if line.startswith("#SBATCH")]
    mutants = {}
    for line in lines:
        option, equals, value = line.removeprefix("#SBATCH --").partition("=")
        mutants[f"{option}-misspelt"] = whole.replace(line, f"#SBATCH --{option}x{equals}{value}")
        if option in ("nodes", "ntasks-per-node", "gpus-per-node", "cpus-per-task", "mem", "time"):
            mutants[f"{option}-type"] = whole.replace(line, f"#SBATCH --{option}=many")
        if option in ("nodes", "ntasks-per-node", "cpus-per-task", "mem", "time"):  # Slurm takes no GPUs for no wish
            mutants[f"{option}-empty"] = whole.replace(line, f"#SBATCH --{option}=")
        if option in ("partition", "gpus-per-node", "reservation", "constraint"):
            other = value.replace("h100", "h999") if option == "gpus-per-node" else "nosuch"
            mutants[f"{option}-unknown"] = whole.replace(line, f"#SBATCH --{option}={other}")
    # This Slurm has no account, QOS, reservation or feature, so those lines stay only where they are mutated.
    none = {f"#SBATCH --{option}" for option in ("account=a", "qos=q", "reservation=r", "constraint=c")}
    for name, text in {"unchanged": whole, **mutants}.items():
        kept = [line for line in text.splitlines() if line not in none]
        (cluster.shared / f"{name}.sbatch").write_text("\n".join(kept) + "\n")
    done = cluster.run(
        "cd /shared; for file in *.sbatch; do sbatch --test-only $file 2>/dev/null && echo taken $file; done"
    )
    assert len(mutants) == 29
    assert re.findall("taken (.*)", done.stdout) == ["unchanged.sbatch"]


# ---- the whole script


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "hip", "rocr", "cuda"),
    [(NVIDIA, "unset", "unset", "0,1,2,3,4,5,6,7"), (AMD, "0,1,2,3,4,5,6,7", "unset", "unset")],
)
def test_head_workers_command_in_order_and_nothing_is_left(cluster, words, hip, rocr, cuda):
    render(cluster, *words)
    output, said = submit(cluster)
    assert "status=0" in output and "JobState=COMPLETED" in output, output
    rows = said.splitlines()
    starts = sorted(row for row in rows if " ray " in row)
    assert [row.split()[0] for row in starts] == ["node1", "node2"]
    assert "--head" in starts[0] and "--address=192.0.2.1:" in starts[1] and "--node-ip-address=192.0.2.2" in starts[1]
    assert all("--num-cpus=64 --num-gpus=8" in row and "--block" in row for row in starts)
    commands = [row for row in rows if "main_ppo" in row]
    assert len(commands) == 1 and commands[0].startswith("node1 ") and rows[-1] == commands[0]
    for row in starts + commands:
        assert f"HIP={hip} ROCR={rocr} CUDA={cuda} " in row
    assert "ray-" not in (cluster.out / "left").read_text(), "token or temporary folder is left"


@pytest.mark.slow
def test_one_node_is_the_same_script(cluster):
    render(cluster, *NVIDIA, nodes=1)
    output, said = submit(cluster)
    assert "JobState=COMPLETED" in output and said.count(" ray ") == 1, output


@pytest.mark.slow
def test_the_job_ends_with_the_commands_own_status(cluster):
    render(cluster, *NVIDIA)
    output, _ = submit(cluster, "STATUS=7")
    assert "status=7" in output and "JobState=FAILED" in output, output
    assert "ray-" not in (cluster.out / "left").read_text()


@pytest.mark.slow
def test_a_ray_that_is_not_ready_fails_the_job_before_its_command(cluster):
    render(cluster, *NVIDIA)
    output, said = submit(cluster, "READY=3")
    assert "status=3" in output and "main_ppo" not in said, output


@pytest.mark.slow
def test_a_node_whose_ray_ends_ends_the_job(cluster):
    render(cluster, *NVIDIA)
    cluster.stand_in(
        "ray", SAID + '[ "$SLURMD_NODENAME" = node1 ] || exit 5\nwhile :; do read -rt 1 <> <(:) || :; done'
    )
    cluster.stand_in("python3", SAID + "while :; do read -rt 1 <> <(:) || :; done")
    output, _ = submit(cluster)
    assert "Ray ended on node2" in output and "JobState=FAILED" in output, output


@pytest.mark.slow
def test_what_nodes_lack_is_said_by_all_before_anything_starts(cluster):
    render(cluster, *NVIDIA)
    (cluster.shared / "images/vllm024.sif").unlink()
    (cluster.shared / "verl/src/verl/__init__.py").unlink()
    output, said = submit(cluster)
    for node in ("node1", "node2"):
        assert f"{node}: no image at /shared/images/vllm024.sif" in output
        assert f"{node}: no checkout of verl at /shared/verl/src" in output
    assert "JobState=FAILED" in output and said == ""


@pytest.mark.slow
def test_a_missing_secret_is_named_and_a_present_one_is_nowhere(cluster):
    render(cluster, *NVIDIA, "--set", "secrets=[HF_TOKEN]")
    output, _ = submit(cluster)
    assert "HF_TOKEN: is not set" in output and "JobState=FAILED" in output, output
    output, said = submit(cluster, "HF_TOKEN=canary-5f2c")
    assert "JobState=COMPLETED" in output, output
    logs = [path.read_text() for path in (*cluster.out.iterdir(), *(cluster.shared / "job").iterdir())]
    assert "canary" not in output + said + "".join(logs)


@pytest.mark.slow
def test_pyxis_is_asked_in_words_that_it_knows(cluster, tmp_path):
    """By a plug-in of Slurm's own interface with Pyxis' options; without it the job says that Pyxis is missing."""
    render(cluster, *NVIDIA, "--set", "runner=pyxis")
    output, said = submit(cluster)
    assert "this Slurm has no Pyxis" in output and said == "", output
    plugin(cluster, tmp_path)
    output, said = submit(
        cluster, "mkdir /etc/slurm/plugstack.conf.d; echo 'required /shared/pyxis.so' >/etc/slurm/plugstack.conf;"
    )
    assert "JobState=COMPLETED" in output and "container-image=/shared/images/vllm024.sqsh" in output, output
    assert "main_ppo" in said


def plugin(cluster, folder):
    """Pyxis' options as a SPANK plug-in that only says what it was given."""
    options = ["container-image", "container-mounts", "container-workdir", "no-container-mount-home"]
    rows = "".join(
        f'{{"{name}", "X", "stand-in", {int(not name.startswith("no-"))}, {i}, said}},'
        for i, name in enumerate(options)
    )
    (folder / "pyxis.c").write_text(f"""
#include <stdio.h>
#include <slurm/spank.h>
SPANK_PLUGIN(pyxis, 1);
static const char *names[] = {{{", ".join(f'"{name}"' for name in options)}}};
static int said(int value, const char *given, int remote) {{
    if (!remote) fprintf(stderr, "%s=%s\\n", names[value], given ? given : "");
    return 0;
}}
static struct spank_option options[] = {{{rows} SPANK_OPTIONS_TABLE_END}};
int slurm_spank_init(spank_t spank, int count, char **words) {{
    for (int i = 0; options[i].name; i++) spank_option_register(spank, &options[i]);
    return 0;
}}
""")
    for package in ("libslurm-dev", "slurm-wlm-basic-plugins-dev"):  # which of them has the header changed
        subprocess.run(["apt-get", "download", "-q", package], cwd=folder, check=True, capture_output=True)
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, folder / "dev"], check=True)
    (header,) = (folder / "dev").rglob("spank.h")
    out = cluster.shared / "pyxis.so"
    compiler = machine.need("gcc", "gcc")
    subprocess.run(
        [compiler, "-shared", "-fPIC", f"-I{header.parent.parent}", "-o", out, folder / "pyxis.c"], check=True
    )


# ---- the real Ray

RAY_VERSION = "2.54.1"
CHECK = """
import os, subprocess, ray
ray.init()
nodes = [node for node in ray.nodes() if node["Alive"]]
@ray.remote(num_gpus=8, scheduling_strategy="SPREAD")
def there():
    import time
    time.sleep(5)  # so that no node takes both
    return ray.util.get_node_ip_address(), ",".join(sorted(os.environ["CUDA_VISIBLE_DEVICES"].split(",")))
print("verified", sorted(ray.get([there.remote() for _ in nodes])), int(ray.cluster_resources()["CPU"]))
stranger = {**os.environ, "RAY_AUTH_TOKEN": "f" * 64}
del stranger["RAY_AUTH_TOKEN_PATH"]
print("stranger", subprocess.run(["ray", "status"], env=stranger, capture_output=True).returncode)
"""


def wheels():
    """Ray and what it needs, from this machine's package index."""

    def build(folder):
        pip = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--dest",
            folder / "wheels",
            f"ray[default]=={RAY_VERSION}",
        ]
        subprocess.run(pip, check=True, capture_output=True)

    return cache.step("ray-wheels", [RAY_VERSION, sys.version_info[:2]], build) / "wheels"


@pytest.mark.slow
def test_the_real_ray_has_all_nodes_and_takes_no_stranger(cluster):
    """From an environment of its own in the shared folder, as runner `source` finds it; its GPUs are Slurm's."""
    shutil.copytree(wheels(), cluster.shared / "wheels")
    made = cluster.run(
        "/usr/bin/python3 -m venv /shared/verl/env && /shared/verl/env/bin/pip install -q --no-index "
        f"--find-links /shared/wheels 'ray[default]=={RAY_VERSION}' && echo made",
        timeout=900,
    )
    assert "made" in made.stdout, made.stdout
    (cluster.shared / "check.py").write_text(CHECK)
    render(cluster, *SOURCE, "--set", "cpus=2", "--command", "python3", "/shared/check.py")
    output, said = submit(cluster)
    assert "Ray is ready: 2 of 2 nodes have 8 GPUs" in output and "JobState=COMPLETED" in output, output
    every = "0,1,2,3,4,5,6,7"
    assert f"verified [('192.0.2.1', '{every}'), ('192.0.2.2', '{every}')] 4" in output, output
    assert re.search("stranger [1-9]", output), output
    assert said == "", "no stand-in was called"
    assert "ray-" not in (cluster.out / "left").read_text()


# ---- what verl's own script does, in our words


@pytest.mark.slow
def test_verls_fault_shows_here_and_ends_as_completed(cluster):
    """All names in one array element, and a pipe that hides the failure (verl #548)."""
    script = (
        "#!/bin/bash\n#SBATCH --nodes=2\n#SBATCH --gpus-per-node=8\n"
        'names=$(scontrol show hostnames "$SLURM_JOB_NODELIST")\nall=("$names")\n'
        'srun --nodes=1 --ntasks=1 -w "${all[0]}" ray start 2>&1 | tee /out/demo.log\n'
    )
    (cluster.shared / "job").mkdir()
    (cluster.shared / "job/job.sbatch").write_text(script)
    output, said = submit(cluster)
    assert "status=0" in output and "JobState=COMPLETED" in output
    assert "Requested node configuration is not available" in (cluster.out / "demo.log").read_text()
    assert said == "", "no Ray was started, and Slurm says that all is well"
