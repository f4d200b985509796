"""`python -m tools.large_data`: it runs, and each way reads every image."""

import json

import pytest
from click.testing import CliRunner

from tools.large_data.__main__ import main
from tools.large_data.planning import main as plan
from tools.large_data.worker import WAYS


@pytest.mark.tensorflow
def test_a_trial(tmp_path):
    pytest.importorskip("array_record")
    result = CliRunner().invoke(main, ["--trial", "--output", str(tmp_path)])
    assert result.exit_code == 0, result.output
    stored = json.loads((tmp_path / "results.json").read_text())
    assert [run["way"] for run in stored["runs"]] == list(WAYS)
    assert {run["images"] for run in stored["runs"]} == {512}
    report = (tmp_path / "RESULTS.md").read_text()
    assert all(way in report for way in WAYS.values())


def test_figures_for_a_plan(tmp_path):
    pytest.importorskip("PIL")
    arguments = ["--images", "4", "--parameters", "640", "--output", str(tmp_path)]
    result = CliRunner().invoke(plan, arguments)
    assert result.exit_code == 0, result.output
    stored = json.loads((tmp_path / "planning.json").read_text())
    assert stored["decoding"]["photographs"]["bytes"] > 100_000
    assert stored["checkpoint"]["bytes"] > 4 * 4 * 640
    assert "500 × 375" in (tmp_path / "PLANNING.md").read_text()
