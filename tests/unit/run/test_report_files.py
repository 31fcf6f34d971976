"""A run's files, as the role run_report writes them."""

import importlib.util
import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from verl_provision.report import latest

ROOT = Path(__file__).resolve().parents[3]
PLUGIN = ROOT / "action_plugins/verl_report_files.py"
spec = importlib.util.spec_from_file_location("verl_report_files", PLUGIN)
plugin = importlib.util.module_from_spec(spec)
spec.loader.exec_module(plugin)


def test_documents_views_and_latest(tmp_path):
    for run in ("one", "two"):
        place = plugin.write_all(tmp_path / "reports", run, {"report.json": {"run": run}}, {"report.md": f"# {run}"})
        assert json.loads((place / "report.json").read_text()) == {"run": run}
    assert os.readlink(tmp_path / "reports/latest") == "two"
    assert sorted(path.name for path in (tmp_path / "reports/latest/").iterdir()) == ["report.json", "report.md"]
    assert (tmp_path / "reports/one/report.md").read_text() == "# one"
    assert (tmp_path / "reports/two/report.md").stat().st_mode & 0o777 == 0o644


def begun(second, of=6):
    """The ids of runs that began in one second, as the playbook makes them."""
    about = yaml.safe_load((ROOT / "playbooks/tasks/load_inputs.yml").read_text())[0]["vars"]
    templar = Templar(loader=DataLoader(), variables={"__verl_unique": trust_as_template(about["__verl_unique"])})
    templar.environment.globals["now"] = lambda utc: second
    return [templar.template(trust_as_template("{{ __verl_unique }}")) for _ in range(of)]


def test_runs_of_one_second_keep_their_reports(tmp_path):
    ids = begun(datetime(2026, 11, 30, 22, 15, 7))
    assert all(latest.RUN.fullmatch(run) for run in ids), ids
    with ThreadPoolExecutor(len(ids)) as pool:
        list(pool.map(lambda run: plugin.write_all(tmp_path, run, {"report.json": {"run": run}}, {}), ids))
    assert sorted(latest.runs(tmp_path)) == sorted(set(ids))
    assert len(set(ids)) == 6
    assert os.readlink(tmp_path / "latest") in ids
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_two_at_once_write_one_file_whole(tmp_path):
    texts = [letter * 200_000 for letter in "abcdef"]
    with ThreadPoolExecutor(len(texts)) as pool:
        for _ in range(10):
            list(pool.map(lambda text: plugin.files.write(str(tmp_path / "file"), text), texts))
            assert (tmp_path / "file").read_text() in texts
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_last_runs_stay_and_those_that_links_point_to(tmp_path):
    def write(number, keep=3):
        plugin.write_all(tmp_path, f"20261130T2215{number:02}Z-0000ab", {"report.json": {}}, {}, keep)

    foreign = ["notes", "20261130", "20251130T221507Z.kept", "zzz"]
    for name in foreign:
        (tmp_path / name).mkdir()
    (tmp_path / "20201130T000000Z").mkdir()  # of 0.1.0, and left unfinished
    write(1, keep=0)
    assert (tmp_path / "20201130T000000Z").exists(), "0 keeps all"
    (tmp_path / "before-the-upgrade").symlink_to("20261130T221501Z-0000ab")
    for number in range(2, 9):
        write(number)
    left = {path.name for path in tmp_path.iterdir() if not path.is_symlink()} - set(foreign)
    assert sorted(name[13:15] for name in left) == ["01", "06", "07", "08"]
    assert all((tmp_path / name).is_dir() for name in foreign)
    write(1)  # a run that took long: the oldest, and this very one
    assert (tmp_path / "latest").resolve().name == "20261130T221501Z-0000ab"


def test_json_has_no_nan(tmp_path):
    place = plugin.write_all(tmp_path, "one", {"report.json": {"a": [float("nan"), float("-inf")], "b": 1.5}}, {})

    def refuse(constant):
        raise AssertionError(constant)

    found = json.loads((place / "report.json").read_text(), parse_constant=refuse)
    assert found == {"a": ["NaN", "-Infinity"], "b": 1.5}
