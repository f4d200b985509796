"""tools.common: statistics, tables, stored results, and worker processes."""

import os
import signal
from dataclasses import dataclass

import numpy as np
import pytest
from scipy import stats

from tools.common.machine import Machine, describe
from tools.common.markdown import join, paragraph, table
from tools.common.options import results_folder
from tools.common.processes import WorkerFailed, json_lines
from tools.common.statistics import interval, quartiles, short, spread
from tools.common.storage import Report, Section, Storage


@dataclass(frozen=True)
class Length:
    name: str
    meters: float


REPORT = Report(
    tool="ruler",
    title="Lengths",
    introduction="All in meters.",
    kinds=(Length,),
    sections={
        name: Section(
            title=name.upper(),
            text="",
            tables=lambda results: table(
                ["name", "m"], [[item.name, f"{item.meters:g}"] for item in results]
            ),
        )
        for name in ("short", "long")
    },
)
HERE = {"torch": Machine(device="chip", cores=2, versions={"keras": "3"})}


def test_spread_is_the_sample_deviation():
    assert spread([1.0, 2.0, 3.0], "{:.1f}".format) == "2.0 ± 1.0"
    assert spread([1.0, 2.0, 3.0], "{:+.1f}".format) == "+2.0 ± 1.0"
    assert spread([1.0], short) == "1.00"
    assert spread([], short) == "–"


def test_short_has_two_significant_digits():
    assert [short(value) for value in (0.0, 0.00123, 0.5, 12.345)] == [
        "0.00",
        "0.0012",
        "0.50",
        "12.35",
    ]
    assert quartiles(1.0, 0.5, 2.0) == "1.00 [0.50, 2.00]"


def test_interval_is_that_of_a_t_test():
    values = [-5.0, -10.0, 0.0]
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    np.testing.assert_allclose(interval(np.array(values)), expected)
    assert interval(np.array([1.0])) == (-np.inf, np.inf)


def test_markdown():
    assert table(["a", "b"], [["x", "1"]]) == "| a | b |\n|---|---:|\n| x | 1 |"
    lines = paragraph("word-with-hyphens " * 20).splitlines()
    assert all(len(line) <= 100 and not line.endswith("-") for line in lines)
    assert join(["a", "", "b"]) == "a\n\nb"


def test_machines_are_described_once():
    other = Machine(device="chip", cores=2, versions={"keras": "3", "jax": "1"})
    unknown = Machine(device="", cores=0, versions={"keras": "2"})
    assert describe([*HERE.values(), other]) == "chip, 2 cores; keras 3, jax 1"
    assert describe([unknown]) == "keras 2"
    assert describe([]) == ""


def test_results_of_the_same_key_are_replaced_and_others_kept(tmp_path):
    storage = Storage(tmp_path, REPORT)
    for results in ([Length("a", 1.0), Length("b", 2.0)], [Length("c", 9.0), Length("a", 3.0)]):
        storage.merge("long", results, key=lambda r: r.name, order=lambda r: r.name, machines=HERE)
    storage.merge("short", [Length("d", 0.5)], machines={})
    stored = Storage(tmp_path, REPORT)
    assert stored.parts == storage.parts
    assert stored.results("long") == (Length("a", 3.0), Length("b", 2.0), Length("c", 9.0))
    text = (tmp_path / "RESULTS.md").read_text()
    assert text == stored.markdown()
    assert "`python -m tools.ruler --part long` (chip, 2 cores; keras 3)." in text
    assert text.index("## SHORT") < text.index("## LONG")


def test_results_of_a_trial_go_elsewhere(tmp_path):
    main_file = tmp_path / "__main__.py"
    assert results_folder(None, False, str(main_file)) == tmp_path
    assert results_folder(tmp_path / "x", True, str(main_file)) == tmp_path / "x"
    folder = results_folder(None, True, str(main_file))
    assert folder != tmp_path
    folder.rmdir()


@pytest.fixture
def worker(tmp_path, monkeypatch):
    """Write a module of some code; return its name."""

    def write(code):
        (tmp_path / "worker_of_a_test.py").write_text(code)
        monkeypatch.setenv(
            "PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        )
        return "worker_of_a_test"

    return write


def test_lines_before_a_failure_are_not_lost(worker):
    module = worker("import os\nprint('text')\nprint('{\"a\": 1}', flush=True)\nos.abort()\n")
    lines = json_lines(module)
    assert next(lines) == {"a": 1}
    with pytest.raises(WorkerFailed) as failure:
        next(lines)
    assert failure.value.returncode == -signal.SIGABRT


def test_a_worker_has_a_time_limit(worker):
    module = worker("import time\ntime.sleep(600)\n")
    with pytest.raises(WorkerFailed) as failure:
        list(json_lines(module, seconds=0.2))
    assert failure.value.returncode == -signal.SIGKILL


def test_a_worker_is_given_arguments_and_environment(worker):
    module = worker(
        "import json, os, sys\nprint(json.dumps({'found': [sys.argv[1], os.environ['COLOR']]}))\n"
    )
    (line,) = json_lines(module, "one", environment={"COLOR": "red"})
    assert line["found"] == ["one", "red"]
