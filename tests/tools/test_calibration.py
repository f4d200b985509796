"""tools.calibration: it runs from its one command, and its tables are those of its stored results."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tools.calibration import __main__ as command
from tools.calibration.measure import Cost, Kept
from tools.calibration.report import markdown

FOLDER = Path(command.__file__).parent


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")  # scikit-learn's and Keras's, about training
def test_a_small_part(tmp_path):
    result = CliRunner().invoke(command.main, ["--only", "diabetes", "--seeds", "1", "--depth", "2", "--output", str(tmp_path)])
    assert result.exit_code == 0, result.output
    records = json.loads((tmp_path / "results.json").read_text())
    errors = {record["rescale"]: record["error"] for record in records["kept"]}
    assert set(errors) == {"none", "analytic", "moments", "calibrated"}
    assert errors["calibrated"] < 0.1 * errors["none"]
    assert records["cost"][0]["predictions"] > 1
    assert "| diabetes regression |" in (tmp_path / "RESULTS.md").read_text()


@pytest.mark.tensorflow
def test_the_stored_table_is_of_the_stored_results():
    """RESULTS.md is what the report makes of results.json, so neither was edited by hand; versions are those of the run."""
    records = json.loads((FOLDER / "results.json").read_text())
    found, costs = [Kept(**record) for record in records["kept"]], [Cost(**record) for record in records["cost"]]
    assert len({(item.task, item.seed) for item in found}) == 30
    assert rows(markdown(found, costs)) == rows((FOLDER / "RESULTS.md").read_text())


def rows(text):
    return [line for line in text.splitlines() if line.startswith(("|", "Time"))]
