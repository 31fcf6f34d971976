"""A run's files, as the role run_report writes them."""

import importlib.util
import json
import os
from pathlib import Path

PLUGIN = Path(__file__).resolve().parents[3] / "action_plugins/verl_report_files.py"
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
