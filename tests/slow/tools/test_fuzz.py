"""tools.fuzz: damaged archives and disturbed processes, a small part of what it runs; and that it
notices broken promises."""

import json
import random
from pathlib import Path

import click
import pytest

from tools.fuzz import archives, processes
from tools.fuzz.mutations import mutate

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.filterwarnings(
        "ignore"
    ),  # of libraries that meet damaged files; the command line shows none
]


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


def test_processes(tmp_path):
    model = tmp_path / "model.keras"
    processes.write_model(model)
    outcomes = [*processes.kills(model, 2, seed=0), processes.two_at_once(model)]
    assert [outcome for outcome in outcomes if outcome.broken] == []
    assert outcomes[1].disturbance in ("killed while writing", "killed after it was done")


def test_the_stored_results_keep_every_promise():
    folder = Path(archives.__file__).parent
    assert json.loads((folder / "broken.json").read_text()) == []
    row = next(
        line
        for line in (folder / "RESULTS.md").read_text().splitlines()
        if line.startswith("| **all**")
    )
    assert row.replace("*", "").split("|")[2].strip() == "2000"
    assert row.replace("*", "").split("|")[5].strip() == "0"
