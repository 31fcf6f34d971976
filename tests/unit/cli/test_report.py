"""`verl-provision report`: any kept run, in any form, with an exit status that says whether it was well."""

import json

import pytest

from tests.unit.report import fleets
from verl_provision.cli import main


@pytest.fixture
def kept(tmp_path):
    for name, healthy in (("20261124T090000Z", True), ("20261124T100000Z", False)):
        folder = tmp_path / name
        folder.mkdir()
        report = fleets.report(40, healthy=healthy)
        report["run"] |= {"id": name}
        report["ok"] = healthy
        (folder / "report.json").write_text(json.dumps(report))
    (tmp_path / "latest").symlink_to("20261124T100000Z")
    return tmp_path


def test_the_latest_is_shown_and_its_exit_status_says_how_it_was(kept, capsys):
    assert main(["report", "--directory", str(kept)]) == 1
    said = capsys.readouterr().out
    assert "devices.shm: /dev/shm has 64 MB" in said
    assert said.rstrip().endswith("20261124T100000Z/report.json")
    assert main(["report", "--directory", str(kept), "--run", "20261124T090000Z"]) == 0


@pytest.mark.parametrize(
    ("form", "has"), [("md", "verified -> failed"), ("html", "<!doctype html>"), ("json", '"run": {')]
)
def test_each_form(kept, capsys, form, has):
    assert main(["report", "--directory", str(kept), "--format", form]) == 1
    assert has in capsys.readouterr().out.replace("\\-", "-").replace("-&gt;", "->")


def test_runs_are_listed_and_located(kept, capsys):
    assert main(["report", "--directory", str(kept), "--list"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("20261124T090000Z  well")
    assert "not well" in second
    assert main(["report", "--directory", str(kept), "--path"]) == 0
    assert capsys.readouterr().out.strip() == str(kept / "20261124T100000Z/report.json")
    assert main(["report", "--directory", str(kept), "--path", "--format", "html"]) == 2
    assert "print it: --format html" in capsys.readouterr().err


@pytest.mark.parametrize("run", ["19990101T000000Z", "../../etc"])
def test_no_such_run_is_2(kept, capsys, run):
    assert main(["report", "--directory", str(kept), "--run", run]) == 2
    assert "--list shows what there is" in capsys.readouterr().err
    assert main(["report", "--directory", str(kept / "nothing")]) == 2


def test_a_report_of_a_newer_version_is_named_as_one(kept, capsys):
    path = kept / "20261124T100000Z/report.json"
    newer = json.loads(path.read_text()) | {"schema_version": 2, "run": {"version": "9.1.0\u202e"}}
    path.write_text(json.dumps(newer))
    for arguments in ([], ["--run", "20261124T100000Z"], ["--format", "md"], ["--path"]):
        assert main(["report", "--directory", str(kept), *arguments]) == 2
        said = capsys.readouterr().err
        assert "run 20261124T100000Z has report schema 2 of verl-provision 9.1.0\\u202e" in said
        assert "this version reads schema 1" in said
    assert main(["report", "--directory", str(kept), "--list"]) == 0
    assert "report schema 2" in capsys.readouterr().out
    path.write_text("{")
    assert main(["report", "--directory", str(kept), "--list"]) == 0
    assert "cannot be read" in capsys.readouterr().out
