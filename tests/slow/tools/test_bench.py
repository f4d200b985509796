"""tools.bench: it runs from its one command, and reports what was measured."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.bench.records import OURS, RELU, STOCK, Failure, Machine, Measurement
from tools.bench.report import Run, markdown

ROOT = Path(__file__).parents[3]


@pytest.mark.tensorflow
def test_a_trial_of_one_part(tmp_path):
    command = [
        sys.executable,
        "-m",
        "tools.bench",
        "--backend=jax",
        "--part=activation",
        "--trial",
        f"--output={tmp_path}",
    ]
    environment = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, cwd=ROOT, env=environment
    )
    assert result.returncode == 0, result.stderr
    (run,) = json.loads((tmp_path / "results.json").read_text())
    assert run["backend"] == "jax"
    assert {found["activation"] for found in run["results"]} == {RELU, STOCK, OURS}
    assert all(found["value"] > 0 and found["floor"] > 0 for found in run["results"])
    assert "| jax | jit | (1, 56, 56, 64) | float32 |" in (tmp_path / "RESULTS.md").read_text()


def test_the_report_has_a_row_for_each_work_and_names_what_failed():
    machine = Machine("a device", 2, {"keras": "3"})
    found = [
        Measurement(
            "jax",
            "jit",
            "train step, ms",
            "a net",
            "float32",
            name,
            value,
            value / 10,
            value / 11,
            value / 9,
        )
        for name, value in ((RELU, 10.0), (STOCK, 12.0), (OURS, 10.5))
    ]
    text = markdown(
        [
            Run(
                "jax",
                machine,
                (*found, Failure("jax", "jit", "train step, ms", "b net", "float32", "no memory")),
            )
        ]
    )
    assert "| jax | jit | a net | float32 | 10 | 1.20 [1.09, 1.33] | 1.05 [0.95, 1.17] |" in text
    assert "- jax jit, b net, float32: no memory" in text


def test_the_stored_results_are_of_one_run():
    """RESULTS.md is what the report makes of results.json, so neither was edited by hand."""
    folder = ROOT / "tools" / "bench"
    runs = []
    for stored in json.loads((folder / "results.json").read_text()):
        results = tuple(
            (Measurement if "activation" in record else Failure)(**record)
            for record in stored["results"]
        )
        runs.append(Run(stored["backend"], Machine(**stored["machine"]), results))
    assert (folder / "RESULTS.md").read_text() == markdown(runs)


def test_the_readme_quotes_the_stored_results():
    """Each ratio in its table is one of the stored ones."""
    stored = {}
    for run in json.loads((ROOT / "tools" / "bench" / "results.json").read_text()):
        for record in run["results"]:
            if "activation" in record:
                key = (
                    run["backend"],
                    record["mode"],
                    record["quantity"],
                    record["work"],
                    record["dtype"],
                )
                stored.setdefault(key, {})[record["activation"]] = f"{record['ratio']:.2f}"
    pairs = {(found[STOCK], found[OURS]) for found in stored.values()}
    table = (
        (ROOT / "README.md")
        .read_text(encoding="utf-8")
        .partition("## What it costs")[2]
        .partition("\n## ")[0]
    )
    rows = [
        tuple(cell.strip() for cell in line.strip("|").split("|"))[1:]
        for line in table.splitlines()
        if line.startswith("| ")
    ][1:]
    assert len(rows) >= 10
    assert set(rows) <= pairs
