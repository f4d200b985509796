"""tools.bench.gpu: its parts run on a CPU, what is stopped loses nothing, and a trial never takes
the place of results."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tools.bench.gpu.images import images
from tools.bench.gpu.records import Fact, Failure, Log, Timing, by_task, record_of
from tools.bench.gpu.report import markdown
from tools.bench.gpu.store import Store
from tools.bench.gpu.tasks import tasks
from tools.bench.gpu.variants import EXP, LAYERS
from tools.bench.records import RELU
from tools.common.machine import Machine

ROOT = Path(__file__).parents[3]


def _timing(**fields):
    timing = {
        "part": "step",
        "mode": "jit",
        "work": "training step",
        "dtype": "float32",
        "activation": RELU,
        "milliseconds": 2.0,
    }
    return Timing(**{**timing, "ratio": 1.0, "low": 1.0, "high": 1.0, "rounds": 2, **fields})


def _fields(*records):
    return [{"type": type(record).__name__, **vars(record)} for record in records]


def _run(backend, folder, *options):
    return subprocess.run(
        [sys.executable, "-m", "tools.bench.gpu", f"--output={folder}", *options],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": backend},
    )


def _records(folder, backend):
    found = json.loads((folder / "trial-results.json").read_text())[backend]
    return [record_of(fields) for fields_of_task in found.values() for fields in fields_of_task]


@pytest.mark.parametrize(
    ("backend", "parts"),
    [("jax", ("step:float32",)), ("torch", ("activation:eager",))],
)
def test_a_trial(tmp_path, backend, parts):
    result = _run(backend, tmp_path, "--trial", *(f"--part={part}" for part in parts))
    assert result.returncode == 0, result.stderr
    records = _records(tmp_path, backend)
    assert not [record for record in records if isinstance(record, Failure)]
    for part in parts:
        timings = [
            record
            for record in records
            if isinstance(record, Timing) and record.part == part.partition(":")[0]
        ]
        assert {timing.activation for timing in timings} == set(LAYERS)
        assert all(timing.milliseconds > 0 for timing in timings)
    assert "A trial" in (tmp_path / "TRIAL.md").read_text()
    assert not (tmp_path / "results.json").exists()


def test_the_whole_job_of_a_trial(tmp_path):
    result = _run("torch", tmp_path, "--trial", "--part=job")
    assert result.returncode == 0, result.stderr
    records = _records(tmp_path, "torch")
    assert not [record for record in records if isinstance(record, Failure)]
    facts = {record.name: record.value for record in records if isinstance(record, Fact)}
    assert facts["the resumed fine-tuning equals an uninterrupted one bit for bit"] == "yes"
    assert (
        facts["error of the outputs after calibration"]
        < facts["error of the outputs before calibration"]
    )


def test_without_a_gpu_there_is_a_reason_instead_of_results(tmp_path):
    result = _run("torch", tmp_path, "--part=demo")
    assert result.returncode == 0
    assert "this measures GPUs" in (tmp_path / "RESULTS.md").read_text()


def test_what_is_stopped_loses_nothing_and_a_task_that_runs_again_begins_anew(tmp_path):
    path = tmp_path / "records.jsonl"
    for task in ("step:float32", "demo:all"):
        Log(path, task).add(Fact(part="demo", name="seconds", value=1.0))
    with open(path, "a") as file:
        file.write('{"task": "demo:all", "ty')
    assert list(by_task(path)) == ["step:float32", "demo:all"]
    Log(path, "demo:all").begin()
    Log(path, "demo:all").add(Fact(part="demo", name="seconds", value=2.0))
    assert [fields["value"] for fields in by_task(path)["demo:all"]] == [2.0]
    assert [fields["value"] for fields in by_task(path)["step:float32"]] == [1.0]


def test_results_of_backends_are_merged_and_a_trial_leaves_them_alone(tmp_path):
    for backend in ("jax", "torch"):
        store = Store(folder=tmp_path, trial=False)
        Log(store.records(backend), "step:float32").add(_timing())
        store.merge((backend,))
    before = store.results.read_text()
    assert {"jax", "torch"} <= json.loads(before).keys()
    trial = Store(folder=tmp_path, trial=True)
    Log(trial.records("jax"), "step:float32").add(_timing(milliseconds=5.0))
    trial.merge(("jax", "torch"))
    assert store.results.read_text() == before
    assert json.loads(trial.results.read_text())["trial"]


def test_the_report():
    machine = Machine(device="chip", cores=2, versions={"keras": "3"})
    step = [
        _timing(peak_bytes=2_000_000_000),
        _timing(activation=EXP, milliseconds=3.0, ratio=1.5, low=1.25, high=1.75, peak_bytes=3e9),
    ]
    alone = _timing(part="activation", work="forward", floor=1.0, launch=0.1, residual_bytes=5e8)
    failure = Failure(part="job", work="fine-tuning", reason="no memory")
    text = markdown({"jax": {"step:float32": _fields(machine, *step, alone, failure)}}, trial=False)
    assert (
        f"| jax | chip | training step | float32 | {EXP} | 3.00 | 1.50 [1.25, 1.75] | 3.00 | 1.50 |"
        in text
    )
    assert (
        f"| jax | chip | jit | forward | float32 | {RELU} | 2.000 | 1.00 [1.00, 1.00] | 0.50 | 0.100 | – | 0.500 |"
        in text
    )
    assert "- jax, job: fine-tuning: no memory" in text


def test_the_stored_table_is_of_the_stored_results():
    """RESULTS.md is what the report makes of results.json, so neither was edited by hand."""
    folder = ROOT / "tools" / "bench" / "gpu"
    results = json.loads((folder / "results.json").read_text())
    assert {"jax", "torch"} <= results.keys()
    assert (folder / "RESULTS.md").read_text() == markdown(results, trial=False)


def test_tasks():
    assert tasks("step", "jax") == ("step:mixed_bfloat16", "step:float32")
    assert tasks("activation:graph", "torch") == ("activation:graph",)
    for wrong in ("steps", "step:float16"):
        with pytest.raises(ValueError, match="There is no part"):
            tasks(wrong, "jax")


def test_images_of_a_class_are_more_alike_than_those_of_others():
    x, y = images(40, 32, 0)
    again, _ = images(40, 32, 0)
    np.testing.assert_array_equal(x, again)
    other, _ = images(40, 32, 1)
    assert not np.array_equal(x, other)
    means = np.stack([x[y == label].mean(axis=(0, 1, 2)) for label in np.unique(y)])
    between, within = (
        means.var(axis=0).mean(),
        np.mean([x[y == label].mean(axis=(1, 2)).var(axis=0).mean() for label in np.unique(y)]),
    )
    assert between > within
