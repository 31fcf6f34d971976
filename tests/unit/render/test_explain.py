"""Each line says where it comes from, and no more lines change than say so."""

import pytest

from verl_provision.render import TARGETS, files, site

CHANGED = {
    "name": "other", "gpus": 4, "image_digest": "sha256:" + "b" * 64, "shared": "/elsewhere", "checkout": "/my/verl",
    "interface": "ib0", "env": {"NCCL_DEBUG": "INFO"}, "secrets": ["HF_TOKEN"], "deadline": 77, "cpus": 5,
    "memory_gb": 99, "shm_gb": 9, "runner": "pyxis", "image_file": "/my/image", "environment": "/my/env",
    "partition": "big", "account": "us", "qos": "high", "reservation": "mine", "constraint": "h100", "gpu_type": "h100",
    "time": "1:00:00", "exclusive": True, "kind": "RayCluster", "namespace": "ml", "claim": "mine",
    "operator_version": "1.6.0", "ray_version": "2.54.0", "working_dir": "https://a.example/b.zip",
    "scheduler": "volcano", "queue": "mine", "node_selector": {"a": "b"}, "taint": "a.example/b",
    "rdma": "rdma/hca", "infra": "k8s", "fleet": "mine", "volume": "mine",
}  # fmt: skip
NEEDED = {"kuberay": {"ray_version": "2.53.0"}}  # of every render here
WITH = {
    "environment": {"runner": "source"},
    "queue": {"scheduler": "volcano"},
    "scheduler": {"scheduler": "kueue", "queue": "mine"},
}
WHOLE = {
    "runner",
    "kind",
    "working_dir",
    "scheduler",
    "operator_version",
}  # choose between forms: many lines, by design
CASES = [(target, name) for name, about in site.entries().items() for target in about["targets"] if target in TARGETS]


def manifest(made, target, **given):
    return next(
        iter(made(target, nodes=1 if target == "compose" else 2, **{**NEEDED.get(target, {}), **given}).values())
    )


def test_every_variable_is_tried():
    assert set(CHANGED) == set(site.entries())


@pytest.mark.parametrize(("target", "name"), CASES)
def test_a_variable_changes_the_manifest_where_it_says_so(made, target, name):
    before = manifest(made, target, **WITH.get(name, {}))
    after = manifest(made, target, **{**WITH.get(name, {}), name: CHANGED[name]})
    assert files.text(before) != files.text(after), f"{target} does not read {name}"
    if name not in WHOLE:
        known = {line for line, _ in before}
        new = [(line, said) for line, said in after if line not in known]
        assert all(said for line, said in new if line.strip()), [line for line, said in new if not said]
