"""keras_prelu.training.digest: the same in every process, another for every difference in content."""

import functools
import importlib
import math
import operator
import os
import random
import re
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_prelu.training.digest import object_digest
from tests.helpers.processes import output_of_python

WEIGHT = 2.0


def loss_of_global(y_true, y_pred):
    return WEIGHT * keras.ops.mean(y_true - y_pred)


def loss_with(weight, names=frozenset({"a", "b", "c"})):
    def loss(y_true, y_pred):
        if "a" in {"a", "b", "c", "d"} and names:
            return weight * keras.ops.mean(y_true - y_pred)
        return helper(y_true)

    return loss


def helper(y):
    return helper(y) if y else loss_of_global(y, y)  # a recursion, which must end


class Weighted:
    def __init__(self, weight):
        self._weight = weight

    def __call__(self, y_true, y_pred):
        return self._weight * keras.ops.mean(y_true - y_pred)


class Doubled(keras.layers.Dense):
    def call(self, inputs):
        return 2 * super().call(inputs)


class Tripled(keras.layers.Dense):
    def call(self, inputs):
        return 3 * super().call(inputs)


Tripled.__qualname__ = Tripled.__name__ = "Doubled"


@dataclass(slots=True)
class Slotted:
    factor: float


class Private:
    _factor = 1.0


class OtherPrivate:
    _factor = 2.0


def model(units=3, seed=0, activation="relu", name=None, **options):
    keras.utils.set_random_seed(seed)
    hidden = keras.layers.Dense(4, activation=activation, **options)
    i = keras.Input((2,))
    return keras.Model(i, keras.layers.Dense(units, name=name)(hidden(i)))


def cases():
    """Pairs of functions that make an object, and one that is another."""
    square, cube = (lambda x: x**2), (lambda x: x**3)
    return {
        "int, float": (lambda: 1, lambda: 1.0),
        "int, bool": (lambda: 1, lambda: True),
        "text, bytes": (lambda: "a", lambda: b"a"),
        "nesting": (lambda: [[1], 2], lambda: [1, [2]]),
        "list, tuple": (lambda: [1, 2], lambda: (1, 2)),
        "set": (lambda: {"a", "b", "c"}, lambda: {"a", "b", "d"}),
        "dict": (lambda: {"a": 1, "b": 2}, lambda: {"a": 2, "b": 1}),
        "array": (lambda: np.arange(4.0), lambda: np.arange(4.0).reshape(2, 2)),
        "array's dtype": (lambda: np.zeros(2, "float32"), lambda: np.zeros(2, "int32")),
        "strings": (lambda: np.array(["a", "b"], object), lambda: np.array(["a", "c"], object)),
        "tensor": (lambda: keras.ops.ones(2), lambda: keras.ops.zeros(2)),
        "function": (lambda: square, lambda: cube),
        "closure": (lambda: loss_with(1.0), lambda: loss_with(2.0)),
        "default": (lambda: loss_with(1.0), lambda: loss_with(1.0, frozenset("z"))),
        "partial": (
            lambda: functools.partial(helper, y=1),
            lambda: functools.partial(helper, y=2),
        ),
        "partial of a builtin": (
            lambda: functools.partial(operator.mul, 2.0),
            lambda: functools.partial(operator.add, 2.0),
        ),
        "builtin": (lambda: math.sin, lambda: math.cos),
        "method of a builtin": (lambda: "a".join, lambda: "b".join),
        "getter": (lambda: operator.itemgetter(0), lambda: operator.itemgetter(1)),
        "generator of NumPy": (
            lambda: np.random.default_rng(1),
            lambda: np.random.default_rng(2),
        ),
        "generator of Python": (lambda: random.Random(1), lambda: random.Random(2)),
        "pattern": (lambda: re.compile("a"), lambda: re.compile("b")),
        "path": (lambda: Path("a"), lambda: Path("b")),
        "fraction": (lambda: Fraction(1, 3), lambda: Fraction(1, 4)),
        "slots": (lambda: Slotted(1.0), lambda: Slotted(2.0)),
        "private attribute of a class": (lambda: Private, lambda: OtherPrivate),
        "callable object": (lambda: Weighted(1.0), lambda: Weighted(2.0)),
        "bound method": (lambda: Weighted(1.0).__call__, lambda: Weighted(2.0).__call__),
        "class of one name": (lambda: Doubled, lambda: Tripled),
        "Keras loss": (
            lambda: keras.losses.Huber(1.0),
            lambda: keras.losses.Huber(2.0),
        ),
        "optimizer": (
            lambda: keras.optimizers.Adam(1e-3),
            lambda: keras.optimizers.Adam(2e-3),
        ),
        "schedule": (
            lambda: keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 10)),
            lambda: keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 20)),
        ),
        "regularizer": (
            lambda: model(kernel_regularizer=keras.regularizers.L2(1e-3)),
            lambda: model(kernel_regularizer=keras.regularizers.L2(1e-2)),
        ),
        "activation": (lambda: model(), lambda: model(activation="tanh")),
        "weights": (lambda: model(), lambda: model(seed=1)),
    }


@pytest.mark.parametrize("name", list(cases()))
def test_equal_objects_have_one_digest_and_others_another(name):
    first, other = cases()[name]
    assert object_digest(first()) == object_digest(first())
    assert object_digest(first()) != object_digest(other())


def test_a_global_that_a_function_names_counts(monkeypatch):
    before = object_digest(loss_of_global)
    monkeypatch.setitem(loss_of_global.__globals__, "WEIGHT", 3.0)
    assert object_digest(loss_of_global) != before


def test_the_code_of_a_module_that_a_function_names_counts(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    digests = []
    for body in ("x + 1", "x + 1  # a comment", "x + 2"):
        (tmp_path / "own_module.py").write_text(f"def f(x):\n    return {body}\n")
        sys.modules.pop("own_module", None)
        importlib.invalidate_caches()
        own_module = importlib.import_module("own_module")
        digests.append(object_digest(lambda x, own_module=own_module: own_module.f(x)))
    assert digests[0] == digests[1] != digests[2]


def test_automatic_names_do_not_count_and_order_of_layers_does():
    first = object_digest(model())
    keras.layers.Dense(1), keras.layers.Dense(1)
    assert object_digest(model()) == first


def test_a_cycle_ends():
    cycle = [1]
    cycle.append(cycle)
    assert object_digest(cycle) == object_digest(cycle)


@pytest.mark.slow
def test_another_process_with_another_hash_seed_agrees(pytestconfig):
    script = (
        "from tests.unit.training.test_digest import *;"
        "print(*(object_digest(first()) for first, _ in cases().values()))"
    )
    keras.layers.Dense(1), keras.layers.Dense(1)  # Automatic names differ, too.
    here = [object_digest(first()) for first, _ in cases().values()]
    hash_seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    other = output_of_python("-c", script, cwd=pytestconfig.rootpath, PYTHONHASHSEED=hash_seed)
    assert other.split() == here
