"""tools.fuzz: damaged archives and disturbed processes, a small part of what it runs; and that it
notices broken promises."""

import random
from pathlib import Path
from types import SimpleNamespace

import click
import numpy as np
import pytest

import keras_prelu as kp
from tests.slow.tools.reports import check_stored
from tools.common.processes import WorkerFailed
from tools.common.records import encode
from tools.fuzz import __main__ as command
from tools.fuzz import architectures, archives, processes, surgery
from tools.fuzz.archives import Case
from tools.fuzz.mutations import mutate
from tools.fuzz.report import OperationCount, broken_promises, count_cases
from tools.fuzz.report import archives as archives_table

# Of libraries that meet damaged files; the command line shows none.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def bases():
    return archives.bases()


@pytest.mark.parametrize("first", range(50_000, 50_100, 20))
def test_mutated_archives(bases, first):
    cases = [archives.attempt(seed, bases) for seed in range(first, first + 20)]
    assert [case for case in cases if case.broken] == []
    assert any(case.exit_code for case in cases)


def test_a_seed_makes_the_same_archive_again(bases):
    first, second = (mutate(bases[0], random.Random(7)) for _ in range(2))
    assert first == second


def report(message, **result):
    """A `convert` that does what is asked of it instead of its work."""

    def command(args, **_):
        folder = Path(args[1]).parent
        if result.get("leaves"):
            (folder / result["leaves"]).write_text("")
        if result.get("changes"):
            (folder / "model.keras").write_bytes(b"")
        click.echo(message, err=True)
        if result.get("raises"):
            raise ValueError
        raise SystemExit(1)

    return click.Command("main", callback=lambda: None, params=[]), command


@pytest.mark.parametrize(
    ("message", "result", "found"),
    [
        ("Error: no.", {}, ""),
        ("Error: no.", {"leaves": "model.prelu.keras"}, "failure, but the folder holds"),
        ("Error: no.", {"leaves": ".model.x.partial.keras"}, "failure, but the folder holds"),
        ("Error: no.", {"changes": True}, "the input was changed"),
        ("Error: no.", {"raises": True}, "an exception came through"),
        ("Traceback\nError: no.", {}, "not one clear line"),
        (
            "Error: Unexpected KeyError: 1 (run again, and please report it)",
            {},
            "not one clear line",
        ),
    ],
)
def test_broken_promises_are_noticed(bases, monkeypatch, message, result, found):
    main, run = report(message, **result)
    monkeypatch.setattr("keras_prelu.cli.main.main", main)
    monkeypatch.setattr(main, "main", run)
    assert archives.attempt(1, bases).broken.startswith(found)
    assert bool(archives.attempt(1, bases).broken) is bool(found)


@pytest.mark.parametrize("seed", range(50_000, 50_012))
def test_random_networks(seed):
    operations = list(surgery.try_all(seed))
    names = surgery.OPERATIONS + (() if seed % 5 else surgery.OPERATIONS_OF_SOME)
    assert [operation.operation for operation in operations] == list(names)
    assert [operation for operation in operations if operation.broken] == []


def test_a_seed_makes_the_same_network_again():
    first, second = architectures.build(3), architectures.build(3)
    assert first.blocks == second.blocks
    np.testing.assert_array_equal(
        *(item.model.predict(item.inputs, verbose=0) for item in (first, second))
    )


def _added(model, value):
    """Add a number to the last weights of a model."""
    model.set_weights([*model.get_weights()[:-1], model.get_weights()[-1] + value])
    return model


@pytest.mark.parametrize(
    ("operation", "function", "fault", "found"),
    [
        (
            "convert",
            "convert",
            lambda f: lambda m, **o: _added(f(m, **o), 1.0),
            "the outputs differ",
        ),
        (
            "convert",
            "convert",
            lambda f: lambda m, **o: (f(m, **o), _added(m, 1.0))[0],
            "the original's",
        ),
        ("bake", "bake", lambda f: lambda m: _added(f(m), 1.0), "the outputs differ"),
        ("in place", "convert", lambda f: lambda m, **o: _added(f(m, **o), 1.0), "the outputs"),
        (
            "to leaky_relu",
            "convert",
            lambda f: lambda m, **o: _added(f(m, **o), 1.0 * ("to" in o)),
            "the outputs",
        ),
        (
            "profile",
            "run_conversion",
            lambda f: lambda m, **o: SimpleNamespace(model=_added(f(m, **o).model, 9.0), error=0.0),
            "the error is",
        ),
        ("equalize", "equalize", lambda f: lambda m: _added(m, 1.0), "the outputs differ"),
        (
            "calibrate",
            "convert",
            lambda f: lambda m, **o: _added(f(m, **o), 9.0 * ("calibration_data" in o)),
            "the error is",
        ),
        ("convert", "convert", lambda f: lambda m, **o: {}[m], "KeyError"),
    ],
)
def test_faults_of_surgery_are_noticed(monkeypatch, operation, function, fault, found):
    trial = surgery._Trial(3, architectures.build(3))
    monkeypatch.setattr(kp, function, fault(getattr(kp, function)))
    assert trial.attempt(operation).broken.startswith(found)


def test_processes(tmp_path, monkeypatch):
    monkeypatch.setitem(processes.ENVIRONMENT, "KERAS_BACKEND", "jax")  # starts fastest
    model = tmp_path / "model.keras"
    processes.write_model(model)
    outcomes = [*processes.kills(model, 2, seed=0), processes.two_at_once(model)]
    assert [outcome for outcome in outcomes if outcome.broken] == []
    assert outcomes[1].disturbance in ("killed while writing", "killed after it was done")


def test_a_crash_is_a_broken_promise_and_the_rest_is_tried(monkeypatch):
    """The second of three archives ends its process."""

    def case(seed):
        return encode(Case(seed=seed, mutation="x", exit_code=0, message="", broken=""))

    def lines(module, first, count):
        for seed in range(int(first), int(first) + int(count)):
            yield {"starting": seed}
            if seed == 6:
                raise WorkerFailed("worker", -6, "aborted")
            yield case(seed)

    monkeypatch.setattr(command, "json_lines", lines)
    cases = list(command._batch("tools.fuzz.archives", Case, 5, 3, command._died))
    assert [case.seed for case in cases] == [5, 6, 7]
    assert [case.broken for case in cases] == ["", "the process ended: aborted", ""]
    counts = list(count_cases(cases))
    assert broken_promises(counts) == 1
    text = archives_table(counts)
    assert "| (ended the process) | 1 | 0 | 0 | 1 |" in text
    assert "| **all** | **3** | **2** | **0** | **1** |" in text


def test_the_stored_results_keep_their_promises():
    storage = check_stored(Path(archives.__file__).parent, command.REPORT)
    rows = storage.results("networks")
    assert broken_promises(rows) == 0
    counts = {row.operation: row for row in rows if isinstance(row, OperationCount)}
    assert counts.keys() == {*surgery.OPERATIONS, *surgery.OPERATIONS_OF_SOME}
    assert sum(count.broken for count in counts.values()) == 0
    assert counts["convert"].tried == 2000
    counts = storage.results("archives")
    assert sum(count.tried for count in counts) == 2000
    assert sum(count.broken for count in (*counts, *storage.results("processes"))) == 0
