"""tools.bench: a trial of its parts, and that it reports what was measured."""

import json
import re
from pathlib import Path

from tests.slow.tools.reports import check_stored, run
from tools.bench import __main__ as command
from tools.bench.records import (
    OURS,
    RELU,
    STOCK,
    ConversionMemory,
    ConversionTime,
    DepthTime,
    Failure,
    Measurement,
)
from tools.bench.report import REPORT, conversions, measurements
from tools.common.processes import json_lines
from tools.common.storage import Storage

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "tools" / "bench"


def test_a_trial_of_one_part(tmp_path):
    storage = run(command, tmp_path, "--backend=jax", "--part=activation", "--trial")
    results = storage.results("activation")
    assert {result.backend for result in results} == {"jax"}
    assert {result.activation for result in results} == {RELU, STOCK, OURS}
    assert all(result.value > 0 and result.floor > 0 for result in results)
    assert "| jax | jit | (1, 56, 56, 64) | float32 |" in (tmp_path / "RESULTS.md").read_text()


def test_a_trial_of_diagnostics(tmp_path):
    storage = run(command, tmp_path, "--backend=torch", "--part=diagnostics", "--trial")
    (result,) = storage.results("diagnostics")
    assert result.backend == "torch"
    assert set(result.ratios) > {"predict", "units"}
    assert all(value > 0 for value in result.callback.values())
    assert "| torch |" in (tmp_path / "RESULTS.md").read_text()


def test_deeper_than_python_recurses():
    """A file of many layers is loaded, converted and saved under Python's ordinary recursion
    limit, and measured."""
    environment = {"KERAS_BACKEND": "jax"}  # starts fastest
    (line,) = json_lines("tools.bench.scale", "depth", "1020", environment=environment)
    assert all(line[step] > 0 for step in ("load", "convert", "save"))


def test_the_report_has_a_row_for_each_work_and_names_what_failed():
    case = {"backend": "jax", "mode": "jit", "quantity": "train step, ms", "dtype": "float32"}
    results = [
        Measurement(
            **case,
            work="a net",
            activation=name,
            value=value,
            ratio=value / 10,
            low=value / 11,
            high=value / 9,
        )
        for name, value in ((RELU, 10.0), (STOCK, 12.0), (OURS, 10.5))
    ]
    text = measurements([*results, Failure(**case, work="b net", reason="no memory")])
    assert "| jax | jit | a net | float32 | 10 | 1.20 [1.09, 1.33] | 1.05 [0.95, 1.17] |" in text
    assert "- jax jit, b net, float32: no memory" in text


def test_the_report_of_conversions():
    depths = [
        DepthTime(backend="tensorflow", layers=layers, load=n, convert=2 * n, save=n, total=4 * n)
        for layers, n in ((1000, 1.0), (4000, 4.0))
    ]
    memory = ConversionMemory(
        backend="torch",
        network="VGG16",
        weights=553.4,
        load=3.0,
        loaded=1.0,
        convert=2.0,
        save=3.5,
    )
    ratio = ConversionTime(backend="tensorflow", low=1.0, median=1.1, high=1.2)
    text = conversions([*depths, ratio, memory])
    assert "| 4,000 | 4.00 | 8.00 | 4.00 | 16.00 | 4.00 |" in text
    assert "**1.10** (quartiles 1.00 to 1.20)" in text
    assert "| torch | VGG16 | 553 | 3.00 | 1.00 | 2.00 | 3.50 |" in text


def test_the_stored_results_are_those_of_the_tables():
    check_stored(FOLDER, REPORT)


def test_the_stored_depths_meet_what_is_promised():
    results = Storage(FOLDER, REPORT).results("scale")
    depths = {item.layers: item.total for item in results if isinstance(item, DepthTime)}
    assert depths[4000] / depths[1000] <= 4.6


def test_the_documentation_quotes_the_stored_results():
    """Each ratio in its table is a stored one, and the README's are those of the table."""
    stored = {}
    for part in json.loads((FOLDER / "results.json").read_text()).values():
        for result in part["results"]:
            if result["type"] == "Measurement":
                key = tuple(result[name] for name in ("backend", "mode", "quantity", "work"))
                case = stored.setdefault((*key, result["dtype"]), {})
                case[result["activation"]] = f"{result['ratio']:.2f}"
    pairs = {(found[STOCK], found[OURS]) for found in stored.values()}
    text = (ROOT / "docs" / "explanation" / "results.md").read_text(encoding="utf-8")
    table = text.partition("## What it costs")[2].partition("\n## ")[0]
    rows = [
        tuple(cell.strip() for cell in line.strip("|").split("|"))[1:]
        for line in table.splitlines()
        if line.startswith("| ")
    ][1:]
    assert len(rows) >= 10
    assert set(rows) <= pairs
    (line,) = re.findall(r"What does training cost.*", (ROOT / "README.md").read_text())
    quoted = re.findall(r"\d\.\d\d", line)
    assert len(quoted) == 4
    assert set(quoted) <= {ours for _, ours in rows}


def test_a_trial_of_the_monitor(tmp_path):
    storage = run(command, tmp_path, "--backend=torch", "--part=plasticity", "--trial")
    results = storage.results("plasticity")
    assert [result.network for result in results] == ["MLP, 3 x 100", "3 convolutions, 28 x 28"]
    assert all(0 < result.recorded <= 1 and result.recording > 0 for result in results)
