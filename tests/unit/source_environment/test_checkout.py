"""verl from its checkout, and by its own script: what is refused, and what is read without git."""

import pytest
from ansible.module_utils.verl_source import checkout, script

from .source_tree import git, write_source

DOES_NOTHING = "echo 'Successfully installed all packages'\n"


def test_without_a_checkout_the_next_step_is_named(begun):
    refused = begun.run(method="git")
    assert refused["failed"]
    assert f"there is no checkout of verl at {begun.prefix}/src" in refused["msg"]
    assert "verl_checkout" in refused["fix"]


def test_a_script_that_installs_nothing_is_refused_with_what_is_missing(begun):
    write_source(begun.prefix / "src", script=DOES_NOTHING)
    refused = begun.run(method="script", trainer="megatron", engine="sglang")
    assert refused["failed"]
    assert refused["stage"] == "script"
    assert "ended with exit status 0, but has not installed: accelerate, codetiming" in refused["msg"]
    for name in ("torch", "vllm", "sglang", "megatron-core", "transformer-engine", "flash-attn"):
        assert name in refused["msg"]
    assert not (begun.state / "source_environment.json").exists()


@pytest.mark.parametrize(("memory", "cpus", "jobs"), [(2000, 64, 64), (120, 64, 15), (16, 64, 2), (4, 8, 1), (0, 1, 1)])
def test_compilers_are_as_many_as_memory_allows(memory, cpus, jobs):
    assert script.max_jobs(memory, cpus) == jobs


def test_the_commit_is_read_without_git(tmp_path):
    assert checkout.head(str(tmp_path)) is None
    commit = write_source(tmp_path)
    assert checkout.head(str(tmp_path)) == commit
    git(tmp_path, "pack-refs", "--all")
    assert checkout.head(str(tmp_path)) == commit
    git(tmp_path, "checkout", "-q", "--detach")
    assert checkout.head(str(tmp_path)) == commit
