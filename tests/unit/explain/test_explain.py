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
        (["--gpu-count", "0"], 0),
        (["--gpu", "Z9", "--compute-capability", "9.0", "--driver", "580"], 0),
        (["--compute-capability", "7.0", "--driver", "580"], 1),
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


@pytest.mark.parametrize(
    "args",
    [
        ["--gpu-count", "-1"],
        ["--arch", "sparc"],
        ["--gpu-count", "x"],
        ["--frobnicate"],
        ["--disk-gb", "-1"],
        ["--disk-gb", "nan"],
        ["--compute-capability", "nine"],
    ],
)
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


def test_zero_gpus_are_a_machine_without_gpu(capsys):
    for args in (["--gpu-count", "0"], ["--gpu", "H100", "--gpu-count", "0", "--driver", "580"]):
        planned = json.loads(explain(capsys, *args, "--json")[1])
        assert (planned["profile"], planned["backend"]) == ("cpu", "source")


@pytest.mark.parametrize(
    ("args", "backend"),
    [
        (["--no-docker", "--podman"], "podman"),
        (["--no-docker", "--apptainer"], "apptainer"),
        (["--no-docker", "--no-sudo"], "source"),
        (["--podman", "--apptainer"], "docker"),
    ],
)
def test_engines_by_flag(capsys, args, backend):
    out = explain(capsys, "--gpu", "H100", "--driver", "580.95.05", *args, "--json")[1]
    assert json.loads(out)["backend"] == backend


def test_the_disk_by_flag(capsys):
    status, out, _ = explain(capsys, "--gpu", "H100", "--driver", "580.95.05", "--disk-gb", "5")
    assert status == 1 and "5.0 GB free" in out


def test_a_compute_capability_decides_for_a_gpu_that_nobody_knows(capsys):
    machine = ["--driver", "580.95.05", "--json"]
    known = json.loads(explain(capsys, "--gpu", "H100", *machine)[1])
    for name in (["--gpu", "Z9000"], []):
        planned = json.loads(explain(capsys, *name, "--compute-capability", "9.0", *machine)[1])
        assert planned["image"] == known["image"]


@pytest.mark.parametrize(
    "args",
    [
        ["--gpu", "H100", "--driver", "550.163.01"],
        ["--gpu", "MI300X"],
        ["--gpu-count", "0"],
        ["--gpu", "H100", "--driver", "580.95.05", "--no-docker", "--podman", "--apptainer", "--disk-gb", "80"],
        ["--compute-capability", "12.0", "--driver", "580.95.05", "--no-sudo"],
    ],
)
def test_printed_facts_come_back_as_the_same_machine(capsys, tmp_path, args):
    status, facts, _ = explain(capsys, *args, "--print-facts")
    assert status == 0
    schema = json.loads((ROOT / "catalog" / "schema" / "facts.json").read_text())
    jsonschema.Draft202012Validator({**schema, "required": []}).validate(json.loads(facts))
    path = tmp_path / "facts.json"
    path.write_text(facts)
    assert explain(capsys, "--facts", str(path), "--json") == explain(capsys, *args, "--json")


SCREEN = (100, 30)  # columns, lines
MACHINES = [
    *(["--facts", str(path)] for path in sorted(RECORDED.glob("*.json"))),
    *(
        ["--gpu", gpu, "--driver", driver]
        for gpu in ("H100", "GB200", "RTX 5090", "V100", "B200")
        for driver in ("470.256.02", "535.261.03", "550.163.01", "570.124.06", "580.95.05", "595.71.05")
    ),
]


@pytest.mark.parametrize("args", MACHINES, ids=lambda args: " ".join(args[1::2]).removeprefix(f"{RECORDED}/"))
def test_an_explanation_fits_one_screen(capsys, args):
    lines = explain(capsys, *args)[1].splitlines()
    assert sum(max(1, -(-len(line) // SCREEN[0])) for line in lines) <= SCREEN[1], "\n".join(lines)
    assert "--all" in lines[-1]


def test_all_shows_the_rest(capsys):
    short = explain(capsys, "--gpu", "H100", "--driver", "470.256.02")[1]
    everything = explain(capsys, "--gpu", "H100", "--driver", "470.256.02", "--all")[1]
    planned = json.loads(explain(capsys, "--gpu", "H100", "--driver", "470.256.02", "--json")[1])
    assert all(hint["message"] in everything for hint in planned["unlocks"])
    assert "\nrejected:\n" in everything and "\nrejected:\n" not in short
    assert f"{len(planned['unlocks']) - 2} between" in short and planned["unlocks"][-1]["message"] in short


def test_a_refusal_begins_with_its_first_cause_and_says_it_once(capsys):
    out = explain(capsys, "--gpu", "GB200", "--driver", "550.163.01")[1]
    first = out.splitlines()[3]
    assert first.startswith("  - first_driver: ") and out.count("first_driver:") == 1
    assert "tensordict" not in out and "needed x86_64" not in out


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
        ("h100_550_all", ["--gpu", "H100", "--driver", "550.163.01", "--all"]),
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
