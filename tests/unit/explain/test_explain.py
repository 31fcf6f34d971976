"""`verl-provision explain`: the command line's contract, and what a person reads."""

import json
from pathlib import Path

import jsonschema
import pytest

from tests.unit.decide.machines import RECORDED, ROOT
from verl_provision.cli import main
from verl_provision.docs import decision_table, seed_table

SNAPSHOTS = Path(__file__).parent / "snapshots"


def explain(capsys, *args):
    status = main(["explain", *args])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize(
    ("args", "status"),
    [
        (["--gpu", "H100", "--driver", "580.65.06"], 0),
        (["--gpu", "H100", "--driver", "470.256.02"], 1),
        (["--gpu", "MI300X"], 1),
        (["--no-docker"], 0),
        (["--facts", str(RECORDED / "no_gpu.json")], 0),
        (["--facts", str(RECORDED / "mismatch.json")], 1),
        (["--gpu", "H100", "--driver", "580.65.06", "--want", "verl_engine=vlm"], 2),
        (["--gpu", "H100", "--driver", "580.65.06", "--want", "verl_enigne=vllm"], 2),
        (["--gpu", "H100", "--driver", "580.65.06", "--want", "engine=vllm"], 2),
        (["--gpu", "H100", "--driver", "580.65.06", "--want", "verl_engine"], 2),
        (["--gpu", "Voodoo"], 2),
        (["--driver", "580"], 2),
        (["--gpu", "H100", "--driver", "new"], 2),
        (["--facts", "/nowhere.json"], 2),
        (["--facts", str(ROOT / "README.md")], 2),
        (["--facts", str(RECORDED / "no_gpu.json"), "--gpu", "H100"], 2),
        ([], 2),
    ],
)
def test_exit_status(capsys, args, status):
    found, out, err = explain(capsys, *args)
    assert found == status
    assert bool(err) == (status == 2 and not out)


@pytest.mark.parametrize("args", [["--gpu-count", "0"], ["--arch", "sparc"], ["--gpu-count", "x"], ["--frobnicate"]])
def test_bad_usage_that_argparse_sees(args):
    with pytest.raises(SystemExit) as stopped:
        main(["explain", *args])
    assert stopped.value.code == 2


def test_json_is_the_plan_of_one_host(capsys):
    _, out, _ = explain(capsys, "--gpu", "H100", "--driver", "550.163.01", "--json")
    planned = json.loads(out)
    schema = json.loads((ROOT / "catalog" / "schema" / "plan.json").read_text())
    whole = {"$defs": schema["$defs"], "$ref": "#/$defs/host_alone"}
    jsonschema.Draft202012Validator(whole).validate(planned)
    assert planned["rejected"]


def test_wants_are_repeatable(capsys):
    _, out, _ = explain(
        capsys, "--gpu", "h100", "--driver", "550", "--json", "--want", "verl_version=0.4.1",
        "--want", "verl_scenario=large_model", "--gpu-count", "4",
    )  # fmt: skip
    planned = json.loads(out)
    assert (planned["verl_version"], planned["image"]["id"]) == ("0.4.1", "mcore0121-deepseekv3")
    assert planned["expected"]["gpus"] == 4


def test_facts_may_be_the_modules_whole_result(capsys, tmp_path):
    path = tmp_path / "result.json"
    path.write_text(json.dumps({"changed": False, "facts": json.loads((RECORDED / "h100x8_580.json").read_text())}))
    assert explain(capsys, "--facts", str(path))[0] == 0


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("h100_550", ["--gpu", "H100", "--driver", "550.163.01"]),
        ("h100_470", ["--gpu", "H100", "--driver", "470.256.02"]),
        ("no_gpu", ["--facts", str(RECORDED / "no_gpu.json")]),
        ("no_docker", ["--gpu", "H100", "--driver", "580.65.06", "--no-docker", "--no-sudo"]),
    ],
)
def test_what_a_person_reads(capsys, name, args, request):
    _, out, _ = explain(capsys, *args)
    path = SNAPSHOTS / f"{name}.txt"
    assert path.read_text() == out, f"if the new text is right: verl-provision explain ... > {path.relative_to(ROOT)}"


def test_the_decision_table_is_true_and_large_enough():
    assert (ROOT / "docs" / "decision-table.md").read_text() == decision_table.page(), "run: make docs"
    assert len(decision_table.GPUS) >= 12
    assert len(decision_table.DRIVERS) >= 8
    assert len(decision_table.REQUESTS) >= 3


def test_the_write_ups_table_is_the_one_that_is_tested():
    for path, text in seed_table.pages(ROOT).items():
        assert path.read_text() == text, "run: make docs"
