"""The lines that the action plugin shows while a build runs."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
spec = importlib.util.spec_from_file_location("progress_plugin", ROOT / "action_plugins/verl_source_environment.py")
plugin = importlib.util.module_from_spec(spec)
spec.loader.exec_module(plugin)


def test_a_line_says_how_long_where_and_what():
    line = plugin.progress_line(
        {"elapsed": 83, "stage": "torch", "fetched_mb": 1180, "line": "Downloading torch-2.11.0.whl (506.1 MB)"}
    )
    assert line == "1:23  stage torch, 1180 MB fetched: Downloading torch-2.11.0.whl (506.1 MB)"


def test_a_line_is_short_and_bears_missing_parts():
    assert plugin.progress_line({"stage": None, "line": ""}) == "0:00  stage start"
    assert len(plugin.progress_line({"stage": "verl", "line": "x" * 900})) < 160
