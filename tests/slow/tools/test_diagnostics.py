"""tools.diagnostics: it runs from its one command, and its tables are those of its stored
results."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tools.diagnostics import __main__ as command

FOLDER = Path(command.__file__).parent


@pytest.mark.tensorflow
def test_a_trial(tmp_path):
    result = CliRunner().invoke(
        command.main, ["--backend", "torch", "--trial", "--output", str(tmp_path)]
    )
    assert result.exit_code == 0, result.output
    (found,) = json.loads((tmp_path / "results.json").read_text())
    assert found["backend"] == "torch"
    assert set(found["ratios"]) > {"predict", "units"}
    assert all(value > 0 for value in found["record"].values())
    assert "| torch |" in (tmp_path / "RESULTS.md").read_text()


def test_the_stored_table_is_of_the_stored_results():
    """RESULTS.md is what the report makes of results.json, so neither was edited by hand."""
    assert (FOLDER / "RESULTS.md").read_text() == command.markdown(
        json.loads((FOLDER / "results.json").read_text())
    )
