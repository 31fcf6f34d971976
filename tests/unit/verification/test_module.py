"""The module: the right command line, a judged result, and the stamp of a pass."""

import json
import os
import subprocess
import sys

import pytest

from .conftest import ROOT, valid, whole

RUNNER = """
import json, runpy, sys
import ansible.module_utils
ansible.module_utils.__path__.append(sys.argv[1])
from ansible.module_utils.testing import patch_module_args
with patch_module_args(json.loads(sys.argv[3])):
    runpy.run_path(sys.argv[2], run_name="__main__")
"""
EXPECTED = {"profile": "cpu", "verl_version": "0.9.1"}


@pytest.fixture
def module(place, tmp_path):
    """Runs the module; the prefix's python sees the fake packages."""
    python = tmp_path / "verl/env/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexport PYTHONPATH={place.site}\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)

    def run(check=False, **options):
        arguments = {
            "state_dir": str(tmp_path / "state"),
            "prefix": str(tmp_path / "verl"),
            "script": whole(),
            "expected": EXPECTED,
            **options,
            "_ansible_check_mode": check,
            "_ansible_remote_tmp": str(tmp_path),
        }
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                RUNNER,
                ROOT / "module_utils",
                ROOT / "library/verl_verify.py",
                json.dumps(arguments),
            ],
            capture_output=True,
            text=True,
            env={**os.environ, "PATH": f"{place.bin}:/usr/bin:/bin"},
        )
        assert done.stdout, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    run.stamp = tmp_path / "state/verification.json"
    run.python = python
    return run


def keep(result):
    return {name: result[name] for name in ("passed", "checks", "versions", "reached")}


def test_a_pass_is_remembered_and_recalled_by_its_key(module):
    assert module(action="recall")["verified"] is False
    result = module()
    assert result["passed"] is True
    assert result["changed"] is False
    assert not module.stamp.exists()
    remembered = module(action="remember", result=keep(result))
    assert remembered["changed"] is True
    stamp = valid(json.loads(module.stamp.read_text()), "stamp")
    assert stamp["passed_at"] == remembered["stamp"]["passed_at"]
    assert "import.engine" in stamp["skipped"]
    assert module(action="recall")["verified"] is True
    assert module(action="recall", expected={"profile": "cpu"})["verified"] is False
    assert module(action="recall", key="another")["verified"] is False


def test_a_lower_levels_pass_does_not_count_for_a_higher_one(module):
    module(action="remember", key="k", result=keep(module()))
    assert module(action="recall", key="k")["verified"] is True
    assert module(action="recall", key="k", level="devices")["verified"] is False


@pytest.mark.parametrize(
    ("passed", "wanted", "counts"),
    [
        ("train", "gpu", True),
        ("train", "collective", False),
        ("collective", "gpu", True),
        ("collective", "engine", False),
        ("collective", "collective", True),
    ],
)
def test_collective_stands_beside_the_ladder(module, passed, wanted, counts):
    module(action="remember", key="k", level=passed, result={**keep(module()), "reached": passed})
    assert module(action="recall", key="k", level=wanted)["verified"] is counts


def test_a_failure_ends_an_earlier_pass(module):
    module(action="remember", key="k", result=keep(module()))
    failed = module(expected={"profile": "cpu", "verl_version": "0.8.0"})
    assert failed["passed"] is False
    assert "source_environment.json, then run the site playbook again" in failed["checks"][-1]["fix"]
    assert module(action="remember", key="k", result=keep(failed))["changed"] is True
    assert not module.stamp.exists()
    assert module(action="remember", key="k", result=keep(failed))["changed"] is False


def test_check_mode_runs_nothing_and_judges_nothing(module):
    module.python.write_text("#!/bin/sh\ntouch $0.ran\n")
    result = module(check=True)
    assert result["passed"] is None
    assert result["checks"] == []
    assert not module.python.with_name("python.ran").exists()


def test_a_container_is_entered_by_its_engines_command_line(module, place, tmp_path):
    place.command("docker", f'echo "$@" > {tmp_path}/said\nshift 5\nexec env PYTHONPATH={place.site} "$@"')
    result = module(backend="docker", container="verl", workdir="/workspace/verl")
    assert result["passed"] is True
    said = (tmp_path / "said").read_text()
    assert said.startswith("exec -i -w /workspace/verl verl python3 - {")


def test_rays_token_reaches_the_container_by_its_environment_alone(module, place, tmp_path):
    (tmp_path / "token").write_text("s3cret\n")
    place.command("docker", f'echo "$@ env=$VERL_VERIFY_RAY_TOKEN" > {tmp_path}/said')
    module(backend="docker", ray_token=str(tmp_path / "token"))
    said, given = (tmp_path / "said").read_text().split(" env=")
    assert said.startswith("exec -i -e VERL_VERIFY_RAY_TOKEN verl python3 - {")
    assert ("s3cret" in said, given.strip()) == (False, "s3cret")


def test_another_engine_command_is_used_as_given(module, place, tmp_path):
    place.command("sudo", f'printf "%s" "$*" > {tmp_path}/said; exit 1')
    result = module(backend="docker", engine_command=["sudo", "-n", "docker"])
    assert (tmp_path / "said").read_text().startswith("-n docker exec -i verl python3 - {")
    assert result["passed"] is False


@pytest.mark.parametrize(
    ("options", "python", "found"),
    [
        ({"prefix": "/nonexistent"}, None, "there is no /nonexistent/env/bin/python"),
        ({"backend": "podman", "engine_command": ["no-such-engine"]}, None, "there is no no-such-engine"),
        ({}, "echo 'No such container: verl' >&2; exit 1", "exit status 1: No such container: verl"),
        ({}, "exit 0", "exit status 0: no output"),
        ({"timeout": 1}, "exec sleep 30", "no end within 1 s"),
    ],
)
def test_a_script_that_gives_no_result_is_one_failed_check(module, options, python, found):
    if python:
        module.python.write_text(f"#!/bin/sh\n{python}\n")
    result = module(**options)
    assert result["passed"] is False
    (check,) = result["checks"]
    valid(check, "check")
    assert check["id"] == "verify.run"
    assert found in check["found"]
    assert check["fix"]


def test_nothing_but_skips_is_no_pass(module):
    module.python.write_text(
        "#!/bin/sh\necho 'verl-verify-result: "
        '{"checks": [{"id": "devices.count", "ok": null, "found": "skipped: no GPU", "needed": null, "fix": null, '
        '"seconds": 0}], "versions": {}, "level": "devices", "reached": null, "passed": false}\'\n'
    )
    assert module(level="devices")["passed"] is False
