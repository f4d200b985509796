"""tools.study, networks that go on learning: streams, ratios of errors, and that an interrupted run
goes on."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from keras_prelu.training.recipes import CONTROL, get_recipe
from tests.slow.tools.reports import check_stored, run
from tools.study import __main__ as command
from tools.study.continual import methods, streams
from tools.study.continual.measure import Continual
from tools.study.continual.methods import AUTO, AUTO_REVIVED, GOING_ON, REDO
from tools.study.continual.report import continual, log_ratios
from tools.study.continual.settings import SETTINGS
from tools.study.report import REPORT

FOLDER = Path(command.__file__).parent


def result(method, seed, errors, **fields):
    return Continual(
        setting="s", learned=10, seed=seed, method=method, errors=tuple(errors), **fields
    )


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_a_stream_gives_the_same_task_again_and_each_is_another(setting):
    first, second = (setting.stream(0, number) for number in (0, 1))
    again = setting.stream(0, 1)
    np.testing.assert_array_equal(again.train.x, second.train.x)
    np.testing.assert_array_equal(again.train.y, second.train.y)
    assert not (
        np.array_equal(first.train.x, second.train.x)
        and np.array_equal(first.train.y, second.train.y)
    )
    network = setting.build()
    assert network.input_shape == (None, first.train.x.shape[1])
    if network.output_shape[1] > 1:
        assert set(np.unique(second.test.y)) <= set(range(network.output_shape[1]))


def test_new_classes_are_five_of_ten_numbered_anew():
    task = streams.class_splits(3, 7)
    assert set(task.train.y) == set(task.test.y) == set(range(5))
    x, y = streams._digits()
    classes = [set(y[(x == row).all(axis=1)]) for row in task.train.x[:50]]
    pairs = {(int(label), min(found)) for label, found in zip(task.train.y, classes, strict=False)}
    assert len(pairs) == 5


def test_ratios_are_paired_by_seed_and_leave_out_what_diverged():
    results = [
        result(GOING_ON, 0, [0.2, 0.4]),
        result(GOING_ON, 1, [0.1, 0.1]),
        result(GOING_ON, 2, [0.5, 0.5]),
        result("m", 0, [0.1, 0.2]),
        result("m", 1, [0.2, 0.2]),
        result("m", 2, [], diverged=True),
    ]
    np.testing.assert_allclose(log_ratios(results, ("s", 10), "m"), [math.log(0.5), math.log(2.0)])
    assert "diverged 1 of 3" in continual(results)


def test_auto_is_compared_with_the_best_relu_control():
    results = [
        *(result(GOING_ON, seed, [0.4]) for seed in range(3)),
        *(result(REDO, seed, [0.2]) for seed in range(3)),
        *(result(AUTO, seed, [0.1 + 0.001 * seed], choice="identity") for seed in range(3)),
    ]
    results += [replace(each, method=AUTO_REVIVED) for each in results if each.method == AUTO]
    text = " ".join(continual(results).split())
    assert text.count(f"| s | 10 | {REDO} | 0.50 [") == 2
    assert text.count("better than the best control in 1 and worse in 0 of 1 settings") == 2
    assert text.count("identity 3") == 2


def test_the_best_in_hindsight_goes_on_and_does_not_diverge():
    results = [
        *(result(GOING_ON, seed, [0.4]) for seed in range(2)),
        *(result(REDO, seed, [0.2]) for seed in range(2)),
        result("identity", 0, [0.04]),
        result("exp", 0, [0.04]),
        result("exp", 1, [], diverged=True),
        *(result(methods.FRESH[0], seed, [0.1]) for seed in range(2)),
        *(result(AUTO, seed, [0.1], choice="identity") for seed in range(2)),
    ]
    text = " ".join(continual(results).split())
    assert "has a mean of 0.10," in text
    assert "| s | 10 | 1–2 | 40 % |" in text


@pytest.mark.filterwarnings("ignore")  # Keras's, about training
def test_a_small_part_and_that_it_goes_on(tmp_path, monkeypatch):
    (setting,) = [each for each in SETTINGS if each.name == "redrawn labels, MLP, Adam 0.001"]
    short = replace(setting, learned=(1,), following=1)
    monkeypatch.setattr(command, "SETTINGS", (short,))
    monkeypatch.setattr(methods, "EPOCHS", 2)
    recipe = get_recipe("identity-revived")
    monkeypatch.setattr(methods, "RECIPES", (CONTROL, recipe))
    arguments = ["--part", "continual", "--continual-seeds", "1"]
    results = run(command, tmp_path, *arguments).results("continual")
    names = [each.method for each in results]
    assert {GOING_ON, REDO, AUTO, "fresh ReLU", "fresh, identity", recipe.name} <= set(names)
    assert all(len(each.errors) == 1 and 0 < each.errors[0] < 1 for each in results)
    assert next(each.choice for each in results if each.method == AUTO)
    monkeypatch.setattr(command, "measure_setting", lambda *_, is_measured: iter(()))
    assert run(command, tmp_path, *arguments).results("continual") == results


def test_the_stored_table_is_of_the_stored_results():
    results = check_stored(FOLDER, REPORT).results("continual")
    assert {each.setting for each in results} <= {setting.name for setting in SETTINGS}
