"""verl-shell as a user meets it: the rendered file, run, with an engine that writes down how it was called."""

import os
import pty
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import ansible.module_utils
import jinja2
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
ROLE = ROOT / "roles/verl_shell"
ansible.module_utils.__path__.append(str(ROOT / "module_utils"))
ENGINE = """#!/bin/sh
if [ "$1" = inspect ]; then
  echo "${RUNNING:-true}"
  exit "${INSPECT:-0}"
fi
printf '%s\\n' "$@" >"$CALLS"
while [ $# -gt 0 ]; do
  case $1 in verl | *.sif) shift; break ;; *) shift ;; esac
done
exec "$@"
"""


def rendered(path, **inputs):
    """The command as the role writes it."""
    values = yaml.safe_load((ROLE / "defaults/main.yml").read_text())
    values["verl_shell_ray_dashboard_port"] = 8265  # the cluster's, by a template
    values |= {f"verl_shell_{name}": value for name, value in inputs.items()}
    world = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    world.filters |= {
        "quote": lambda text: shlex.quote(str(text)),
        "bool": bool,
        "regex_replace": lambda text, old, new: re.sub(old, new, text),
        "ternary": lambda value, yes, no: yes if value else no,
    }
    path.write_text(world.from_string((ROLE / "templates/verl-shell.j2").read_text()).render(values))
    path.chmod(0o755)
    return path


@pytest.fixture
def bench(tmp_path):
    """Where engines are found that only write down their arguments and run the rest."""
    for name in ("docker", "podman", "apptainer", "sudo"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text('#!/bin/sh\nexec "$@"\n' if name == "sudo" else ENGINE)
        program.chmod(0o755)
    (tmp_path / "image.sif").touch()
    return tmp_path


def run(bench, *words, stdin="", **inputs):
    environment = {"PATH": f"{bench}/bin:/usr/bin:/bin", "HOME": str(bench), "CALLS": str(bench / "calls")}
    environment |= {name: inputs.pop(name) for name in ("RUNNING", "INSPECT") if name in inputs}
    command = rendered(bench / "verl-shell", **inputs)
    done = subprocess.run(
        [command, *words], input=stdin, env=environment, capture_output=True, text=True, check=False, timeout=30
    )
    calls = bench / "calls"
    return done, calls.read_text().split("\n")[:-1] if calls.exists() else None


@pytest.mark.parametrize("backend", ["docker", "podman"])
def test_a_command_runs_inside_the_container_and_its_exit_status_comes_back(bench, backend):
    done, call = run(bench, "sh", "-c", "cat; exit 7", stdin="a line", backend=backend)
    assert (done.returncode, done.stdout) == (7, "a line")
    assert call == ["exec", "-i", "-w", "/workspace/verl", "verl", "sh", "-c", "cat; exit 7"]


def test_without_a_command_a_pipe_is_read_by_a_shell(bench):
    done, call = run(bench, stdin="echo $((6 * 7))\n", backend="docker")
    assert done.stdout == "42\n"
    assert call[-1] == "bash"


def test_a_terminal_is_asked_for_only_where_there_is_one(bench):
    command = rendered(bench / "verl-shell", backend="docker")
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(PATH=f"{bench}/bin:/usr/bin:/bin", CALLS=str(bench / "calls"))
        os.execv(command, [str(command), "true"])
    try:
        while os.read(terminal, 1024):
            pass
    except OSError:
        pass
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (bench / "calls").read_text().split()[:3] == ["exec", "-i", "-t"]


def test_words_reach_the_container_as_they_were_given(bench):
    words = ["printf", "%s|", "two words", "$HOME", "quote'", ""]
    done, _call = run(bench, "--", *words, backend="docker", become=True)
    assert done.stdout == "two words|$HOME|quote'||"


def test_a_rootless_docker_is_reached_on_the_users_own_socket(bench):
    with socket.socket(socket.AF_UNIX) as own:
        own.bind(str(bench / "docker.sock"))
        environment = {"PATH": f"{bench}/bin:/usr/bin:/bin", "CALLS": str(bench / "calls"), "HOME": str(bench)}
        environment["XDG_RUNTIME_DIR"] = str(bench)
        words = [rendered(bench / "verl-shell", backend="docker"), "printenv", "DOCKER_HOST"]
        asked = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        given = {**environment, "DOCKER_HOST": "unix:///mine"}
        kept = subprocess.run(words, env=given, capture_output=True, text=True, check=False)
    # Whoever may use the system's socket (root does) stays with it.
    wanted = "" if os.access("/var/run/docker.sock", os.W_OK) else f"unix://{bench}/docker.sock\n"
    assert (asked.stdout, kept.stdout) == (wanted, "unix:///mine\n")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"RUNNING": "false"}, "container verl isn't running\nverl-shell: next: docker start verl"),
        ({"RUNNING": "Error: No such container: verl", "INSPECT": "1"}, "No such container: verl"),
        ({"command": ["no-such-engine"]}, "there is no no-such-engine on PATH"),
        ({"backend": "apptainer", "image": "/nowhere/verl.sif"}, "there is no image /nowhere/verl.sif"),
        ({"backend": "source", "prefix": "~/verl"}, "there is no environment at "),
    ],
)
def test_what_is_missing_is_said_with_the_next_command(bench, given, said):
    done, call = run(bench, "true", **{"backend": "docker", **given})
    assert done.returncode == 125
    assert said in done.stderr
    assert "verl-shell: next: " in done.stderr
    assert call is None


def test_apptainer_gets_gpus_mounts_and_the_image(bench):
    image = f"{bench}/image.sif"
    done, call = run(
        bench, "pwd", backend="apptainer", image=image, gpu=True, binds=["/home/a b/verl/src:/workspace/verl"]
    )
    assert done.returncode == 0, done.stderr
    assert call == [
        "exec", "--cleanenv", "--env", "PYTHONNOUSERSITE=1", "--env", "PYTHONPATH=/workspace/verl",
        "--pwd", "/workspace/verl", "--nv", "--bind", "/home/a b/verl/src:/workspace/verl", image, "pwd",
    ]  # fmt: skip


def test_the_source_environment_comes_first_on_the_path(bench):
    python = bench / "verl/env/bin/python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    done, _call = run(bench, "sh", "-c", "command -v python; echo $VIRTUAL_ENV; exit 3", backend="source")
    assert done.stdout.split() == [str(python), str(bench / "verl/env")]
    assert done.returncode == 3


def test_help_says_what_carries_the_environment(bench):
    done, _call = run(bench, "--help", backend="podman")
    assert done.returncode == 0
    assert "on this machine: podman" in done.stdout


@pytest.mark.parametrize("backend", ["docker", "apptainer", "source"])
def test_the_file_is_clean_for_shellcheck(bench, backend):
    command = rendered(bench / "verl-shell", backend=backend, binds=["/a b:/c"] if backend == "apptainer" else [])
    checker = Path(sys.executable).parent / "shellcheck"
    done = subprocess.run([checker, command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_key_is_where_the_facts_look_for_it(bench):
    from ansible.module_utils.verl_probes.environment import verl_shell
    from ansible.module_utils.verl_probes.host import Host

    rendered(bench / "verl-shell", key="k" * 64)
    place = bench / ".local/bin"
    place.mkdir(parents=True)
    host = Host(state_dir=str(bench), prefix=str(bench))
    assert verl_shell(host, str(bench)) is None
    (bench / "verl-shell").rename(place / "verl-shell")
    assert verl_shell(host, str(bench))["key"] == "k" * 64


def test_submit_hands_a_job_to_ray_in_its_own_container(bench):
    _done, call = run(bench, "--submit", "--no-wait", "--", "python3", "train.py", backend="docker", ray="verl-ray")
    inside = ["ray", "job", "submit", "--address", "http://127.0.0.1:8265", "--no-wait", "--", "python3", "train.py"]
    assert call == ["exec", "-i", "-w", "/workspace/verl", "verl-ray", *inside]


def test_submit_beside_the_head_says_where_it_works(bench):
    done, call = run(bench, "--submit", "--", "python3", "train.py", backend="docker")
    assert (done.returncode, call) == (125, None)
    assert "isn't the head of a Ray cluster" in done.stderr


def test_submit_from_a_source_environment_has_rays_token(bench):
    program = bench / "verl/env/bin/ray"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "$RAY_AUTH_MODE" "$RAY_AUTH_TOKEN_PATH" "$@"\n')
    program.chmod(0o755)
    (program.parent / "python").symlink_to(sys.executable)
    done, _call = run(bench, "--submit", "--", "python3", "train.py", ray="verl-ray", ray_token="/state/ray/token")
    assert done.stdout == ("token /state/ray/token job submit --address http://127.0.0.1:8265 -- python3 train.py\n"), (
        done.stderr
    )
    done, _call = run(bench, "ray", "status", ray="verl-ray", ray_token="/state/ray/token")
    assert "token" not in done.stdout
