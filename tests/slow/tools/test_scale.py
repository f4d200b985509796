"""tools.scale: a file of many layers is loaded, converted and saved under Python's ordinary
recursion limit, and measured."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tools.scale import __main__ as command

ROOT = Path(__file__).parents[3]


@pytest.mark.tensorflow
def test_deeper_than_python_recurses():
    program = [sys.executable, "-m", "tools.scale.measure", "depth", "1200"]
    result = subprocess.run(
        program, capture_output=True, text=True, timeout=300, check=False, cwd=ROOT
    )
    assert result.returncode == 0, result.stderr
    seconds = json.loads(result.stdout)
    assert set(seconds) == {"load", "convert", "save"}
    assert all(value > 0 for value in seconds.values())


def test_the_table():
    depths = {
        1000: [{"load": 1.0, "convert": 2.0, "save": 1.0}],
        4000: [{"load": 4.0, "convert": 8.0, "save": 4.0}],
    }
    memory = {
        ("torch", "VGG16"): {
            "weights": 553.4,
            "load": 3.0,
            "loaded": 1.0,
            "convert": 2.0,
            "save": 3.5,
        }
    }
    text = command._markdown(depths, {"low": 1.0, "median": 1.1, "high": 1.2}, memory)
    assert "| 4,000 | 4.00 | 8.00 | 4.00 | 16.00 | 4.00 |" in text
    assert "**1.10** (quartiles 1.00 to 1.20)" in text
    assert "| torch | VGG16 | 553 | 3.00 | 1.00 | 2.00 | 3.50 |" in text


def test_the_stored_results_meet_what_is_promised():
    rows = [
        line
        for line in (ROOT / "tools" / "scale" / "RESULTS.md").read_text().splitlines()
        if line.startswith("| 4,000")
    ]
    assert float(rows[0].split("|")[-2]) <= 4.6
