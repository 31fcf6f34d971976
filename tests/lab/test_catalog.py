"""`verl-provision catalog check` against a real registry: what is there, and what went away."""

import json

import pytest

from lab import faults, network, settings
from verl_provision.cli import main

pytestmark = pytest.mark.lab

IMAGE = "vllm024"


def check(*arguments):
    """Run the command against the lab's registry, with the lab's overlay; its exit status."""
    lab = ["--registry", f"http://{network.registry()}", "--extra", str(settings.OVERLAY)]
    return main(["catalog", "check", *lab, "--json", *arguments])


def test_every_stand_in_is_found_with_the_digest_of_the_overlay(capsys):
    ids = [IMAGE, "sgl0512", "mcore0121-deepseekv3", "hiyouga-vllm084-fi022", "ocss884-sgl046p5"]
    assert check(*(part for name in ids for part in ("--only", name))) == 0
    images = {image["id"]: image for image in json.loads(capsys.readouterr().out)["images"]}
    assert {name: images[name]["state"] for name in ids} == dict.fromkeys(ids, "same")
    assert all("linux/amd64" in images[name]["platforms"] for name in ids)
    assert all(images[name]["labels"]["verl-provision.lab"] == "1" for name in ids)


def test_a_tag_that_went_away_is_reported(capsys):
    with faults.tag_missing("verlai/verl:vllm024.latest"):
        assert check("--only", IMAGE) == 1
    (image,) = json.loads(capsys.readouterr().out)["images"]
    assert image["state"] == "missing"
    assert image["fix"]
