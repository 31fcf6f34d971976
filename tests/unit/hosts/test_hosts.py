"""Every machine of the corpus is read, and gets the plan that its file expects."""

import json
import os

import jsonschema
import pytest

from tests.unit.facts.recorded import SCHEMA
from tests.unit.facts.recordings import RECORDINGS
from tests.unit.hosts import corpus

VALIDATOR = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))


@pytest.mark.parametrize("name", corpus.NAMES)
def test_a_machine(name, tmp_path):
    about = corpus.document(name)
    found = corpus.facts(about, tmp_path)
    assert [f"{'/'.join(map(str, error.path))}: {error.message}" for error in VALIDATOR.iter_errors(found)] == []
    decided = corpus.planned(about, found)
    if os.environ.get("VERL_UPDATE_FACTS"):
        path = RECORDINGS / f"{name}.yml"
        text = path.read_text()
        start = text.index("plan: ")
        path.write_text(
            f"{text[:start]}plan: {json.dumps(corpus.line(decided))}\n{text[text.index(chr(10), start) + 1 :]}"
        )
    assert corpus.line(decided) == corpus.document(name)["plan"]
    if "uses" in about:
        used = [f"GPU-{number:08d}" for number in about["uses"]]
        assert decided["expected"]["gpu_uuids"] == used and decided["expected"]["gpus"] == len(used)
        assert decided["steps"]["training_container"]["args"]["gpu_ids"] == used
    said = corpus.said(decided).lower()
    assert [word for word in about.get("says", []) if word.lower() not in said] == []
    assert [word for word in about.get("never", []) if word.lower() in said] == []
